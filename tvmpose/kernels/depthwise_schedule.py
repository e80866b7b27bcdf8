"""Loops of a depthwise convolution: a register tile of rows x columns of one vector of channels.

Every input meets only a handful of weights, so what counts is how often it is moved: a padded copy costs as much as the
convolution itself. Kernels up to 7x7 read the picture directly and guard the taps that may lie outside it. Beyond that
most tiles touch a border, and where a multiply-add takes an element of a register, as on 64-bit ARM, its addresses have
no room for the distances: then padded rows are copied. So they are where small tiles would make floats of each byte for
tap after tap, and take its zero point away.
"""

from tvm.ir import Call
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import Sub

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.guard_padding import guard_padding, is_zero_padding
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.start_at_bias import start_at, take_bias
from tvmpose.kernels.tiling import (
    MANY_TASKS,
    RegisterTile,
    copy_rows,
    divisors,
    extent,
    inline_epilogue,
    output_shape,
    take_band,
    take_tile,
    vectorize_tile,
)

_ACCUMULATORS = 8  # enough to hide the latency of multiply-adds; more drive the weights out of the registers
_GUARDED_TAPS = 7
_FEW = 4  # points of a tile
_LINE = 16  # floats in a cache line


def depthwise_tiles(
    height: int, width: int, lanes: int, registers: int, kernel: int, stride: int, most: int = _ACCUMULATORS
) -> list[RegisterTile]:
    """Of the largest tiles whose accumulators fit beside a row of inputs and of weights, the one that loads least; then
    all others of up to twice as many accumulators.

    Where a row fits beside too few accumulators, it is read from the cache again and again: then long rows are best.
    most: accumulators of a tile.
    """

    def registers_used(rows: int, columns: int) -> int:
        return rows * columns + (columns - 1) * stride + kernel

    def inputs(rows: int, columns: int) -> int:
        return ((rows - 1) * stride + kernel) * ((columns - 1) * stride + kernel)

    candidates = [
        (rows, columns)
        for rows in divisors(height, 2)
        for columns in divisors(width, 8)
        if rows * columns <= most and registers_used(rows, columns) <= registers
    ]
    rows, columns = max(candidates, key=lambda tile: (tile[0] * tile[1], -inputs(*tile)), default=(1, 1))
    long = max(divisors(width, most))
    if stride == 1 and rows * columns < long:
        rows, columns = 1, long
    others = ((r, c) for r in divisors(height, 4) for c in divisors(width, 16) if r * c <= min(2 * most, registers))
    return [RegisterTile(*shape, 1, lanes) for shape in dict.fromkeys([(rows, columns), *others])]


def schedule_depthwise_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA, choices: Choices) -> None:
    """Loops: bands of rows (a row of tiles, without a copy), channels, rows and columns of tiles; the register tile."""
    _, height, width, channels = output_shape(schedule, conv)
    padded, weight = (tuple(int(n) for n in read.source.shape) for read in schedule.get(conv).reads)
    stride = max(1, (padded[2] - weight[1]) // max(1, width - 1))
    sums_long = str(schedule.get(conv).reads[1].source.dtype) == "int16"
    lanes = max(divisors(channels, 8 if sums_long else isa.lanes))
    most = 6 if sums_long else _ACCUMULATORS  # of two registers each
    tiles = depthwise_tiles(height, width, lanes, isa.registers, weight[1], stride, most)
    tile = take_tile(schedule, tiles, choices)
    output, conv = inline_epilogue(schedule, conv)
    bias = take_bias(schedule, output, conv) if isa.by_element else None
    whole = output_shape(schedule, output)[3] == channels
    padding = schedule.get_producers(conv)
    guarded = whole and max(weight[:2]) <= _GUARDED_TAPS and all(is_zero_padding(schedule, pad) for pad in padding)
    again = stride == 1 and tile.rows * tile.columns < _FEW  # each byte would be converted for most of its taps
    in_order = isa.by_element or (again and any(_subtracts(schedule, pad) for pad in padding))
    if padding and guarded:
        guarded = bool(choices.take(schedule, "guarded", (0, 1), int(not in_order)))
    for pad in padding if guarded else ():
        schedule.compute_inline(pad)
    n, y, x, c = schedule.get_loops(output)
    halo = (weight[0] - 1) * (4 if isa.by_element else 1)  # rows that are copied in order are worth sharing
    per_band = 1 if guarded else take_band(schedule, height // tile.rows, tile.rows, halo, choices)
    band, band_row, row = schedule.split(y, [None, per_band, tile.rows])
    x_outer, column = schedule.split(x, [None, tile.columns])
    together = _vectors_of_lines(channels // lanes, lanes)
    count = choices.take(schedule, "vectors_together", divisors(channels // lanes, 16), together)
    c_outer, vector, lane = schedule.split(c, [None, count, lanes])
    if guarded:
        schedule.reorder(n, band, band_row, x_outer, c_outer, vector, row, column, lane)
    else:
        schedule.reorder(n, band, c_outer, band_row, x_outer, vector, row, column, lane)
    schedule.compute_at(conv, vector, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    vectorize_tile(schedule, [row, column], lane)
    conv_row, conv_column, conv_channel, ry, rx = schedule.get_loops(conv)[-5:]
    conv_vector, conv_lane = schedule.split(conv_channel, [1, lanes])
    schedule.reorder(ry, conv_row, rx, conv_column, conv_vector, conv_lane)
    vectorize_tile(schedule, [conv_row, conv_column, conv_vector, ry, rx], conv_lane)
    if not whole and extent(schedule, c_outer) > 1:  # only the last vector of channels tests its lanes
        schedule.annotate(c_outer, "pragma_loop_partition_hint", True)
    copies = padding and not guarded
    if copies and in_order:
        parallel = schedule.fuse(n, band)
        for pad in padding:
            copy_rows(schedule, pad, parallel)
    elif copies:
        parallel = _copy_padding(schedule, padding, n, band, c_outer, whole)
    elif guarded:  # few rows are shared in parts
        parallel = schedule.fuse(n, band, band_row, *[x_outer] * (height // tile.rows < MANY_TASKS))
    else:
        parallel = schedule.fuse(n, band, c_outer)
    schedule.parallel(parallel)
    start_at(schedule, schedule.decompose_reduction(conv, ry), bias)
    if guarded and padding:
        guard_padding(schedule, conv)


def _subtracts(schedule: Schedule, pad: SBlockRV) -> bool:
    """Whether padding makes floats of bytes and takes their zero point away: better once than for each tap."""
    value = schedule.get(pad).body.value
    return isinstance(value, Call) and isinstance(value.args[1], Sub) and value.args[1].b.value != 0


def _vectors_of_lines(vectors: int, lanes: int) -> int:
    """How many vectors of a pixel's channels come one after the other: whole cache lines, each read but once."""
    needed = -(-_LINE // lanes)
    return next((n for n in divisors(vectors, 4 * needed) if n >= needed), 1)


def _copy_padding(
    schedule: Schedule, padding: list[SBlockRV], n: LoopRV, band: LoopRV, c_outer: LoopRV, whole: bool
) -> LoopRV:
    """Copy the padded rows of a band, one vector of channels at a time; returns the loop that threads share."""
    if whole and extent(schedule, band) < MANY_TASKS:
        schedule.reorder(c_outer, band)
        padded_at, parallel = band, schedule.fuse(n, c_outer)
    else:
        padded_at, parallel = c_outer, schedule.fuse(n, band)
    for pad in padding:
        schedule.compute_at(pad, padded_at, preserve_unit_loops=True)
        schedule.vectorize(schedule.get_loops(pad)[-1])
    return parallel
