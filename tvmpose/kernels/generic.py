"""One schedule for everything that is not a convolution: elementwise chains, pooling, resizing, reductions, copies.

Producers without a reduction are inlined; the rest runs in parallel over its outer loops and in vectors over the
innermost, which in NHWC is channels.
"""

from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError
from tvm.tirx import IterVar

from tvmpose.kernels.isa import VectorISA

PARALLEL_WORK = 8192  # iterations below which waking the pool costs more than it saves


def schedule_generic(schedule: Schedule, isa: VectorISA) -> None:
    for block in _blocks(schedule):
        _try_inline(schedule, block)
    for block in _blocks(schedule):
        if _is_regular(schedule, block):
            _schedule_block(schedule, block, isa)


def _blocks(schedule: Schedule) -> list[SBlockRV]:
    return schedule.get_child_blocks(schedule.get_sblock("root"))


def _try_inline(schedule: Schedule, block: SBlockRV) -> None:
    if schedule.get_consumers(block) and not _reduction_axes(schedule, block):
        try:
            schedule.compute_inline(block)
        except ScheduleError:  # an opaque block or one whose result is also an output: it stays
            return


def _is_regular(schedule: Schedule, block: SBlockRV) -> bool:
    """Loops and block axes correspond one to one, as TE makes them; opaque blocks (sorting, top-k) do not."""
    return len(schedule.get_loops(block)) == len(schedule.get(block).iter_vars) > 0


def _schedule_block(schedule: Schedule, block: SBlockRV, isa: VectorISA) -> None:
    loops = schedule.get_loops(block)
    reduction = [loops[i] for i in _reduction_axes(schedule, block)]
    spatial = [loop for i, loop in enumerate(loops) if i not in _reduction_axes(schedule, block)]
    if prod(_extent(schedule, loop) for loop in loops) < PARALLEL_WORK or not spatial:
        return
    *outer, last = spatial
    lanes = _vector_lanes(_extent(schedule, last), isa.lanes)
    if not reduction and lanes == 1:  # elementwise over an odd innermost axis: let vectors cross rows
        outer, last = [], schedule.fuse(*spatial)
        lanes = _vector_lanes(_extent(schedule, last), isa.lanes)
    last, lane = schedule.split(last, [None, lanes])
    schedule.reorder(*outer, last, *reduction, lane)
    if lanes > 1:
        schedule.vectorize(lane)
    schedule.parallel(schedule.fuse(*outer, last))
    if reduction:
        schedule.decompose_reduction(block, reduction[0])


def _reduction_axes(schedule: Schedule, block: SBlockRV) -> list[int]:
    return [i for i, axis in enumerate(schedule.get(block).iter_vars) if axis.iter_type == IterVar.CommReduce]


def _extent(schedule: Schedule, loop: LoopRV) -> int:
    return int(schedule.get(loop).extent)


def _vector_lanes(extent: int, limit: int) -> int:
    return max(n for n in range(1, limit + 1) if extent % n == 0 and n & (n - 1) == 0)
