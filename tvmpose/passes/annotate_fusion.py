"""Tell FuseOps what our convolutions take behind them: elementwise operators, whose packed indices hide it from TVM.

And nothing that is larger. TVM counts an operator as elementwise if one operand is as large as its result, though
another is repeated over it. Fused on the side of the latter, a convolution would be computed anew for each repetition:
that of a squeeze-and-excitation block for every place of the picture.
"""

from collections.abc import Iterator
from math import prod

import tvm
from tvm import relax
from tvm.ir import GlobalVar, IRModule
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from tvmpose.kernels.convolution import TEMPLATE
from tvmpose.kernels.cost import is_written_out
from tvmpose.qdq import operator_name

_BROADCAST, _INJECTIVE, _OUT_ELEMENTWISE_FUSABLE = 1, 2, 4  # TVM's OpPatternKind


@tvm.transform.module_pass(opt_level=0, name="AnnotateFusion")
class AnnotateFusion:
    def transform_module(self, mod: IRModule, _: tvm.transform.PassContext) -> IRModule:
        mod = relax.transform.AnnotateTIROpPattern()(mod)
        result = mod.clone()
        for name, function in mod.functions_items():
            if isinstance(function, PrimFunc) and not is_written_out(function) and _is_convolution(function):
                result.update_func(name, function.with_attr("op_pattern", _OUT_ELEMENTWISE_FUSABLE))
        for name in set(_repeating_convolutions(result)):
            result.update_func(name, result[name].with_attr("op_pattern", _INJECTIVE))
        return result


def _is_convolution(function: PrimFunc) -> bool:
    schedule = Schedule(function)
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return any(TEMPLATE in schedule.get(block).annotations for block in blocks)


def _repeating_convolutions(mod: IRModule) -> Iterator[GlobalVar]:
    """What FuseOps could put behind a convolution though its result is larger."""
    fusable: set[relax.Var] = set()  # results of convolutions, with or without elementwise operators behind them
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            if operator_name(binding.value) != "relax.call_tir":
                continue
            kernel, arguments = binding.value.args[0], binding.value.args[1].fields
            pattern = int(mod[kernel].attrs["op_pattern"])
            behind = [each for each in arguments if each in fusable] if pattern <= _BROADCAST else []
            if any(_elements(each) < _elements(binding.var) for each in behind):
                yield kernel
            elif behind or pattern == _OUT_ELEMENTWISE_FUSABLE:
                fusable.add(binding.var)


def _elements(value: relax.Expr) -> int:
    return prod(int(n) for n in value.ty.shape)
