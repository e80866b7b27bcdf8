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
from tvmpose.passes.integer_elementwise import (
    extreme,
    integer_product,
    integer_quotient,
    integer_sum,
    joined,
    moved,
    padded,
    requantized,
)
from tvmpose.passes.integer_pictures import integer_average_pool, integer_mean, integer_resize
from tvmpose.passes.integer_softmax import integer_softmax
from tvmpose.passes.integer_tables import TABULATED, tabulated
from tvmpose.passes.integer_walk import MOVEMENTS, NotLowered, Row, Walk, operator_name
from tvmpose.passes.verify_integer import with_refusals
from tvmpose.qdq import Quantization, is_quantized


def lower_integer(mod: IRModule, isa: VectorISA, rounding: Rounding) -> IRModule:
    """The module with integer kernels and, as an attribute, what stayed float (verify_integer.refusals_of).

    A module without quantized tensors is returned as it is.
    """
    if not is_quantized(mod["main"]):
        return mod
    walk = Walk(mod["main"], isa, rounding, _ROWS)
    lowered = with_refusals(walk.run(), walk.refusals)
    for name, function in mod.functions_items():
        if name.name_hint != "main":
            lowered.update_func(name, function)
    return lowered


def _add(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    for operand, bias in (call.args, reversed(call.args)):
        source = walk.resolve(operand)
        if operator_name(source) in CONVOLUTIONS and constant_value(bias, walk.definitions) is not None:
            return biased_convolution(walk, source, bias, target, output)
    return integer_sum(walk, call, target, output)


def _or_table(row: Row) -> Row:
    """A row for two tensors, that serves for one and constants as well."""

    def lower(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
        try:
            return row(walk, call, target, output)
        except NotLowered as reason:
            try:
                return tabulated(walk, call, target, output)
            except NotLowered:
                raise reason from None

    return lower


_ROWS: dict[str, Row] = {
    **dict.fromkeys(TABULATED, tabulated),
    **dict.fromkeys(MOVEMENTS, moved),
    **dict.fromkeys(CONVOLUTIONS, integer_convolution),
    "": requantized,  # a part of a split tensor
    "relax.add": _or_table(_add),
    "relax.concat": joined,
    "relax.dequantize": requantized,
    "relax.divide": _or_table(integer_quotient),
    "relax.image.resize2d": integer_resize,
    "relax.maximum": _or_table(extreme),
    "relax.mean": integer_mean,
    "relax.minimum": _or_table(extreme),
    "relax.multiply": _or_table(integer_product),
    "relax.nn.avg_pool2d": integer_average_pool,
    "relax.nn.pad": padded,
    "relax.nn.softmax": integer_softmax,
    "relax.stack": joined,
    "relax.subtract": _or_table(integer_sum),
}
