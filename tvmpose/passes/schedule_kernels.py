"""Every PrimFunc of the module gets a schedule of ours."""

from collections.abc import Mapping

import tvm
import tvm_ffi
from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from tvmpose.kernels.choices import Choices, Value, given
from tvmpose.kernels.dispatch import schedule_kernel
from tvmpose.kernels.gpu_dispatch import schedule_gpu_kernel
from tvmpose.kernels.isa import VectorISA
from tvmpose.targets import Gpu

Tuned = Mapping[str, Mapping[str, Value]]
"""Decisions that a search found, by workload."""


@tvm.transform.module_pass(opt_level=0, name="ScheduleKernels")
class ScheduleKernels:
    def __init__(self, machine: VectorISA | Gpu, tuned: Tuned | None = None):
        self.machine, self.tuned = machine, tuned or {}

    def transform_module(self, mod: IRModule, _: tvm.transform.PassContext) -> IRModule:
        result = mod.clone()
        for name, function in mod.functions_items():
            if isinstance(function, PrimFunc):
                scheduled = self._schedule(function)
                result.update_func(name, scheduled.with_attr("global_symbol", name.name_hint))
        return result

    def _schedule(self, function: PrimFunc) -> PrimFunc:
        if isinstance(self.machine, Gpu):
            return schedule_gpu_kernel(function, self.machine, self._choices(function))
        return schedule_kernel(function, self.machine, self._choices(function))

    def _choices(self, function: PrimFunc) -> Choices:
        known = self.tuned.get(workload_of(function)) if self.tuned else None
        return Choices(given(known)) if known else Choices()


def workload_of(function: PrimFunc) -> str:
    """Tells kernels that do the same apart from all others, whatever they are called: 16 hexadecimal digits."""
    anonymous = function.without_attr("global_symbol")
    return f"{tvm_ffi.structural_hash(anonymous) & (2**64 - 1):016x}"
