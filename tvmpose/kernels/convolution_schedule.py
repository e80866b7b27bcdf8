"""Loops of the float convolutions: register tiles as in tiling.py, broadcast inputs times vectors of weights inside."""

from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.tiling import (
    RegisterTile,
    TileLoops,
    conv2d_tiles,
    divisors,
    extent,
    float_tiles,
    inline_epilogue,
    load_inputs_by_vectors,
    output_shape,
    share_between_threads,
    take_band,
    take_tile,
    tile_loops,
    vectorize_tile,
)


def schedule_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA, choices: Choices) -> None:
    _, height, width, _ = output_shape(schedule, conv)
    _schedule_tiles(schedule, conv, (height, width), isa, choices)


def schedule_conv2d_transpose(schedule: Schedule, conv: SBlockRV, isa: VectorISA, choices: Choices) -> None:
    _, rows, columns, sy, sx, _ = output_shape(schedule, conv)
    _schedule_tiles(schedule, conv, (rows, columns), isa, choices, phases=(sy, sx))


def _tiles(schedule: Schedule, conv: SBlockRV, size: tuple[int, int], isa: VectorISA) -> list[RegisterTile]:
    """Those that read the weights as they are packed."""
    *_, inputs, lanes = (int(n) for n in schedule.get(conv).reads[1].source.shape)
    channels = output_shape(schedule, conv)[-1]
    if isa.by_element:
        return [tile for tile in float_tiles(size, channels, inputs, isa) if tile.vectors * tile.lanes == lanes]
    return conv2d_tiles(*size, channels // lanes, lanes, isa.registers)


def _schedule_tiles(
    schedule: Schedule,
    conv: SBlockRV,
    size: tuple[int, int],
    isa: VectorISA,
    choices: Choices,
    phases: tuple[int, int] = (1, 1),
) -> None:
    tile = take_tile(schedule, _tiles(schedule, conv, size, isa), choices)
    kernel_rows = int(schedule.get(conv).reads[1].source.shape[-4])  # of the weights (..., kh, kw, inputs, lanes)
    output, conv = inline_epilogue(schedule, conv)
    loops = tile_loops(schedule, output, conv, tile, kernel_rows, 3, phases, choices)
    *unrolled, lane = loops.tile
    schedule.reorder(*loops.phases, *loops.reduction, *loops.tile)
    vectorize_tile(schedule, unrolled, lane)
    share_between_threads(schedule, conv, loops, choices)
    if not isa.by_element:
        _unroll_inputs(schedule, loops, choices)
    elif not load_inputs_by_vectors(schedule, conv, loops.reduction[-1], loops.tile):
        for loop in loops.reduction[1:]:  # few inputs: LLVM would unroll them too, and not as well
            if prod(extent(schedule, other) for other in loops.reduction[1:]) <= 16:
                schedule.unroll(loop)
    schedule.decompose_reduction(conv, loops.reduction[0])


def _unroll_inputs(schedule: Schedule, loops: TileLoops, choices: Choices) -> None:
    """Some steps of the reduction over inputs in one, where a search says so."""
    inputs = loops.reduction[-1]
    steps = choices.take(schedule, "inputs_unrolled", divisors(extent(schedule, inputs), 4), 1)
    if steps > 1:
        schedule.unroll(schedule.split(inputs, [None, steps])[1])


def schedule_planar_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA, choices: Choices) -> None:
    """Loops: band of rows (parallel), row, outputs, vectors of pixels."""
    output, conv = inline_epilogue(schedule, conv)
    (planes,) = schedule.get_producers(conv)
    for pad in schedule.get_producers(planes):
        schedule.compute_inline(pad)
    _, height, width, _ = output_shape(schedule, output)
    lanes = max(divisors(width, isa.lanes))
    n, y, x, c = schedule.get_loops(output)
    kernel_rows = int(schedule.get(conv).reads[1].source.shape[0])
    band, row = schedule.split(y, [None, take_band(schedule, height, 1, kernel_rows - 1, choices)])
    vectors = divisors(width // lanes, 8)
    count = choices.take(schedule, "vectors", vectors, max(n for n in vectors if n <= 4))
    x_outer, vector, lane = schedule.split(x, [None, count, lanes])
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
