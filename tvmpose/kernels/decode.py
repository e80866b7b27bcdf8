"""Network outputs to keypoints in image coordinates: coordinates as they stand, or the peaks of heatmaps."""

import math
from collections.abc import Sequence
from functools import partial

from tvm import tirx

from tvmpose.cards.card import Head
from tvmpose.errors import ModelError
from tvmpose.kernels.script import T

LANES = 16  # interleaved parts of a heatmap that are searched at once


def _activated(value, activation):
    return T.float32(1) / (T.float32(1) + T.exp(-value)) if activation == "sigmoid" else value


def _uphill(slope):
    return T.Select(slope > 0, T.float64(0.25), T.Select(slope < 0, T.float64(-0.25), T.float64(0)))


@T.inline
def _peak(heatmap, cells, peak):
    """Set peak[0] to the first of the greatest cells. NaN is greater than nothing: cell 0 where all are NaN."""
    lanes = T.meta_var(math.gcd(cells, LANES))
    best = T.alloc_buffer((lanes,), "float32")
    cell_of = T.alloc_buffer((lanes,), "int32")
    for lane in T.vectorized(lanes):
        best[lane] = T.float32(-math.inf)
        cell_of[lane] = lane
    for step in T.serial(cells // lanes):
        for lane in T.vectorized(lanes):
            value: T.let = heatmap(step * lanes + lane)
            greater = T.meta_var(value > best[lane])
            cell_of[lane] = T.Select(greater, step * lanes + lane, cell_of[lane])
            best[lane] = T.Select(greater, value, best[lane])
    winner = T.alloc_buffer((1,), "int32")
    winner[0] = 0
    for lane in T.serial(1, lanes):
        first: T.let = T.Or(
            best[lane] > best[winner[0]],
            T.And(best[lane] == best[winner[0]], cell_of[lane] < cell_of[winner[0]]),
        )
        if first:
            winner[0] = lane
    peak[0] = cell_of[winner[0]]


def decode_kernel(
    head: Head,
    *,
    name: str,
    shape: Sequence[int],
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel_centers: bool,
    person_shape: Sequence[int] | None = None,
) -> tirx.PrimFunc:
    """Return the scheduled kernel called ``name`` that turns a network's outputs into keypoints.

    Its arguments: head tensor float32[shape], where the head has one also the person tensor float32[person_shape],
    matrix float64[6] (as runtime/csrc/model.h defines it), keypoints float32[num_keypoints * 3] as x, y, score, and
    person float32[1]: the first value of the person tensor, without one the mean of the keypoints' scores.

    input_size: the network's (width, height) in pixels. A heatmap is float32[1, h, w, num_keypoints] or [1,
    num_keypoints, h, w]; its cells are spread over the input evenly. The peak is the first of equal maxima in row
    order. half_pixel_centers as in model.h: with it a coordinate c of the network is continuous, the first pixel
    reaching from 0 to 1, and lies at pixel c - 0.5; a heatmap's cell h, of ``stride`` input pixels, is centred at
    (h + 0.5) * stride - 0.5. Without it they lie at c and h * stride.

    Raises ModelError for shapes that the head does not fit.
    """
    shape = tuple(shape)
    width, height = input_size
    fields = list(head.fields)
    heatmaps = head.kind == "heatmap"
    if heatmaps:
        channels_last, rows, columns = heatmap_layout(shape, num_keypoints, width / height)
    elif math.prod(shape) < num_keypoints * len(fields):
        raise ModelError(f"output {list(shape)} is too small for {num_keypoints} keypoints of {len(fields)} fields")
    if (head.person_tensor is None) != (person_shape is None):
        raise ModelError("the head and the shape of its person tensor do not fit together")

    def to_pixel(value, scale):
        """Position along an axis in units of ``scale`` input pixels, as the matrix takes it."""
        pixel = T.Cast("float64", value) * T.float64(scale)
        if not half_pixel_centers:
            return pixel
        return pixel + T.float64((scale - 1) / 2 if heatmaps else -0.5)

    def heatmap(tensor, keypoint, cell):
        y, x = cell // columns, cell % columns
        return tensor[0, y, x, keypoint] if channels_last else tensor[0, keypoint, y, x]

    @T.inline
    def write(keypoints, keypoint, x, y, score, matrix):
        keypoints[keypoint * 3] = T.Cast("float32", matrix[0] * x + matrix[1] * y + matrix[2])
        keypoints[keypoint * 3 + 1] = T.Cast("float32", matrix[3] * x + matrix[4] * y + matrix[5])
        keypoints[keypoint * 3 + 2] = score

    @T.inline
    def read_coordinates(tensor, matrix, person_score, keypoints):
        values = T.decl_buffer((math.prod(shape),), "float32", data=tensor.data)
        for k in T.serial(num_keypoints):
            scale_x = T.meta_var(width if head.unit == "normalized" else 1)
            scale_y = T.meta_var(height if head.unit == "normalized" else 1)
            x: T.let = to_pixel(values[k * len(fields) + fields.index("x")], scale_x)
            y: T.let = to_pixel(values[k * len(fields) + fields.index("y")], scale_y)
            if "score" in fields:
                score: T.let = values[k * len(fields) + fields.index("score")]
                write(keypoints, k, x, y, _activated(score, head.score_activation), matrix)
            else:
                write(keypoints, k, x, y, person_score, matrix)

    @T.inline
    def find_peaks(tensor, matrix, person_score, keypoints):
        for k in T.parallel(num_keypoints):
            cell = T.alloc_buffer((1,), "int32")
            _peak(partial(heatmap, tensor, k), rows * columns, cell)
            row: T.let = cell[0] // columns
            column: T.let = cell[0] % columns
            # On the edge both neighbours are the peak itself: the slope is zero.
            beside: T.let = T.Cast("int32", T.And(column > 0, column < columns - 1))
            below: T.let = T.Cast("int32", T.And(row > 0, row < rows - 1)) * columns
            across: T.let = heatmap(tensor, k, cell[0] + beside) - heatmap(tensor, k, cell[0] - beside)
            along: T.let = heatmap(tensor, k, cell[0] + below) - heatmap(tensor, k, cell[0] - below)
            refined = T.meta_var(1 if head.refine == "quarter" else 0)
            x: T.let = to_pixel(T.Cast("float64", column) + _uphill(across) * refined, width / columns)
            y: T.let = to_pixel(T.Cast("float64", row) + _uphill(along) * refined, height / rows)
            write(keypoints, k, x, y, _activated(heatmap(tensor, k, cell[0]), head.score_activation), matrix)

    read = find_peaks if heatmaps else read_coordinates

    @T.prim_func
    def with_person(
        tensor: T.Buffer(shape, "float32"),
        person_tensor: T.Buffer(tuple(person_shape or (1,)), "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((num_keypoints * 3,), "float32"),
        person: T.Buffer((1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        first = T.decl_buffer((1,), "float32", data=person_tensor.data)
        person[0] = _activated(first[0], head.person_activation)
        read(tensor, matrix, person[0], keypoints)

    @T.prim_func
    def without_person(
        tensor: T.Buffer(shape, "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((num_keypoints * 3,), "float32"),
        person: T.Buffer((1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        read(tensor, matrix, T.float32(1), keypoints)
        person[0] = T.float32(0)
        for k in T.serial(num_keypoints):
            person[0] += keypoints[k * 3 + 2] / T.float32(num_keypoints)

    return without_person if person_shape is None else with_person


def heatmap_layout(shape: tuple[int, ...], num_keypoints: int, aspect: float) -> tuple[bool, int, int]:
    """Return (channels last?, rows, columns). Where both layouts fit, the one nearer to the input's aspect ratio."""
    layouts = [(True, *shape[1:3]), (False, *shape[2:])] if len(shape) == 4 and shape[0] == 1 else []
    fitting = [item for item in layouts if shape[3 if item[0] else 1] == num_keypoints]
    if not fitting:
        raise ModelError(f"output {list(shape)} is not one heatmap for each of {num_keypoints} keypoints")
    return min(fitting, key=lambda item: abs(math.log(item[2] / item[1] / aspect)))
