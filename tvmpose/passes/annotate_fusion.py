"""Tell FuseOps that our convolutions take elementwise operators behind them; their packed indices hide it from TVM."""

import tvm
from tvm import relax
from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from tvmpose.kernels.convolution import TEMPLATE
from tvmpose.kernels.cost import is_written_out

_OUT_ELEMENTWISE_FUSABLE = 4  # TVM's OpPatternKind


@tvm.transform.module_pass(opt_level=0, name="AnnotateFusion")
class AnnotateFusion:
    def transform_module(self, mod: IRModule, _: tvm.transform.PassContext) -> IRModule:
        mod = relax.transform.AnnotateTIROpPattern()(mod)
        result = mod.clone()
        for name, function in mod.functions_items():
            if isinstance(function, PrimFunc) and not is_written_out(function) and _is_convolution(function):
                result.update_func(name, function.with_attr("op_pattern", _OUT_ELEMENTWISE_FUSABLE))
        return result


def _is_convolution(function: PrimFunc) -> bool:
    schedule = Schedule(function)
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return any(TEMPLATE in schedule.get(block).annotations for block in blocks)
