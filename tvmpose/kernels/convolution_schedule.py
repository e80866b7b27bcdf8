"""Loops of the convolutions, one shape for all: an output tile of rows x columns x vectors stays in registers while the
reduction runs over kernel rows, columns and input channels.

The padded rows that a band of output rows needs are copied once, in cache; whatever was fused behind the convolution
(bias, activation, residual) is applied to the register tile before it is stored. Tiles come from a small analytic model
of the instruction set, not from a search.
"""

from dataclasses import dataclass
from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.isa import VectorISA

_MANY_TASKS = 8  # keep up to four threads evenly busy


@dataclass(frozen=True)
class RegisterTile:
    """The part of the output that one innermost kernel step keeps in registers."""

    rows: int
    columns: int
    vectors: int
    lanes: int


def conv2d_tile(height: int, width: int, vectors: int, lanes: int, registers: int) -> RegisterTile:
    """The tile with most multiply-adds per load: points * vectors of them for points + vectors loads.

    Beside the accumulators a step holds its weight vectors and one broadcast input.
    """
    candidates = [
        RegisterTile(rows, columns, count, lanes)
        for count in _divisors(vectors, 6)
        for columns in _divisors(width, 16)
        for rows in _divisors(height, 4)
        if rows * columns * count + count + 2 <= registers
    ]

    def multiply_adds_per_load(tile: RegisterTile) -> float:
        points = tile.rows * tile.columns
        return points * tile.vectors / (points + tile.vectors) - 0.01 * tile.rows  # a tie goes to fewer rows

    return max(candidates, key=multiply_adds_per_load)


