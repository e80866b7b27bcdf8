"""Rows of boxes and keypoints to people: the best first, what overlaps them suppressed."""

import math
from collections.abc import Sequence

from tvm import tirx

from tvmpose.cards.heads import BOX_CENTRE, DetectionHead
from tvmpose.errors import ModelError
from tvmpose.kernels.activation import activated
from tvmpose.kernels.script import T

BOX = 4


def detections_kernel(
    head: DetectionHead,
    *,
    name: str,
    shapes: Sequence[Sequence[int]],
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel_centers: bool,
) -> tirx.PrimFunc:
    """Return the kernel called ``name`` that finds people in a network's rows.

    Its arguments: the outputs of ``head.tensors`` (float32, of these ``shapes``), matrix float64[6] (as
    runtime/csrc/model.h defines it), keypoints float32[max_people * num_keypoints * 3] as x, y, score, people
    float32[max_people], their scores, boxes float32[max_people * 4] as x, y, width, height, and found int32[1].

    Coordinates as in decode.py. A box is given by its edges: where pixel centres are halves, half a pixel further out
    than the pixels on its rim. Raises ModelError for shapes that the head does not fit.
    """
    head_shapes = [tuple(shape) for shape in shapes]
    columns = head.columns(num_keypoints)
    count, stride_row, stride_entry = rows_layout(head, head_shapes, num_keypoints, input_size)
    fields, most = list[str](head.fields), head.max_people
    values_per_person = BOX + 2 * num_keypoints
    width, height = input_size if head.unit == "normalized" else (1, 1)
    edge = 0.5 if half_pixel_centers else 0.0
    grids = head.anchors.grids(input_size) if head.anchors else []
    corners = "left" in columns

    def entry(rows, row, column):
        return T.Cast("float64", rows[row * stride_row + column * stride_entry])

    def anchor(row, axis):
        """The anchor's x (axis 0) or y of a row, in pixels: of the last grid that begins before it."""
        place = T.float64(0)
        for first, across, per_cell, stride in grids:
            cell = T.max(row - first, 0) // per_cell
            index = cell % across if axis == 0 else cell // across
            here = (T.Cast("float64", index) + 0.5) * stride
            place = here if first == 0 else T.Select(row >= first, here, place)
        return place

    def box(rows, row, index):
        """Of a row's box the centre (0, 1), width (2) or height (3)."""
        axis, side = index % 2, (width, height)[index % 2]
        if corners:
            low, high = (entry(rows, row, columns[key]) * side for key in (("left", "right"), ("top", "bottom"))[axis])
            return (low + high) * 0.5 if index < 2 else T.max(high - low, T.float64(0))
        at = entry(rows, row, columns[BOX_CENTRE[index]]) * side
        return at + anchor(row, axis) if index < 2 else T.max(at, T.float64(0))

    def joint(rows, row, k, axis):
        """Of a row's keypoint k, which may be a variable, x (axis 0) or y."""
        column = columns["keypoints"] + k * len(fields) + fields.index("xy"[axis])
        return entry(rows, row, column) * (width, height)[axis] + anchor(row, axis)

    def overlap_along(rows, row, best, axis):
        """Length that the box of a row and that of the best share along an axis."""
        centre, half = box(rows, row, axis), box(rows, row, axis + 2) * 0.5
        low = T.max(centre - half, best[axis] - best[axis + 2] * 0.5)
        return T.max(T.min(centre + half, best[axis] + best[axis + 2] * 0.5) - low, T.float64(0))

    def keypoint_score(rows, row, k, person):
        if "score" not in fields:
            return person
        column = columns["keypoints"] + k * len(fields) + fields.index("score")
        return activated(rows[row * stride_row + column * stride_entry], head.keypoint_activation)

    @T.inline
    def read_scores(rows, scores, alive):
        for row in T.serial(count):
            if head.score_tensor is None:
                plain: T.let = rows[row * stride_row + columns.get("score", 0) * stride_entry]
                alive[row] = activated(plain, head.score_activation)
            else:
                given: T.let = scores[row]
                alive[row] = activated(given, head.score_activation)
            if T.Not(alive[row] >= T.float32(head.threshold)):  # NaN too
                alive[row] = T.float32(-1)

    @T.inline
    def find_best(alive, winner):
        winner[0] = 0
        for row in T.serial(1, count):
            if alive[row] > alive[winner[0]]:
                winner[0] = row

    @T.inline
    def add(rows, row, weight, sums):
        """Row's box and keypoints, times a weight."""
        sums[0] = sums[0] + weight * box(rows, row, 0)
        sums[1] = sums[1] + weight * box(rows, row, 1)
        sums[2] = sums[2] + weight * box(rows, row, 2)
        sums[3] = sums[3] + weight * box(rows, row, 3)
        for k in T.serial(num_keypoints):
            sums[BOX + 2 * k] = sums[BOX + 2 * k] + weight * joint(rows, row, k, 0)
            sums[BOX + 2 * k + 1] = sums[BOX + 2 * k + 1] + weight * joint(rows, row, k, 1)

    @T.inline
    def take(rows, alive, winner, best, mean):
        """Set best to the best row's box and mean to what the person gets; suppress all that overlaps it."""
        total = T.alloc_buffer((1,), "float64")
        total[0] = T.float64(0)
        best[0] = box(rows, winner[0], 0)
        best[1] = box(rows, winner[0], 1)
        best[2] = box(rows, winner[0], 2)
        best[3] = box(rows, winner[0], 3)
        for i in T.serial(values_per_person):
            mean[i] = T.float64(0)
        for row in T.serial(count):
            if alive[row] >= T.float32(0):
                area: T.let = overlap_along(rows, row, best, 0) * overlap_along(rows, row, best, 1)
                both: T.let = best[2] * best[3] + box(rows, row, 2) * box(rows, row, 3)
                if T.Or(row == winner[0], area > T.float64(head.overlap) * (both - area)):
                    if T.Or(row == winner[0], T.bool(head.merge == "average")):
                        weight: T.let = T.Cast("float64", alive[row])
                        total[0] = total[0] + weight
                        add(rows, row, weight, mean)
                    alive[row] = T.float32(-1)
        for i in T.serial(values_per_person):
            mean[i] = mean[i] / total[0]

    @T.inline
    def write(rows, winner, score, person, mean, matrix, keypoints, boxes):
        x: T.let = mean[0] - edge
        y: T.let = mean[1] - edge
        # of a crop that is turned, the box around the box
        across: T.let = T.abs(matrix[0]) * mean[2] + T.abs(matrix[1]) * mean[3]
        along: T.let = T.abs(matrix[3]) * mean[2] + T.abs(matrix[4]) * mean[3]
        left: T.let = matrix[0] * x + matrix[1] * y + matrix[2] + edge - across * 0.5
        top: T.let = matrix[3] * x + matrix[4] * y + matrix[5] + edge - along * 0.5
        boxes[person * BOX] = T.Cast("float32", left)
        boxes[person * BOX + 1] = T.Cast("float32", top)
        boxes[person * BOX + 2] = T.Cast("float32", across)
        boxes[person * BOX + 3] = T.Cast("float32", along)
        for k in T.serial(num_keypoints):
            at = T.meta_var((person * num_keypoints + k) * 3)
            px: T.let = mean[BOX + 2 * k] - edge
            py: T.let = mean[BOX + 2 * k + 1] - edge
            keypoints[at] = T.Cast("float32", matrix[0] * px + matrix[1] * py + matrix[2])
            keypoints[at + 1] = T.Cast("float32", matrix[3] * px + matrix[4] * py + matrix[5])
            keypoints[at + 2] = keypoint_score(rows, winner[0], k, score)

    @T.inline
    def find_people(rows, scores, matrix, keypoints, people, boxes, found):
        alive = T.alloc_buffer((count,), "float32")  # the score of a row that may still be taken, else -1
        winner = T.alloc_buffer((1,), "int32")
        best = T.alloc_buffer((BOX,), "float64")
        mean = T.alloc_buffer((values_per_person,), "float64")
        read_scores(rows, scores, alive)
        found[0] = 0
        for person in T.serial(most):
            if found[0] == person:  # else there was none the last time
                find_best(alive, winner)
                score: T.let = alive[winner[0]]
                if score >= T.float32(0):
                    people[person] = score
                    take(rows, alive, winner, best, mean)
                    write(rows, winner, people[person], person, mean, matrix, keypoints, boxes)
                    found[0] = person + 1

    sizes = [math.prod(shape) for shape in head_shapes]

    @T.prim_func
    def with_scores(
        tensor: T.Buffer(head_shapes[0], "float32"),
        score_tensor: T.Buffer(head_shapes[-1], "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((most * num_keypoints * 3,), "float32"),
        people: T.Buffer((most,), "float32"),
        boxes: T.Buffer((most * BOX,), "float32"),
        found: T.Buffer((1,), "int32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        rows = T.decl_buffer((sizes[0],), "float32", data=tensor.data)
        scores = T.decl_buffer((sizes[-1],), "float32", data=score_tensor.data)
        find_people(rows, scores, matrix, keypoints, people, boxes, found)

    @T.prim_func
    def without_scores(
        tensor: T.Buffer(head_shapes[0], "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((most * num_keypoints * 3,), "float32"),
        people: T.Buffer((most,), "float32"),
        boxes: T.Buffer((most * BOX,), "float32"),
        found: T.Buffer((1,), "int32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        rows = T.decl_buffer((sizes[0],), "float32", data=tensor.data)
        find_people(rows, rows, matrix, keypoints, people, boxes, found)

    return without_scores if head.score_tensor is None else with_scores


def rows_layout(
    head: DetectionHead, shapes: Sequence[Sequence[int]], num_keypoints: int, input_size: tuple[int, int]
) -> tuple[int, int, int]:
    """Return how many rows there are, and how far apart in memory: rows, and the entries of one.

    Raises ModelError where the tensor is no table of such rows, or the anchors or scores are not as many.
    """
    length = head.columns(num_keypoints)["end"]
    table = [int(extent) for extent in shapes[0] if extent != 1] or [1]
    if len(table) < 2:
        table = [math.prod(table) // length, length]
    if len(table) == 2 and length in table:
        across = table[1] == length
        count, strides = (table[0], (length, 1)) if across else (table[1], (1, table[1]))
    else:
        raise ModelError(f"output {list(shapes[0])} is no table of rows of {length}, for {num_keypoints} keypoints")
    if head.anchors and head.anchors.count(input_size) != count:
        raise ModelError(f"output {list(shapes[0])} has {count} rows, for {head.anchors.count(input_size)} anchors")
    if head.score_tensor is not None and math.prod(shapes[1]) != count:
        raise ModelError(f"output {list(shapes[1])} is not one score for each of {count} rows")
    return count, *strides
