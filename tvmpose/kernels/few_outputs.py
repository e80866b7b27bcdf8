"""Convolutions with one or two outputs of a multiple of four inputs, as the mask at the end of BlazePose.

There are too few outputs for a vector, so vectors run over the inputs, and their lanes are added up in the end.
The picture is read as it lies; planar_conv2d, for three outputs or any number of inputs, turns it first.
"""

import numpy as np
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.convolution import TEMPLATE, Window, pad_picture
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.tiling import copy_rows, divisors, inline_epilogue, output_shape, take_band, vectorize_tile

_MOST_OUTPUTS = 2
_COLUMNS = 8  # of a tile: sums that do not wait for each other


def pack_folded_weights(weight: np.ndarray, lanes: int) -> np.ndarray:
    """(kh, kw, inputs, outputs) -> (outputs, kh, kw, inputs / lanes, lanes)."""
    height, width, inputs, outputs = weight.shape
    by_output = weight.transpose(3, 0, 1, 2).reshape(outputs, height, width, inputs // lanes, lanes)
    return np.ascontiguousarray(by_output)


def folded_lanes(inputs: int, outputs: int, isa: VectorISA) -> int | None:
    """The widest vector that the inputs fill, None where vectors over pixels are faster."""
    if outputs > _MOST_OUTPUTS:
        return None
    return next((lanes for lanes in (16, 8, 4) if lanes <= isa.lanes and inputs % lanes == 0), None)


def folded_conv2d(data: te.Tensor, packed: te.Tensor, window: Window) -> te.Tensor:
    """data (1, H, W, I) float, packed by pack_folded_weights -> (1, OH, OW, O)."""
    outputs, kernel_height, kernel_width, blocks, lanes = (int(n) for n in packed.shape)
    padded = pad_picture(data, window.padding)
    size = (int(data.shape[1]), int(data.shape[2]))
    height, width = window.output_size(size, (kernel_height, kernel_width))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    rb = te.reduce_axis((0, blocks), "rb")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    sums = te.compute(
        (1, height, width, outputs, lanes),
        lambda n, y, x, c, lane: te.sum(
            padded[n, y * sy + ry * dy, x * sx + rx * dx, rb * lanes + lane] * packed[c, ry, rx, rb, lane],
            axis=[ry, rx, rb],
        ),
        name="conv",
        attrs={TEMPLATE: "folded_conv2d"},
    )
    while int(sums.shape[-1]) > 1:
        sums = _folded(sums)
    return te.compute(sums.shape[:-1], lambda n, y, x, c: sums[n, y, x, c, 0], name="sum")


def _folded(sums: te.Tensor) -> te.Tensor:
    """The first half of the lanes plus the second."""
    *outer, lanes = (int(n) for n in sums.shape)
    half = lanes // 2
    return te.compute(
        (*outer, half), lambda n, y, x, c, lane: sums[n, y, x, c, lane] + sums[n, y, x, c, lane + half], name="fold"
    )


def schedule_folded_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA, choices: Choices) -> None:
    """Loops: rows (parallel), tiles of columns; in a tile the sums, then their halves, all in registers."""
    folds = [conv]
    while output_shape(schedule, folds[-1])[-1] > 2:  # the last two are added where the result is stored
        folds += schedule.get_consumers(folds[-1])
    output, _ = inline_epilogue(schedule, folds[-1])
    padding = schedule.get_producers(conv)
    _, height, width, *_ = output_shape(schedule, output)
    kernel_rows = int(schedule.get(conv).reads[1].source.shape[1])
    n, y, x, c = schedule.get_loops(output)
    band, _ = schedule.split(y, [None, take_band(schedule, height, 1, kernel_rows - 1, choices)])
    columns = choices.take(schedule, "columns", divisors(width, 2 * _COLUMNS), max(divisors(width, _COLUMNS)))
    x_outer, column = schedule.split(x, [None, columns])
    vectorize_tile(schedule, [column], c)
    for block in reversed(folds):
        schedule.compute_at(block, x_outer, preserve_unit_loops=True)
        schedule.set_scope(block, 0, "local")
    for block in folds[1:]:
        *_, fold_column, fold_c, lane = schedule.get_loops(block)
        vectorize_tile(schedule, [fold_column, fold_c], lane)
    *_, conv_column, conv_c, lane, ry, rx, rb = schedule.get_loops(conv)
    schedule.reorder(rb, ry, rx, conv_column, conv_c, lane)
    vectorize_tile(schedule, [ry, rx, conv_column, conv_c], lane)
    parallel = schedule.fuse(n, band)
    for pad in padding:
        copy_rows(schedule, pad, parallel)
    schedule.parallel(parallel)
    schedule.decompose_reduction(conv, rb)
