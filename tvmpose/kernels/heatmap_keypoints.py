"""Heatmaps of many people, each filling its person's box, to keypoints: inside a network, as Keypoint R-CNN does it."""

from tvm import tirx

from tvmpose.kernels.boxes import WRITTEN_OUT
from tvmpose.kernels.script import T

CUBIC = -0.75  # torch's and OpenCV's
TAPS = 4


def heatmap_keypoints_kernel(people: int, keypoints: int, map_size: tuple[int, int], largest: int) -> tirx.PrimFunc:
    """(maps float32[people, *map_size, keypoints], boxes float32[people, 4], result float32[people, keypoints, 3]).

    See nets/region_operators.py. Of the enlarged map a row at a time is in memory.
    """
    rows, columns = map_size

    def near(distance):
        """The cubic's weight at a distance below 1."""
        return ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + T.float32(1)

    def far(distance):
        """From 1 to 2."""
        return ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - T.float32(4 * CUBIC)

    def weight(tap, share):
        """Of the second of TAPS neighbours ``share`` is the distance."""
        distance = T.float32(1) - share
        outer = T.Select(tap == 0, far(share + T.float32(1)), far(distance + T.float32(1)))
        return T.Select(tap == 1, near(share), T.Select(tap == 2, near(distance), outer))

    def source(place, extent, count):
        """Where pixel ``place`` of ``count`` lies among the map's ``extent``."""
        ratio = T.float32(extent) / T.Cast("float32", count)
        return (T.Cast("float32", place) + T.float32(0.5)) * ratio - T.float32(0.5)

    def neighbour(at, tap, extent):
        return T.max(T.min(T.Cast("int32", T.floor(at)) + tap - 1, extent - 1), 0)

    def whole_pixels(side):
        return T.min(T.Cast("int32", T.ceil(side)), largest)

    @T.inline
    def widen(maps, person, k, width, wide):
        """Set wide to the map with ``width`` columns."""
        for x in T.serial(width):
            at: T.let = source(x, columns, width)
            share: T.let = at - T.floor(at)
            for row in T.serial(rows):
                wide[row * largest + x] = T.float32(0)
                for tap in T.unroll(TAPS):
                    value: T.let = maps[person, row, neighbour(at, tap, columns), k]
                    wide[row * largest + x] = wide[row * largest + x] + weight(tap, share) * value

    @T.inline
    def enlarge_row(wide, y, width, height, line):
        """Set line to row y of the map with ``width`` columns and ``height`` rows."""
        at: T.let = source(y, rows, height)
        share: T.let = at - T.floor(at)
        for x in T.serial(width):
            line[x] = (
                weight(0, share) * wide[neighbour(at, 0, rows) * largest + x]
                + weight(1, share) * wide[neighbour(at, 1, rows) * largest + x]
                + weight(2, share) * wide[neighbour(at, 2, rows) * largest + x]
                + weight(3, share) * wide[neighbour(at, 3, rows) * largest + x]
            )

    @T.inline
    def find_peak(maps, person, k, width, height, best, place):
        wide = T.alloc_buffer((rows * largest,), "float32")
        line = T.alloc_buffer((largest,), "float32")
        widen(maps, person, k, width, wide)
        for y in T.serial(height):
            enlarge_row(wide, y, width, height, line)
            for x in T.serial(width):
                if T.Or(line[x] > best[0], x + y == 0):
                    best[0] = line[x]
                    place[0] = x
                    place[1] = y

    @T.prim_func(s_tir=True)
    def heatmap_keypoints(
        maps: T.Buffer((people, rows, columns, keypoints), "float32"),
        boxes: T.Buffer((people, 4), "float32"),
        result: T.Buffer((people, keypoints, 3), "float32"),
    ):
        T.func_attr(WRITTEN_OUT)
        with T.sblock("root"):
            T.reads()
            T.writes()
            for task in T.parallel(people * keypoints):
                person: T.let = task // keypoints
                k: T.let = task % keypoints
                side_x: T.let = T.max(boxes[person, 2] - boxes[person, 0], T.float32(1))
                side_y: T.let = T.max(boxes[person, 3] - boxes[person, 1], T.float32(1))
                width: T.let = whole_pixels(side_x)
                height: T.let = whole_pixels(side_y)
                best = T.alloc_buffer((1,), "float32")
                place = T.alloc_buffer((2,), "int32")
                best[0] = T.float32(0)
                place[0] = 0
                place[1] = 0
                find_peak(maps, person, k, width, height, best, place)
                step_x: T.let = side_x / T.Cast("float32", width)
                step_y: T.let = side_y / T.Cast("float32", height)
                result[person, k, 0] = (T.Cast("float32", place[0]) + T.float32(0.5)) * step_x + boxes[person, 0]
                result[person, k, 1] = (T.Cast("float32", place[1]) + T.float32(0.5)) * step_y + boxes[person, 1]
                result[person, k, 2] = best[0]

    return heatmap_keypoints
