"""RoIAlign (He et al., Mask R-CNN, arXiv:1703.06870): what features of several strides are inside of boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx

from tvmpose.kernels.boxes import WRITTEN_OUT
from tvmpose.kernels.script import T


@dataclass(frozen=True)
class Level:
    """Features of one stride: their rows and columns, and the area in pixels from which boxes are looked up there."""

    stride: int
    rows: int
    columns: int
    from_area: float


def roi_align_kernel(levels: Sequence[Level], channels: int, boxes: int, size: int, samples: int) -> tirx.PrimFunc:
    """(features float32[cells of all levels, channels], boxes float32[boxes, 4], result [boxes, size, size, channels]).

    See nets/region_operators.py. levels: the finest first, in the order in which their cells follow one another.
    """
    firsts = [sum(level.rows * level.columns for level in levels[:index]) for index in range(len(levels))]
    cells = firsts[-1] + levels[-1].rows * levels[-1].columns

    def of_level(area, values, convert):
        """What belongs to the level of a box with this area."""
        result = convert(values[0])
        for level, value in zip(levels[1:], values[1:], strict=True):
            result = T.Select(area >= T.float32(level.from_area), convert(value), result)
        return result

    def low_cell(at, count):
        return T.Cast("int32", T.floor(T.min(T.max(at, T.float32(0)), T.Cast("float32", count - 1))))

    def share_of_high(at, count):
        return T.min(T.max(at, T.float32(0)), T.Cast("float32", count - 1)) - T.Cast("float32", low_cell(at, count))

    def is_near(at, count):
        return T.And(at >= T.float32(-1), at <= T.Cast("float32", count))

    @T.inline
    def add_point(features, result, roi, y, x, at_y, at_x, first, rows, columns):
        low_y: T.let = low_cell(at_y, rows)
        low_x: T.let = low_cell(at_x, columns)
        upper: T.let = first + low_y * columns
        lower: T.let = first + T.min(low_y + 1, rows - 1) * columns
        high_x: T.let = T.min(low_x + 1, columns - 1)
        dy: T.let = share_of_high(at_y, rows)
        dx: T.let = share_of_high(at_x, columns)
        for c in T.serial(channels):
            above: T.let = features[upper + low_x, c] * (T.float32(1) - dx) + features[upper + high_x, c] * dx
            below: T.let = features[lower + low_x, c] * (T.float32(1) - dx) + features[lower + high_x, c] * dx
            mean: T.let = (above * (T.float32(1) - dy) + below * dy) * T.float32(1 / samples**2)
            result[roi, y, x, c] = result[roi, y, x, c] + mean

    @T.inline
    def add_points(features, result, roi, y, x, top, left, bin_y, bin_x, first, rows, columns):
        for sy, sx in T.grid(samples, samples):
            step_y: T.let = (T.Cast("float32", sy) + T.float32(0.5)) * T.float32(1 / samples)
            step_x: T.let = (T.Cast("float32", sx) + T.float32(0.5)) * T.float32(1 / samples)
            at_y: T.let = top + (T.Cast("float32", y) + step_y) * bin_y
            at_x: T.let = left + (T.Cast("float32", x) + step_x) * bin_x
            if T.And(is_near(at_y, rows), is_near(at_x, columns)):
                add_point(features, result, roi, y, x, at_y, at_x, first, rows, columns)

    @T.prim_func(s_tir=True)
    def roi_align(
        features: T.Buffer((cells, channels), "float32"),
        regions: T.Buffer((boxes, 4), "float32"),
        result: T.Buffer((boxes, size, size, channels), "float32"),
    ):
        T.func_attr(WRITTEN_OUT)
        with T.sblock("root"):
            T.reads()
            T.writes()
            for roi in T.parallel(boxes):
                width: T.let = regions[roi, 2] - regions[roi, 0]
                height: T.let = regions[roi, 3] - regions[roi, 1]
                first: T.let = of_level(width * height, firsts, T.int32)
                rows: T.let = of_level(width * height, [level.rows for level in levels], T.int32)
                columns: T.let = of_level(width * height, [level.columns for level in levels], T.int32)
                scale: T.let = of_level(width * height, [1 / level.stride for level in levels], T.float32)
                bin_y: T.let = T.max(height * scale, T.float32(1)) * T.float32(1 / size)
                bin_x: T.let = T.max(width * scale, T.float32(1)) * T.float32(1 / size)
                top: T.let = regions[roi, 1] * scale
                left: T.let = regions[roi, 0] * scale
                for y, x in T.grid(size, size):
                    for c in T.serial(channels):
                        result[roi, y, x, c] = T.float32(0)
                    add_points(features, result, roi, y, x, top, left, bin_y, bin_x, first, rows, columns)

    return roi_align
