"""Loops of Winograd's convolution: output phases, bands of tiles; inside, transform, products, and the way back.

A band is small enough for its transformed tiles to stay in cache between the three, and phases are outermost, so that
each phase's weights stay there while all bands pass by.
"""

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.tiling import (
    RegisterTile,
    conv2d_tiles,
    divisors,
    output_shape,
    take_tile,
    vectorize_tile,
)

_TILES_PER_BAND = 12  # enough for a register tile, and to read the weights not too often


def schedule_winograd_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA, choices: Choices) -> None:
    lanes = int(schedule.get(conv).reads[1].source.shape[-1])
    *_, tiles_y, tiles_x, _, _, channels = output_shape(schedule, conv)
    few = min(n for n in divisors(tiles_y, tiles_y) if n * tiles_x >= _TILES_PER_BAND or n == tiles_y)
    rows = choices.take(schedule, "tiles_per_band", divisors(tiles_y, tiles_y), few)
    tiles = conv2d_tiles(rows, tiles_x, channels // lanes, lanes, isa.registers, whole=True)
    tile = take_tile(schedule, tiles, choices)
    (spread,) = schedule.get_producers(conv)
    for pad in schedule.get_producers(spread):
        schedule.compute_inline(pad)
    gather = _inline_epilogue(schedule, conv)
    store = schedule.cache_write(conv, 0, "local")
    a, b, ty, tx, p, q, c = schedule.get_loops(gather)
    band, ty = schedule.split(ty, [None, rows])
    c_outer, lane = schedule.split(c, [None, lanes])
    schedule.reorder(a, b, band, ty, tx, c_outer, p, q, lane)
    vectorize_tile(schedule, [p, q], lane)
    for block in (store, conv, spread):
        schedule.compute_at(block, band, preserve_unit_loops=True)
    _schedule_spread(schedule, spread, isa)
    reduction = _schedule_products(schedule, conv, store, tile)
    schedule.parallel(schedule.fuse(a, b, band))
    schedule.decompose_reduction(conv, reduction)


def _inline_epilogue(schedule: Schedule, conv: SBlockRV) -> SBlockRV:
    """Let the output's transform store the result; returns its block."""
    (gather,) = schedule.get_consumers(conv)
    while consumers := schedule.get_consumers(gather):
        if schedule.get_consumers(consumers[0]):
            schedule.compute_inline(consumers[0])
        else:
            schedule.reverse_compute_inline(consumers[0])
    return gather


def _schedule_spread(schedule: Schedule, spread: SBlockRV, isa: VectorISA) -> None:
    """All points of a tile from the same loads, a vector of channels at a time."""
    *_, ty, tx, u, v, k = schedule.get_loops(spread)
    k_outer, lane = schedule.split(k, [None, max(divisors(output_shape(schedule, spread)[-1], isa.lanes))])
    schedule.reorder(ty, tx, k_outer, u, v, lane)
    vectorize_tile(schedule, [u, v], lane)


def _schedule_products(schedule: Schedule, conv: SBlockRV, store: SBlockRV, tile: RegisterTile) -> LoopRV:
    """A matrix product for each point, in register tiles; returns the reduction's loop."""
    *_, ty, tx, u, v, c = schedule.get_loops(store)
    ty, row = schedule.split(ty, [None, tile.rows])
    tx, column = schedule.split(tx, [None, tile.columns])
    c, vector, lane = schedule.split(c, [None, tile.vectors, tile.lanes])
    schedule.reorder(u, v, c, ty, tx, row, column, vector, lane)
    schedule.compute_at(conv, tx, preserve_unit_loops=True)
    vectorize_tile(schedule, [row, column, vector], lane)
    *_, row, column, _, _, c, reduction = schedule.get_loops(conv)
    vector, lane = schedule.split(c, [tile.vectors, tile.lanes])
    schedule.reorder(reduction, row, column, vector, lane)
    vectorize_tile(schedule, [row, column, vector], lane)
    return reduction
