"""Every kernel of a network gets a schedule here; none is left to TVM's unscheduled fallback."""

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV
from tvm.tirx import PrimFunc

from tvmpose.kernels import convolution_schedule, depthwise_schedule, generic, integer_schedule, winograd_schedule
from tvmpose.kernels.choices import Choices
from tvmpose.kernels.convolution import TEMPLATE
from tvmpose.kernels.cost import is_written_out
from tvmpose.kernels.few_outputs import schedule_folded_conv2d
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.keep_rolled import mark_rolled

_TEMPLATES = {
    "conv2d": convolution_schedule.schedule_conv2d,
    "conv2d_transpose": convolution_schedule.schedule_conv2d_transpose,
    "depthwise_conv2d": depthwise_schedule.schedule_depthwise_conv2d,
    "folded_conv2d": schedule_folded_conv2d,
    "integer_conv2d": integer_schedule.schedule_integer_conv2d,
    "integer_conv2d_transpose": integer_schedule.schedule_integer_conv2d_transpose,
    "planar_conv2d": convolution_schedule.schedule_planar_conv2d,
    "winograd_conv2d": winograd_schedule.schedule_winograd_conv2d,
}


def template_of(function: PrimFunc) -> str:
    """The name of what schedules a fused kernel: the template its main block is annotated with, or "generic"."""
    schedule = Schedule(function)
    return next((name for _, name in templates_in(schedule)), "generic")


def schedule_kernel(function: PrimFunc, isa: VectorISA, choices: Choices | None = None) -> PrimFunc:
    """Schedule a fused kernel by its template. choices: what is decided other than by default, and what was."""
    if is_written_out(function):
        return function
    schedule, choices = Schedule(function), choices or Choices()
    block, name = next(iter(templates_in(schedule)), (None, "generic"))
    if block is None:
        generic.schedule_generic(schedule, isa, choices)
    else:
        _TEMPLATES[name](schedule, block, isa, choices)
    if name != "depthwise_conv2d" or isa.depthwise_on_stack:
        _to_stack(schedule)
    return mark_rolled(schedule.mod["main"])


def templates_in(schedule: Schedule) -> list[tuple[SBlockRV, str]]:
    """Blocks that are annotated with one."""
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    found = ((block, schedule.get(block).annotations.get(TEMPLATE)) for block in blocks)
    return [(block, str(name)) for block, name in found if name is not None]


def _to_stack(schedule: Schedule) -> None:
    """Tiles of registers become variables of the kernel's own, which LLVM keeps in registers for certain.

    TVM 0.27 asks the runtime for a buffer of scope "local", as for a large one, and puts small "global" ones on the
    stack. Where a tile is stored under a condition, or a loop must stay as it is, only those are promoted. Not on x86
    for depthwise convolutions: their loops are written out, and of so many multiply-adds LLVM then moves so many apart
    from their loads that there are too few registers (most of all in 7x7 ones).
    """
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        if any(region.source.scope() == "local" for region in schedule.get(block).writes):
            schedule.set_scope(block, 0, "global")
