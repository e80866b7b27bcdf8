"""Network outputs to keypoints on a GPU: a block of threads finds the peak of each keypoint's map.

Coordinates, heatmaps as they stand or with a quarter offset, and SimCC. Other heads are decoded by the CPU, out of what
the network puts out; kernels/decoders.py has all of them.
"""

import math
from collections.abc import Sequence
from functools import partial

from tvm import tirx

from tvmpose.cards.heads import AnyHead, Head, SimccHead
from tvmpose.kernels.activation import activated
from tvmpose.kernels.decode import heatmap_layout
from tvmpose.kernels.script import T

THREADS = 64  # of a block


def decodes_on_gpu(head: AnyHead) -> bool:
    return isinstance(head, SimccHead) or (isinstance(head, Head) and head.refine in ("none", "quarter"))


def gpu_decode_kernel(
    head: AnyHead,
    *,
    name: str,
    shapes: Sequence[Sequence[int]],
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel_centers: bool,
) -> tirx.PrimFunc:
    """Return the kernels, in one function ``name``, of a head that decodes_on_gpu; parameters as decode_kernel's.

    Its arguments: the outputs of ``head.tensors`` (float32, of these ``shapes``), matrix float32[6], and results
    float32[num_keypoints * 3 + 1]: x, y, score of each keypoint, then the person's score. They are what decode_kernel
    computes, in float32. Shapes fit: decode_kernel of the same head has said so.
    """
    width, height = input_size
    make = _simcc if isinstance(head, SimccHead) else _heatmaps if head.kind == "heatmap" else _coordinates
    return make(head, name, [tuple(shape) for shape in shapes], num_keypoints, (width, height), half_pixel_centers)


@T.inline
def _write(results, keypoint, x, y, score, matrix):
    results[keypoint * 3] = matrix[0] * x + matrix[1] * y + matrix[2]
    results[keypoint * 3 + 1] = matrix[3] * x + matrix[4] * y + matrix[5]
    results[keypoint * 3 + 2] = score


@T.inline
def _write_person(results, count, first, score_of):
    """One thread, in a kernel of its own: the others have to be done. score_of: None for the mean of the keypoints'."""
    for _block in T.thread_binding(1, "blockIdx.x"):
        for _thread in T.thread_binding(1, "threadIdx.x"):
            total = T.alloc_buffer((1,), "float32", scope="local")
            total[0] = T.float32(0)
            if score_of is None:
                for k in T.serial(count):
                    total[0] = total[0] + results[k * 3 + 2] / T.float32(count)
            else:
                total[0] = score_of(first)
            results[count * 3] = total[0]


