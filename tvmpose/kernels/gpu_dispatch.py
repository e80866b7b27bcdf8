"""Every kernel of a network gets a schedule for a GPU here, by its template or by the generic one."""

from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from tvmpose.errors import ModelError
from tvmpose.kernels import gpu_convolution, gpu_depthwise, gpu_generic, gpu_tensor_core
from tvmpose.kernels.choices import Choices
from tvmpose.kernels.cost import is_written_out
from tvmpose.kernels.dispatch import templates_in
from tvmpose.targets import Gpu

_TEMPLATES = {
    "conv2d": gpu_convolution.schedule_gpu_conv2d,
    "conv2d_transpose": gpu_convolution.schedule_gpu_conv2d_transpose,
    "depthwise_conv2d": gpu_depthwise.schedule_gpu_depthwise,
    gpu_tensor_core.TENSOR_CORE: gpu_tensor_core.schedule_gpu_tensor_core,
}


def schedule_gpu_kernel(function: PrimFunc, gpu: Gpu, choices: Choices | None = None) -> PrimFunc:
    """Schedule a fused kernel. Raises ModelError for one whose loops are written out for a CPU."""
    if is_written_out(function):
        name = function.attrs.get("global_symbol", "a kernel")
        raise ModelError(f"{name} has no kernel for GPUs: choose a target without one (tvmpose targets)")
    schedule, choices = Schedule(function), choices or Choices()
    for block, name in templates_in(schedule):
        _TEMPLATES[name](schedule, block, gpu, choices)
        break
    else:
        gpu_generic.schedule_gpu_generic(schedule, gpu, choices)
    return schedule.mod["main"]
