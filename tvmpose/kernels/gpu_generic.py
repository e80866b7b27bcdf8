"""GPU: one schedule for whatever is no convolution: elementwise chains, pooling, resizing, reductions, copies.

Producers without a reduction are inlined. What is left becomes a kernel each: a thread computes a few neighbours of the
innermost axis, which in NHWC is channels, so that neighbouring threads read and write neighbouring memory. Where there
are few results of many inputs each, as of a mean over a picture, the threads of a block share the sum.
"""

from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.generic import blocks_of, is_regular, reduction_axes, try_inline
from tvmpose.kernels.tiling import divisors, extent
from tvmpose.targets import Gpu

SHARED_SUM = 64  # inputs of a result, from which on a block of threads shares its sum
_FEW = 4096  # results, up to which it does


def schedule_gpu_generic(schedule: Schedule, gpu: Gpu, choices: Choices) -> None:
    for block in blocks_of(schedule):
        try_inline(schedule, block)
    for index, block in enumerate(blocks_of(schedule)):
        if not is_regular(schedule, block):
            _one_thread(schedule, block)
            continue
        _schedule_block(schedule, block, gpu, choices, f"_{index}" if index else "")


def _schedule_block(schedule: Schedule, block: SBlockRV, gpu: Gpu, choices: Choices, suffix: str) -> None:
    loops, axes = schedule.get_loops(block), reduction_axes(schedule, block)
    reduction = [loops[i] for i in axes]
    spatial = [loop for i, loop in enumerate(loops) if i not in axes]
    if not spatial:
        spatial = [schedule.add_unit_loop(block if not loops else loops[0])]
        reduction = schedule.get_loops(block)[1:]
    results = prod(extent(schedule, loop) for loop in spatial)
    summed = prod(extent(schedule, loop) for loop in reduction)
    shares = int(bool(reduction) and summed >= SHARED_SUM and results <= _FEW and len(_outputs(schedule, block)) == 1)
    if choices.take(schedule, f"shares_sum{suffix}", (0, 1) if shares else (0,), shares):
        _share_sum(schedule, spatial, reduction, gpu)
        return
    length = extent(schedule, spatial[-1])
    widths = [n for n in divisors(length, 4) if n != 3] if not reduction else [1]
    width = choices.take(schedule, f"width{suffix}", widths, max(widths))
    *outer, last = spatial
    last, lane = schedule.split(last, [None, width])
    schedule.reorder(*outer, last, *reduction, lane)
    bind_flat(schedule, [*outer, last], gpu.max_threads)
    if width > 1:
        schedule.vectorize(lane)
    if reduction:
        schedule.decompose_reduction(block, reduction[0])


def bind_flat(schedule: Schedule, loops: list[LoopRV], most_threads: int) -> None:
    """All iterations one after the other to threads, and those to blocks, of as many threads as divide them best."""
    fused = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
    count = extent(schedule, fused)
    threads = min(most_threads, max(32, 1 << (count - 1).bit_length() if count > 1 else 1), 256)
    whole = [n for n in divisors(count, most_threads) if n >= 64]  # no thread of the last block is idle
    block, thread = schedule.split(fused, [None, max(whole) if whole else min(threads, count)])
    schedule.bind(block, "blockIdx.x")
    schedule.bind(thread, "threadIdx.x")


def _share_sum(schedule: Schedule, spatial: list[LoopRV], reduction: list[LoopRV], gpu: Gpu) -> None:
    """A block of threads for each result; TVM adds the threads' sums up."""
    schedule.reorder(*spatial, *reduction)
    fused = schedule.fuse(*spatial) if len(spatial) > 1 else spatial[0]
    along = schedule.fuse(*reduction) if len(reduction) > 1 else reduction[0]
    threads = min(gpu.max_threads, 64)
    _, thread = schedule.split(along, [None, threads])
    schedule.bind(fused, "blockIdx.x")
    schedule.bind(thread, "threadIdx.x")


def _one_thread(schedule: Schedule, block: SBlockRV) -> None:
    """A scalar: no loop at all, or an opaque block whose loops are its own."""
    loops = schedule.get_loops(block)
    one = schedule.add_unit_loop(loops[0] if loops else block)
    outer, inner = schedule.split(one, [1, 1])
    schedule.bind(outer, "blockIdx.x")
    schedule.bind(inner, "threadIdx.x")


def _outputs(schedule: Schedule, block: SBlockRV) -> list[object]:
    return list(schedule.get(block).writes)
