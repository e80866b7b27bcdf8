"""Quantized networks in integers: QDQ islands, float operators between dequantize and quantize, become integer kernels.

One walk over the bindings. An integer tensor is kept in the byte that the target's dot products take, uint8 or int8,
its zero point moved along. At each quantize the float operators in front of it are matched against a table; what has
no row stays float arithmetic between its own dequantize and quantize, which fuse with it, and is listed with a reason.
"""

from tvm import relax
from tvm.ir import IRModule

from tvmpose.kernels.integer import Output
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.requantize import Rounding
from tvmpose.passes.constants import constant_value
from tvmpose.passes.integer_convolutions import CONVOLUTIONS, biased_convolution, integer_convolution
from tvmpose.passes.integer_elementwise import integer_movement, integer_product, integer_sum, requantized
from tvmpose.passes.integer_walk import Refusal, Row, Walk, operator_name
from tvmpose.qdq import Quantization


class LowerInteger:
    """The pass. refusals: what stayed float, of the module it was last called with."""

    def __init__(self, isa: VectorISA, rounding: Rounding):
        self.isa, self.rounding = isa, rounding
        self.refusals: list[Refusal] = []

    def __call__(self, mod: IRModule) -> IRModule:
        if not _is_quantized(mod["main"]):
            return mod
        walk = Walk(mod["main"], self.isa, self.rounding, _ROWS)
        lowered = walk.run()
        self.refusals = walk.refusals
        for name, function in mod.functions_items():
            if name.name_hint != "main":
                lowered.update_func(name, function)
        return lowered


def _is_quantized(function: relax.Function) -> bool:
    return any(
        operator_name(binding.value) == "relax.quantize" for block in function.body.blocks for binding in block.bindings
    )


def _add(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    for operand, bias in (call.args, reversed(call.args)):
        source = walk.resolve(operand)
        if operator_name(source) in CONVOLUTIONS and constant_value(bias, walk.definitions) is not None:
            return biased_convolution(walk, source, bias, target, output)
    return integer_sum(walk, call, target, output)


_ROWS: dict[str, Row] = {
    **dict.fromkeys(CONVOLUTIONS, integer_convolution),
    "relax.add": _add,
    "relax.subtract": integer_sum,
    "relax.multiply": integer_product,
    "relax.dequantize": requantized,
    **{
        f"relax.{name}": integer_movement
        for name in "reshape permute_dims strided_slice concat nn.pad nn.max_pool2d squeeze expand_dims".split()
    },
}
