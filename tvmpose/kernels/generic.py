"""One schedule for everything that is not a convolution: elementwise chains, pooling, resizing, reductions, copies.

Producers without a reduction are inlined; the rest runs in parallel over its outer loops and in vectors over the
innermost, which in NHWC is channels.
"""

from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV, ScheduleError
from tvm.tirx import IterVar

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.tiling import WRITTEN_OUT, extent

PARALLEL_WORK = 8192  # iterations below which waking the pool costs more than it saves


def schedule_generic(schedule: Schedule, isa: VectorISA, choices: Choices) -> None:
    for block in blocks_of(schedule):
        try_inline(schedule, block)
    for index, block in enumerate(blocks_of(schedule)):
        if is_regular(schedule, block):
            _schedule_block(schedule, block, isa, choices, f"_{index}" if index else "")


def blocks_of(schedule: Schedule) -> list[SBlockRV]:
    return schedule.get_child_blocks(schedule.get_sblock("root"))


def try_inline(schedule: Schedule, block: SBlockRV) -> None:
    if schedule.get_consumers(block) and not reduction_axes(schedule, block):
        try:
            schedule.compute_inline(block)
        except ScheduleError:  # an opaque block or one whose result is also an output: it stays
            return


def is_regular(schedule: Schedule, block: SBlockRV) -> bool:
    """Loops and block axes correspond one to one, as TE makes them; opaque blocks (sorting, top-k) do not."""
    return len(schedule.get_loops(block)) == len(schedule.get(block).iter_vars) > 0


def _schedule_block(schedule: Schedule, block: SBlockRV, isa: VectorISA, choices: Choices, suffix: str) -> None:
    """suffix: of its decisions' names."""
    loops = schedule.get_loops(block)
    reduction = [loops[i] for i in reduction_axes(schedule, block)]
    spatial = [loop for i, loop in enumerate(loops) if i not in reduction_axes(schedule, block)]
    if prod(extent(schedule, loop) for loop in loops) < PARALLEL_WORK or not spatial:
        return
    *outer, last = spatial
    length = extent(schedule, last)
    if not reduction and length < 8 and len(outer) > 1:
        # three channels, say: LLVM makes vectors of several pixels out of the plain loop over them
        schedule.unroll(last)
        schedule.parallel(schedule.fuse(*outer[:-1]))
        return
    in_bytes = isa.saturating and "int8" in str(schedule.get(block).writes[0].source.dtype)
    widest = 16 if in_bytes else isa.lanes
    wider = [n for n in (widest // 2, widest, 2 * widest, 4 * widest) if length % n == 0]
    lanes = choices.take(schedule, f"lanes{suffix}", wider, _lanes(length, widest))
    last, lane = schedule.split(last, [None, lanes])
    if outer and length % lanes:  # only the last vector tests its lanes
        if length // lanes < WRITTEN_OUT:
            schedule.unroll(last)
        elif not _reads_integers(schedule, block):
            schedule.annotate(last, "pragma_loop_partition_hint", True)
    schedule.reorder(*outer, last, *reduction, lane)
    schedule.vectorize(lane)
    shared = len(outer)  # loops that threads share
    if not reduction and shared > 1:
        shared = choices.take(schedule, f"loops_shared{suffix}", range(1, shared), shared)
    parallel = schedule.fuse(*outer[:shared]) if outer else last
    if not outer:
        parallel, last = schedule.split(last, [None, 1])
    schedule.parallel(parallel)
    if reduction:
        schedule.decompose_reduction(block, reduction[0])


def reduction_axes(schedule: Schedule, block: SBlockRV) -> list[int]:
    return [i for i, axis in enumerate(schedule.get(block).iter_vars) if axis.iter_type == IterVar.CommReduce]


def _reads_integers(schedule: Schedule, block: SBlockRV) -> bool:
    """Places loaded from a table keep their loops 64-bit, and TVM 0.27 fails to partition such loops."""
    return any("int" in str(read.source.dtype) for read in schedule.get(block).reads)


def _lanes(extent: int, widest: int) -> int:
    """A width that divides the extent and fills half a vector; else a short axis as a whole, or full vectors."""
    fitting = max(n for n in range(1, widest + 1) if extent % n == 0 and n & (n - 1) == 0)
    if fitting >= widest // 2:
        return fitting
    return extent if extent <= 2 * widest else widest