def schedule_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    lanes = int(schedule.get(conv).reads[1].source.shape[-1])
    _, height, width, channels = _output_shape(schedule, conv)
    tile = conv2d_tile(height, width, channels // lanes, lanes, isa.registers)
    _schedule_tiles(schedule, conv, tile)


def schedule_planar_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    """Loops: band of rows (parallel), row, outputs, vectors of pixels."""
    output, conv = _inline_epilogue(schedule, conv)
    (planes,) = schedule.get_producers(conv)
    for pad in schedule.get_producers(planes):
        schedule.compute_inline(pad)
    _, height, width, _ = _output_shape(schedule, output)
    lanes = max(_divisors(width, isa.lanes))
    n, y, x, c = schedule.get_loops(output)
    band, row = schedule.split(
        y, [None, _tiles_per_band(height, 1, int(schedule.get(conv).reads[1].source.shape[0]) - 1)]
    )
    x_outer, vector, lane = schedule.split(x, [None, max(_divisors(width // lanes, 4)), lanes])
    schedule.reorder(n, band, row, c, x_outer, vector, lane)
    schedule.compute_at(conv, x_outer, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    _vectorize_tile(schedule, [vector], lane)
    *_, conv_x, _, ry, rx, ri = schedule.get_loops(conv)
    conv_vector, conv_lane = schedule.split(conv_x, [None, lanes])
    schedule.reorder(ry, rx, ri, conv_vector, conv_lane)
    _vectorize_tile(schedule, [conv_vector, rx], conv_lane)
    parallel = schedule.fuse(n, band)
    schedule.compute_at(planes, parallel, preserve_unit_loops=True)
    channel, plane_row, plane_column = schedule.get_loops(planes)[-3:]
    channel, few = schedule.split(channel, [None, max(_divisors(_extent(schedule, channel), 16))])
    schedule.reorder(plane_row, channel, plane_column, few)  # read in order
    schedule.unroll(few)
    schedule.parallel(parallel)
    schedule.decompose_reduction(conv, ry)


def schedule_conv2d_transpose(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    lanes = int(schedule.get(conv).reads[1].source.shape[-1])
    _, rows, columns, sy, sx, channels = _output_shape(schedule, conv)
    tile = conv2d_tile(rows, columns, channels // lanes, lanes, isa.registers)
    _schedule_tiles(schedule, conv, tile, phases=(sy, sx))


def _schedule_tiles(schedule: Schedule, conv: SBlockRV, tile: RegisterTile, phases: tuple[int, int] = (1, 1)) -> None:
    """Loops: bands of rows, output channels, rows of tiles, columns of tiles, phases; inside, the register tile.

    All phases of a transposed convolution's tile are made from the same input and stored together.
    """
    reductions = 3
    output, conv = _inline_epilogue(schedule, conv)
    n, y, x, c = schedule.get_loops(output)
    height, (sy, sx) = _output_shape(schedule, output)[1], phases
    halo = int(schedule.get(conv).reads[1].source.shape[-4]) - 1  # of the weights (..., kh, kw, inputs, lanes)
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
    reduction = loops[-reductions:]
    conv_vector, conv_lane = schedule.split(conv_channel, [tile.vectors, tile.lanes])
    schedule.reorder(*conv_phases, *reduction, conv_row, conv_column, conv_vector, conv_lane)
    _vectorize_tile(schedule, [conv_row, conv_column, conv_vector], conv_lane)
    whole = _output_shape(schedule, output)[-1] % (tile.vectors * tile.lanes) == 0
    if not whole and _extent(schedule, c_outer) > 1:  # only the last vector of channels tests its lanes
        schedule.annotate(c_outer, "pragma_loop_partition_hint", True)
    parallel = _parallelize(schedule, conv, n, band, c_outer, whole)
    schedule.parallel(parallel)
    schedule.decompose_reduction(conv, reduction[0])


def _parallelize(schedule: Schedule, conv: SBlockRV, n: LoopRV, band: LoopRV, c_outer: LoopRV, whole: bool) -> LoopRV:
    """Choose the loop that threads share, and copy the padded rows at the loop that keeps them in cache."""
    padding = schedule.get_producers(conv)
    if not padding and whole:
        if _weights_outweigh_input(schedule, conv):  # each thread then reads its own share of them, once
            schedule.reorder(c_outer, band)
            return schedule.fuse(n, c_outer, band)
        return schedule.fuse(n, band, c_outer)
    parallel = schedule.fuse(n, band)
    for producer in padding:
        schedule.compute_at(producer, parallel, preserve_unit_loops=True)
        channel = schedule.get_loops(producer)[-1]
        schedule.vectorize(schedule.split(channel, [None, max(_divisors(_extent(schedule, channel), 16))])[1])
    return parallel


def _inline_epilogue(schedule: Schedule, conv: SBlockRV) -> tuple[SBlockRV, SBlockRV]:
    """Leave two blocks, the convolution and the one that stores the result; returns (output, convolution)."""
    while True:
        consumers = schedule.get_consumers(conv)
        if not consumers:  # nothing was fused behind it: store by a copy out of the registers
            return schedule.cache_write(conv, 0, "local"), conv
        if not schedule.get_consumers(consumers[0]):
            return consumers[0], conv
        schedule.compute_inline(consumers[0])


def _vectorize_tile(schedule: Schedule, unrolled: list, lane) -> None:
    """Before decompose_reduction, so that the initialisation has the same shape and stays in the same registers."""
    schedule.vectorize(lane)
    for loop in unrolled:
        schedule.unroll(loop)


def _tiles_per_band(tiles: int, rows: int, halo: int) -> int:
    """How many tiles of that many rows make a band.

    There should be many bands for the threads to share; but a band copies `halo` rows that its neighbour copies too, so
    it should itself have as many, as long as four bands are left: of a prime number of tiles each is a band.
    """
    wanted = max(tiles // _MANY_TASKS, min(-(-halo // rows), tiles // 4), 1)
    few_enough = [n for n in _divisors(tiles, tiles) if n <= max(1, tiles // 4)]
    return min((n for n in few_enough if n >= wanted), default=max(few_enough))


def _weights_outweigh_input(schedule: Schedule, conv: SBlockRV) -> bool:
    data, weight = (prod(int(n) for n in read.source.shape) for read in schedule.get(conv).reads)
    return weight > data


def _extent(schedule: Schedule, loop: LoopRV) -> int:
    return int(schedule.get(loop).extent)


def _output_shape(schedule: Schedule, block: SBlockRV) -> tuple[int, ...]:
    return tuple(int(n) for n in schedule.get(block).writes[0].source.shape)


def _divisors(number: int, limit: int) -> list[int]:
    return [n for n in range(1, min(number, limit) + 1) if number % n == 0]
