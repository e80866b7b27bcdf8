"""Loops of the float convolutions: register tiles as in tiling.py, broadcast inputs times vectors of weights inside."""

from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.start_at_bias import start_at, take_bias
from tvmpose.kernels.tiling import (
    RegisterTile,
    conv2d_tile,
    divisors,
    extent,
    float_tile,
    inline_epilogue,
    load_inputs_by_vectors,
    output_shape,
    share_between_threads,
    tile_loops,
    tiles_per_band,
    vectorize_tile,
)


def schedule_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    _, height, width, _ = output_shape(schedule, conv)
    _schedule_tiles(schedule, conv, _tile(schedule, conv, (height, width), isa), isa)


def schedule_conv2d_transpose(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    _, rows, columns, sy, sx, _ = output_shape(schedule, conv)
    _schedule_tiles(schedule, conv, _tile(schedule, conv, (rows, columns), isa), isa, phases=(sy, sx))


def _tile(schedule: Schedule, conv: SBlockRV, size: tuple[int, int], isa: VectorISA) -> RegisterTile:
    *_, inputs, lanes = (int(n) for n in schedule.get(conv).reads[1].source.shape)
    channels = output_shape(schedule, conv)[-1]
    if isa.by_element:
        return float_tile(size, channels, inputs, isa)
    return conv2d_tile(*size, channels // lanes, lanes, isa.registers)


def _schedule_tiles(
    schedule: Schedule, conv: SBlockRV, tile: RegisterTile, isa: VectorISA, phases: tuple[int, int] = (1, 1)
) -> None:
    kernel_rows = int(schedule.get(conv).reads[1].source.shape[-4])  # of the weights (..., kh, kw, inputs, lanes)
    output, conv = inline_epilogue(schedule, conv)
    bias = take_bias(schedule, output, conv) if isa.by_element else None
    loops = tile_loops(schedule, output, conv, tile, kernel_rows, 3, phases)
    *unrolled, lane = loops.tile
    schedule.reorder(*loops.phases, *loops.reduction, *loops.tile)
    vectorize_tile(schedule, unrolled, lane)
    share_between_threads(schedule, conv, loops)
    if isa.by_element and not load_inputs_by_vectors(schedule, conv, loops.reduction[-1], loops.tile):
        for loop in loops.reduction[1:]:  # few inputs: LLVM would unroll them too, and not as well
            if prod(extent(schedule, other) for other in loops.reduction[1:]) <= 16:
                schedule.unroll(loop)
    start_at(schedule, schedule.decompose_reduction(conv, loops.reduction[0]), bias)


def schedule_planar_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    """Loops: band of rows (parallel), row, outputs, vectors of pixels."""
    output, conv = inline_epilogue(schedule, conv)
    (planes,) = schedule.get_producers(conv)
    for pad in schedule.get_producers(planes):
        schedule.compute_inline(pad)
    _, height, width, _ = output_shape(schedule, output)
    lanes = max(divisors(width, isa.lanes))
    n, y, x, c = schedule.get_loops(output)
    band, row = schedule.split(
        y, [None, tiles_per_band(height, 1, int(schedule.get(conv).reads[1].source.shape[0]) - 1)]
    )
    x_outer, vector, lane = schedule.split(x, [None, max(divisors(width // lanes, 4)), lanes])
    schedule.reorder(n, band, row, c, x_outer, vector, lane)
    schedule.compute_at(conv, x_outer, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    vectorize_tile(schedule, [vector], lane)
    *_, conv_x, _, ry, rx, ri = schedule.get_loops(conv)
    conv_vector, conv_lane = schedule.split(conv_x, [None, lanes])
    schedule.reorder(ry, rx, ri, conv_vector, conv_lane)
    vectorize_tile(schedule, [conv_vector, rx], conv_lane)
    parallel = schedule.fuse(n, band)
    schedule.compute_at(planes, parallel, preserve_unit_loops=True)
    channel, plane_row, plane_column = schedule.get_loops(planes)[-3:]
    channel, few = schedule.split(channel, [None, max(divisors(extent(schedule, channel), 16))])
    schedule.reorder(plane_row, channel, plane_column, few)  # read in order
    schedule.unroll(few)
    schedule.parallel(parallel)
    schedule.decompose_reduction(conv, ry)
