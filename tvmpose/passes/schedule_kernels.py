"""Every PrimFunc of the module gets a schedule of ours."""

import tvm
from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from tvmpose.kernels.dispatch import schedule_kernel
from tvmpose.kernels.isa import VectorISA


@tvm.transform.module_pass(opt_level=0, name="ScheduleKernels")
class ScheduleKernels:
    def __init__(self, isa: VectorISA):
        self.isa = isa

    def transform_module(self, mod: IRModule, _: tvm.transform.PassContext) -> IRModule:
        result = mod.clone()
        for name, function in mod.functions_items():
            if isinstance(function, PrimFunc):
                scheduled = schedule_kernel(function, self.isa)
                result.update_func(name, scheduled.with_attr("global_symbol", name.name_hint))
        return result
