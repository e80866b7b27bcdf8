"""Loops of the integer convolutions: the register tiles of convolution_schedule, with dot products inside."""

from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.convolution_schedule import (
    RegisterTile,
    _divisors,
    _extent,
    _inline_epilogue,
    _output_shape,
    _tiles_per_band,
    _vectorize_tile,
    _weights_outweigh_input,
    conv2d_tile,
)
from tvmpose.kernels.cost import MULTIPLY_ADDS
from tvmpose.kernels.integer import TILE
from tvmpose.kernels.isa import VectorISA


def schedule_integer_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    lanes = int(schedule.get(conv).reads[1].source.shape[-2])
    rows, columns, vectors = (int(n) for n in schedule.get(conv).annotations[TILE])
    _schedule_tiles(schedule, conv, RegisterTile(rows, columns, vectors, lanes), isa)


def schedule_integer_conv2d_transpose(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    lanes = int(schedule.get(conv).reads[1].source.shape[-2])
    _, rows, columns, sy, sx, channels = _output_shape(schedule, conv)
    tile = conv2d_tile(rows, columns, channels // lanes, lanes, isa.registers)
    _schedule_tiles(schedule, conv, tile, isa, phases=(sy, sx))


def _schedule_tiles(
    schedule: Schedule, conv: SBlockRV, tile: RegisterTile, isa: VectorISA, phases: tuple[int, int] = (1, 1)
) -> None:
    reductions = 4
    output, conv = _inline_epilogue(schedule, conv)
    sums = [block for block in schedule.get_producers(output) if schedule.get(block) != schedule.get(conv)]
    n, y, x, c = schedule.get_loops(output)
    height, (sy, sx) = _output_shape(schedule, output)[1], phases
    halo = int(schedule.get(conv).reads[1].source.shape[-5]) - 1
    per_band = _tiles_per_band(height // (tile.rows * sy), tile.rows, halo)
    band, band_row, row = schedule.split(y, [None, per_band, tile.rows * sy])
    x_outer, column = schedule.split(x, [None, tile.columns * sx])
    c_outer, vector, lane = schedule.split(c, [None, tile.vectors, tile.lanes])
    schedule.reorder(n, band, c_outer, band_row, x_outer, row, column, vector, lane)
    schedule.compute_at(conv, x_outer, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    _vectorize_tile(schedule, [row, column, vector], lane)
    rank = len(_output_shape(schedule, conv))
    loops = schedule.get_loops(conv)
    _, conv_row, conv_column, *conv_phases, conv_channel = loops[-rank - reductions : -reductions]
    *reduction, four = loops[-reductions:]
    conv_vector, conv_lane = schedule.split(conv_channel, [tile.vectors, tile.lanes])
    dot = isa.dot_product(tile.lanes)
    if dot.llvm:
        schedule.reorder(*conv_phases, *reduction, conv_row, conv_column, conv_vector, conv_lane, four)
    else:  # one product in a lane needs no intrinsic: plain vectors
        schedule.reorder(*conv_phases, *reduction, four, conv_row, conv_column, conv_vector, conv_lane)
        schedule.vectorize(conv_lane)
    for loop in (conv_row, conv_column, conv_vector):
        schedule.unroll(loop)
    whole = _output_shape(schedule, output)[-1] % (tile.vectors * tile.lanes) == 0
    if not whole and _extent(schedule, c_outer) > 1:  # only the last vector of channels tests its lanes
        schedule.annotate(c_outer, "pragma_loop_partition_hint", True)
    if _output_shape(schedule, output)[2] % (tile.columns * sx):  # only the last tile of a row tests its columns
        schedule.annotate(x_outer, "pragma_loop_partition_hint", True)
    parallel = _parallelize(schedule, conv, sums, n, band, c_outer, whole)
    schedule.parallel(parallel)
    work = prod(int(axis.dom.extent) for axis in schedule.get(conv).iter_vars)
    schedule.annotate(conv, MULTIPLY_ADDS, work)
    init = schedule.decompose_reduction(conv, reduction[0])
    if dot.llvm:
        schedule.vectorize(schedule.get_loops(init)[-1])
        weight = str(schedule.get(conv).reads[-1].source.dtype)
        schedule.tensorize(conv_lane, dot.intrinsic(weight))


def _parallelize(
    schedule: Schedule,
    conv: SBlockRV,
    sums: list[SBlockRV],
    n: LoopRV,
    band: LoopRV,
    c_outer: LoopRV,
    whole: bool,
) -> LoopRV:
    """Choose the loop that threads share, and pad and add up the rows at the loop that keeps them in cache."""
    padding = schedule.get_producers(conv)
    if not padding and not sums and whole:
        if _weights_outweigh_input(schedule, conv):  # each thread then reads its own share of them, once
            schedule.reorder(c_outer, band)
            return schedule.fuse(n, c_outer, band)
        return schedule.fuse(n, band, c_outer)
    parallel = schedule.fuse(n, band)
    for total in sums:
        schedule.compute_at(total, parallel, preserve_unit_loops=True)
    for producer in padding:
        schedule.compute_at(producer, parallel, preserve_unit_loops=True)
        channel = schedule.get_loops(producer)[-1]
        schedule.vectorize(schedule.split(channel, [None, max(_divisors(_extent(schedule, channel), 64))])[1])
    return parallel
