"""Loops of a depthwise convolution on a GPU: each thread a few pixels of a vector of channels, read from memory.

An input meets only a handful of weights, and the threads of a block read neighbouring channels: caches serve them as
well as shared memory would, and nobody waits for anybody.
"""

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.tiling import divisors, extent, inline_epilogue, output_shape
from tvmpose.targets import Gpu

_BUSY = 8192  # threads
_THREADS = 256  # of a block, at most
_TAPS = 25  # of a kernel that is written out


def schedule_gpu_depthwise(schedule: Schedule, conv: SBlockRV, gpu: Gpu, choices: Choices) -> None:
    pads = schedule.get_producers(conv)
    output, conv = inline_epilogue(schedule, conv)
    _, height, width, channels = output_shape(schedule, output)
    lanes = max(n for n in (4, 2, 1) if channels % n == 0)
    shapes = [(rows, columns) for rows in divisors(height, 2) for columns in divisors(width, 4)]
    busy = [s for s in shapes if height * width * channels // (lanes * s[0] * s[1]) >= _BUSY]
    default = max(busy, key=lambda s: (s[0] * s[1], s[1]), default=(1, 1))
    rows, columns = choices.take(schedule, "tile", shapes, default)
    n, y, x, c = schedule.get_loops(output)
    y, row = schedule.split(y, [None, rows])
    x, column = schedule.split(x, [None, columns])
    c, lane = schedule.split(c, [None, lanes])
    schedule.reorder(n, y, x, c, row, column, lane)
    thread = _bind(schedule, n, y, x, c, min(gpu.max_threads, _THREADS))
    schedule.compute_at(conv, thread, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    for pad in pads:
        schedule.compute_inline(pad)
    *_, conv_row, conv_column, conv_lane, ry, rx = schedule.get_loops(conv)
    schedule.reorder(ry, rx, conv_row, conv_column, conv_lane)
    written_out = extent(schedule, ry) * extent(schedule, rx) <= _TAPS
    for loop in (row, column, conv_row, conv_column, *((ry, rx) if written_out else ())):
        schedule.unroll(loop)
    for loop in (lane, conv_lane):
        if lanes > 1:
            schedule.vectorize(loop)
    schedule.decompose_reduction(conv, ry)


def _bind(schedule: Schedule, n: LoopRV, y: LoopRV, x: LoopRV, c: LoopRV, most: int) -> LoopRV:
    """Blocks that divide columns and channels without rest, channels first; returns the loop over threads.

    Threads that run over the ends of rows would take TVM's proof from it that no two store the same.
    """
    across = max(divisors(extent(schedule, c), most))
    along = max(divisors(extent(schedule, x), max(1, most // across)))
    down = max(divisors(extent(schedule, y), max(1, most // (across * along))))
    y, y_thread = schedule.split(y, [None, down])
    x, x_thread = schedule.split(x, [None, along])
    c, c_thread = schedule.split(c, [None, across])
    schedule.reorder(n, y, x, c, y_thread, x_thread, c_thread)
    schedule.bind(schedule.fuse(n, y, x, c), "blockIdx.x")
    thread = schedule.fuse(y_thread, x_thread, c_thread)
    schedule.bind(thread, "threadIdx.x")
    return thread