@T.inline
def _find_peak(value_at, count, thread, high, cell):
    """Set every thread's cell[0] to the first of the greatest, high[0] being its value; 0 where all are NaN.

    Threads exchange theirs with neighbours at half the distance each time, all of them: TVM puts barriers between
    writing and reading, and none into conditions.
    """
    best = T.alloc_buffer((THREADS,), "float32", scope="shared")
    cell_of = T.alloc_buffer((THREADS,), "int32", scope="shared")
    high[0] = T.float32(-math.inf)
    cell[0] = T.min(thread, count - 1)
    for step in T.serial(-(-count // THREADS)):
        at: T.let = step * THREADS + thread
        if at < count:
            value: T.let = value_at(at)
            cell[0] = T.Select(value > high[0], at, cell[0])
            high[0] = T.Select(value > high[0], value, high[0])
    for halving in T.unroll(THREADS.bit_length() - 1):
        partner: T.let = T.bitwise_xor(thread, T.shift_right(THREADS // 2, halving))
        best[thread] = high[0]
        cell_of[thread] = cell[0]
        other: T.let = best[partner]
        other_cell: T.let = cell_of[partner]
        wins: T.let = T.Or(other > high[0], T.And(other == high[0], other_cell < cell[0]))
        high[0] = T.Select(wins, other, high[0])
        cell[0] = T.Select(wins, other_cell, cell[0])


def _to_pixel(cell, stride, half_pixel_centers):
    """As cell_to_pixel, in float32."""
    pixel = T.Cast("float32", cell) * T.float32(stride)
    return pixel + T.float32((stride - 1) / 2) if half_pixel_centers else pixel


def _kernel_of(decode, head, name, shapes, count):
    """The function of decode(tensor, matrix, results, score of the person), and of that score behind the keypoints."""
    shape, person_shape = shapes[0], shapes[-1]

    @T.prim_func
    def with_person(
        tensor: T.Buffer(shape, "float32"),
        person_tensor: T.Buffer(person_shape, "float32"),
        matrix: T.Buffer((6,), "float32"),
        results: T.Buffer((count * 3 + 1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        first = T.decl_buffer((1,), "float32", data=person_tensor.data)
        decode(tensor, matrix, results, activated(first[0], head.person_activation))
        _write_person(results, count, first[0], lambda score: activated(score, head.person_activation))

    @T.prim_func
    def without_person(
        tensor: T.Buffer(shape, "float32"),
        matrix: T.Buffer((6,), "float32"),
        results: T.Buffer((count * 3 + 1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        decode(tensor, matrix, results, T.float32(1))
        _write_person(results, count, T.float32(0), None)

    return without_person if head.person_tensor is None else with_person


def _coordinates(head, name, shapes, count, size, half_pixel_centers):
    fields, shape = list(head.fields), shapes[0]
    scales = size if head.unit == "normalized" else (1, 1)

    def place(values, keypoint, field, scale):
        pixel = values[keypoint * len(fields) + fields.index(field)] * T.float32(scale)
        return pixel - T.float32(0.5) if half_pixel_centers else pixel

    def score_of(values, keypoint, person_score):
        if "score" not in fields:
            return person_score
        return activated(values[keypoint * len(fields) + fields.index("score")], head.score_activation)

    @T.inline
    def decode(tensor, matrix, results, person_score):
        values = T.decl_buffer((math.prod(shape),), "float32", data=tensor.data)
        for _block in T.thread_binding(1, "blockIdx.x"):
            for thread in T.thread_binding(THREADS, "threadIdx.x"):
                for step in T.serial(-(-count // THREADS)):
                    k: T.let = step * THREADS + thread
                    if k < count:
                        x: T.let = place(values, k, "x", scales[0])
                        y: T.let = place(values, k, "y", scales[1])
                        _write(results, k, x, y, score_of(values, k, person_score), matrix)

    return _kernel_of(decode, head, name, shapes, count)


def _heatmaps(head, name, shapes, count, size, half_pixel_centers):
    width, height = size
    channels_last, rows, columns = heatmap_layout(shapes[0], count, width / height)

    def value(tensor, keypoint, cell):
        y, x = cell // columns, cell % columns
        return tensor[0, y, x, keypoint] if channels_last else tensor[0, keypoint, y, x]

    def uphill(tensor, keypoint, cell, step):
        """step: cells to the neighbour, 0 on the edge."""
        if head.refine == "none":
            return T.float32(0)
        slope = value(tensor, keypoint, cell + step) - value(tensor, keypoint, cell - step)
        return T.Select(slope > 0, T.float32(0.25), T.Select(slope < 0, T.float32(-0.25), T.float32(0)))

    @T.inline
    def decode(tensor, matrix, results, _person_score):
        for k in T.thread_binding(count, "blockIdx.x"):
            for thread in T.thread_binding(THREADS, "threadIdx.x"):
                high = T.alloc_buffer((1,), "float32", scope="local")
                found = T.alloc_buffer((1,), "int32", scope="local")
                _find_peak(partial(value, tensor, k), rows * columns, thread, high, found)
                if thread == 0:
                    cell: T.let = found[0]
                    column: T.let = cell % columns
                    row: T.let = cell // columns
                    beside: T.let = T.Cast("int32", T.And(column > 0, column < columns - 1))
                    below: T.let = T.Cast("int32", T.And(row > 0, row < rows - 1)) * columns
                    place_x: T.let = T.Cast("float32", column) + uphill(tensor, k, cell, beside)
                    place_y: T.let = T.Cast("float32", row) + uphill(tensor, k, cell, below)
                    x: T.let = _to_pixel(place_x, width / columns, half_pixel_centers)
                    y: T.let = _to_pixel(place_y, height / rows, half_pixel_centers)
                    _write(results, k, x, y, activated(value(tensor, k, cell), head.score_activation), matrix)

    return _kernel_of(decode, head, name, shapes, count)


def _simcc(head, name, shapes, count, size, half_pixel_centers):
    (x_shape, y_shape), (width, height) = shapes, size
    across, along = x_shape[-1], y_shape[-1]

    def bin_of(bins, keypoint, length, index):
        return bins[keypoint * length + index]

    @T.prim_func
    def decode(
        x_tensor: T.Buffer(x_shape, "float32"),
        y_tensor: T.Buffer(y_shape, "float32"),
        matrix: T.Buffer((6,), "float32"),
        results: T.Buffer((count * 3 + 1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        x_bins = T.decl_buffer((count * across,), "float32", data=x_tensor.data)
        y_bins = T.decl_buffer((count * along,), "float32", data=y_tensor.data)
        for k in T.thread_binding(count, "blockIdx.x"):
            for thread in T.thread_binding(THREADS, "threadIdx.x"):
                high_x = T.alloc_buffer((1,), "float32", scope="local")
                high_y = T.alloc_buffer((1,), "float32", scope="local")
                column = T.alloc_buffer((1,), "int32", scope="local")
                row = T.alloc_buffer((1,), "int32", scope="local")
                _find_peak(partial(bin_of, x_bins, k, across), across, thread, high_x, column)
                _find_peak(partial(bin_of, y_bins, k, along), along, thread, high_y, row)
                if thread == 0:
                    lower: T.let = T.min(x_bins[k * across + column[0]], y_bins[k * along + row[0]])
                    x: T.let = _to_pixel(column[0], width / across, half_pixel_centers)
                    y: T.let = _to_pixel(row[0], height / along, half_pixel_centers)
                    _write(results, k, x, y, activated(lower, head.score_activation), matrix)
        _write_person(results, count, T.float32(0), None)

    return decode
