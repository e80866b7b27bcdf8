"""Loops of a convolution on a GPU: an implicit matrix product.

A block of threads brings a chunk of input channels, of all pixels that it needs, into shared memory, and the weights
for them; then each thread adds their products to its tile of the output in registers, and the next chunk follows.
Padding is no copy: what lies outside the picture is zero when it is brought. Where shared memory is no faster than any
other, as on Mali, threads read the picture and the weights themselves.
"""

from math import prod

import numpy as np
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.gpu_tiles import GpuTile, Work, chunk_of_inputs, fits_shared, gpu_tiles
from tvmpose.kernels.tiling import divisors, extent, inline_epilogue, output_shape
from tvmpose.targets import Gpu


def schedule_gpu_conv2d(schedule: Schedule, conv: SBlockRV, gpu: Gpu, choices: Choices) -> None:
    _, height, width, _ = output_shape(schedule, conv)
    _schedule(schedule, conv, gpu, choices, (height, width), (1, 1))


def schedule_gpu_conv2d_transpose(schedule: Schedule, conv: SBlockRV, gpu: Gpu, choices: Choices) -> None:
    _, rows, columns, sy, sx, _ = output_shape(schedule, conv)
    _schedule(schedule, conv, gpu, choices, (rows, columns), (sy, sx))


def _schedule(
    schedule: Schedule,
    conv: SBlockRV,
    gpu: Gpu,
    choices: Choices,
    size: tuple[int, int],
    phases: tuple[int, int],
) -> None:
    data, weights = (read.source for read in schedule.get(conv).reads)
    *_, kernel_rows, kernel_columns, inputs, lanes = (int(n) for n in weights.shape)
    output, conv = inline_epilogue(schedule, conv)
    taps, outputs = (kernel_rows, kernel_columns), output_shape(schedule, output)[-1]
    strides, span = _reach((int(data.shape[1]), int(data.shape[2])), size, taps)
    work = Work(size, outputs, inputs, taps, strides, prod(phases), span)
    tiles = {tile.shape: tile for tile in gpu_tiles(work, gpu, lanes)}
    tile = tiles[choices.take(schedule, "tile", list(tiles), next(iter(tiles)))]
    pads = schedule.get_producers(conv)
    thread = _bind(schedule, output, tile, phases)
    schedule.compute_at(conv, thread, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    *spatial, ry, rx, ri = schedule.get_loops(conv)[-(len(output_shape(schedule, conv)) + 3) :]
    item = np.dtype(str(weights.dtype)).itemsize
    staged = int(gpu.shared_is_fast and fits_shared(work, tile, gpu, item))
    staged = choices.take(schedule, "staged", (0, staged), staged)
    chunk = chunk_of_inputs(work, tile, gpu, item)
    outer, inner = schedule.split(ri, [None, chunk])
    schedule.reorder(outer, ry, rx, inner, *spatial)
    if staged:
        for index in (0, 1):
            _stage(schedule, conv, index, outer, prod(tile.threads))
    for pad in pads:
        schedule.compute_inline(pad)
    _in_registers(schedule, output, conv, spatial)
    steps = choices.take(schedule, "inputs_unrolled", divisors(chunk, 8), max(divisors(chunk, 4)))
    schedule.unroll(schedule.split(inner, [None, steps])[1])
    schedule.decompose_reduction(conv, outer)


def _reach(
    padded: tuple[int, int], size: tuple[int, int], taps: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Strides, and how much of the padded input one output reaches over: never less than it does."""
    strides = [(n - k) // (m - 1) if m > 1 else 1 for n, m, k in zip(padded, size, taps, strict=True)]
    spans = [n - (m - 1) * stride for n, m, stride in zip(padded, size, strides, strict=True)]
    return (max(1, strides[0]), max(1, strides[1])), (spans[0], spans[1])


def _bind(schedule: Schedule, output: SBlockRV, tile: GpuTile, phases: tuple[int, int]) -> LoopRV:
    """The output's loops to blocks and threads; returns the loop over threads."""
    n, y, x, c = schedule.get_loops(output)
    down, across, deep = tile.threads
    y_block, y_thread, y_inner = schedule.split(y, [None, down, tile.rows * phases[0]])
    x_block, x_thread, x_inner = schedule.split(x, [None, across, tile.columns * phases[1]])
    c_block, c_thread, c_inner = schedule.split(c, [None, deep, tile.channels])
    schedule.reorder(n, y_block, x_block, c_block, y_thread, x_thread, c_thread, y_inner, x_inner, c_inner)
    schedule.bind(schedule.fuse(n, y_block, x_block), "blockIdx.x")
    schedule.bind(c_block, "blockIdx.y")
    thread = schedule.fuse(y_thread, x_thread, c_thread)
    schedule.bind(thread, "threadIdx.x")
    return thread


def _stage(schedule: Schedule, conv: SBlockRV, index: int, chunk: LoopRV, threads: int) -> None:
    """What a block needs of an operand into shared memory, by all of its threads, neighbours side by side."""
    copy = schedule.cache_read(conv, index, "shared", [conv])
    schedule.compute_at(copy, chunk, preserve_unit_loops=True)
    rank = len(schedule.get(copy).writes[0].source.shape)
    loops = schedule.get_loops(copy)[-rank:]
    length = extent(schedule, loops[-1])
    vector = max(n for n in (4, 2, 1) if length % n == 0)
    *_, last = loops
    last, lane = schedule.split(last, [None, vector])
    fused = schedule.fuse(*loops[:-1], last)
    _, thread = schedule.split(fused, [None, threads])
    schedule.bind(thread, "threadIdx.x")
    if vector > 1:
        schedule.vectorize(lane)


def _in_registers(schedule: Schedule, output: SBlockRV, conv: SBlockRV, spatial: list[LoopRV]) -> None:
    """Tiles written out, channels as vectors."""
    *points, lane = spatial
    for loop in points:
        schedule.unroll(loop)
    schedule.vectorize(lane)
    *_, row, column, channel = schedule.get_loops(output)
    schedule.unroll(row)
    schedule.unroll(column)
    if output_shape(schedule, output)[-1] % extent(schedule, channel) == 0:
        schedule.vectorize(channel)
    else:
        schedule.unroll(channel)
