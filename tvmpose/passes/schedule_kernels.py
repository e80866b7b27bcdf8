"""Every PrimFunc of the module gets a schedule of ours."""

from collections.abc import Mapping

import tvm
import tvm_ffi
from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from tvmpose.kernels.choices import Choices, Value, given
from tvmpose.kernels.dispatch import schedule_kernel
from tvmpose.kernels.isa import VectorISA

Tuned = Mapping[str, Mapping[str, Value]]
"""Decisions that a search found, by workload."""


@tvm.transform.module_pass(opt_level=0, name="ScheduleKernels")
class ScheduleKernels:
    def __init__(self, isa: VectorISA, tuned: Tuned | None = None):
        self.isa, self.tuned = isa, tuned or {}

    def transform_module(self, mod: IRModule, _: tvm.transform.PassContext) -> IRModule:
        result = mod.clone()
        for name, function in mod.functions_items():
            if isinstance(function, PrimFunc):
                scheduled = schedule_kernel(function, self.isa, self._choices(function))
                result.update_func(name, scheduled.with_attr("global_symbol", name.name_hint))
        return result

    def _choices(self, function: PrimFunc) -> Choices:
        known = self.tuned.get(workload_of(function)) if self.tuned else None
        return Choices(given(known)) if known else Choices()


def workload_of(function: PrimFunc) -> str:
    """Tells kernels that do the same apart from all others, whatever they are called: 16 hexadecimal digits."""
    anonymous = function.without_attr("global_symbol")
    return f"{tvm_ffi.structural_hash(anonymous) & (2**64 - 1):016x}"
