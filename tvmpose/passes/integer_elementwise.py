"""Rows of the integer table for what works element by element or only moves elements."""

from collections.abc import Callable, Sequence

import numpy as np
from tvm import relax, te, tirx
from tvm.ir import Expr, GenericConst

from tvmpose.kernels.integer import Output
from tvmpose.kernels.integer_elementwise import (
    product_formula,
    quotient_formula,
    rescale_formula,
    shifted_sum_formula,
    sum_formula,
)
from tvmpose.kernels.requantize import Rounding
from tvmpose.passes.constants import constant_value
from tvmpose.passes.integer_tables import is_identity
from tvmpose.passes.integer_walk import Integer, NotLowered, Walk, operator_name, stored_above
from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.qdq import Quantization


def integer_sum(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    if (shifted := _with_number(walk, call)) is not None:
        return _sum_with_number(walk, *shifted, target, output)
    first, second = (walk.integer(operand, wide=True) for operand in call.args)
    sign = -1 if operator_name(call) == "relax.subtract" else 1
    formula = sum_formula(walk.rounding, first.quantization, second.quantization, target, output, sign)
    return _elementwise(walk, "integer_add", formula, first, second)


def _with_number(walk: Walk, call: relax.Call) -> tuple[relax.Call, np.float32] | None:
    """The sum of two in `call`, to which it adds a constant number: what the ONNX frontend makes of QLinearAdd."""
    number, inner = constant_value(call.args[1], walk.definitions), walk.resolve(call.args[0])
    if number is None or number.size != 1 or {operator_name(call), operator_name(inner)} != {"relax.add"}:
        return None
    return inner, np.float32(number.reshape(()))


def _sum_with_number(
    walk: Walk, call: relax.Call, number: np.float32, target: Quantization, output: Output
) -> relax.Expr:
    first, second = (walk.integer(operand) for operand in call.args)
    shifts = [stored_above(walk, *each)[0] for each in zip(call.args, (first, second), strict=True)]
    formula = shifted_sum_formula(first.quantization, second.quantization, shifts, number, target, output)
    return _elementwise(walk, "integer_add", formula, first, second)


def integer_product(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    first, second = (walk.integer(operand) for operand in call.args)
    formula = product_formula(walk.rounding, first.quantization, second.quantization, target, output)
    return _elementwise(walk, "integer_multiply", formula, first, second)


def integer_quotient(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    first, second = (walk.integer(operand) for operand in call.args)
    formula = quotient_formula(walk.rounding, first.quantization, second.quantization, target, output)
    return _elementwise(walk, "integer_divide", formula, first, second)


def _elementwise(
    walk: Walk, name: str, formula: Callable[[Expr, Expr], Expr], first: Integer, second: Integer
) -> relax.Expr:
    if (same := _whose_it_stays(formula, first, second)) is not None:
        return same.value
    # fixed point is long, in 64 bits, and written out again at each use where it is fused: a chain would never end
    fused = walk.rounding is not Rounding.REFERENCE
    return walk.call(name, lambda a, b: _broadcast(formula, a, b), first.value, second.value, fused=fused)


def _whose_it_stays(formula: Callable[[Expr, Expr], Expr], first: Integer, second: Integer) -> Integer | None:
    """The operand that the other, one constant number, leaves as it is: how pixels are normalized, for instance."""
    for data, other in ((first, second), (second, first)):
        if not isinstance(other.value, GenericConst) or isinstance(data.value, GenericConst):
            continue
        numbers, shapes = other.value.value.numpy(), [tuple(int(n) for n in t.value.ty.shape) for t in (data, other)]
        if np.unique(numbers).size != 1 or np.broadcast_shapes(*shapes) != shapes[0]:
            continue
        number = tirx.const(int(numbers.flat[0]), str(numbers.dtype))
        of_one = (lambda x: formula(x, number)) if data is first else (lambda x: formula(number, x))  # noqa: B023
        if is_identity(of_one, data):
            return data
    return None


def _broadcast(value: Callable[..., Expr], a: te.Tensor, b: te.Tensor) -> te.Tensor:
    """Element by element over two tensors, NumPy's broadcasting."""
    shape = np.broadcast_shapes(*(tuple(int(n) for n in t.shape) for t in (a, b)))

    def at(tensor: te.Tensor, indices: Sequence[Expr]) -> Expr:
        missing = len(shape) - len(tensor.shape)
        # an extent of 1 on both sides keeps its index: TVM then sees that it is element by element, and fuses
        broadcast = (int(n) == 1 < shape[missing + axis] for axis, n in enumerate(tensor.shape))
        return tensor[tuple(0 if b else i for b, i in zip(broadcast, indices[missing:], strict=True))]

    return te.compute(shape, lambda *i: value(at(a, i), at(b, i)), name="elementwise")


def requantized(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """dequantize then quantize, with or without movements and an activation between."""
    return in_units_of(walk, walk.integer(call, wide=True), target, output)


def moved(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """A movement of integers, or of what an integer kernel makes, as behind a dense layer."""
    try:
        return requantized(walk, call, target, output)
    except NotLowered:
        if not output.is_whole:
            raise
    integers = walk.builder.emit(walk.lowered(call.args[0], target))
    return rebuild_call(call, [integers, *map(walk.value, call.args[1:])])


def extreme(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """The larger or smaller one, of integers in the same units."""
    operands = [walk.builder.emit(in_units_of(walk, walk.integer(operand), target, output)) for operand in call.args]
    return rebuild_call(call, operands)


def joined(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """Concatenation and stacking, of tensors each with a scale of its own."""
    parts = [in_units_of(walk, walk.integer(part), target, output) for part in call.args[0].fields]
    return rebuild_call(call, [relax.Tuple([walk.builder.emit(part) for part in parts])])


def padded(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    if call.attrs.pad_mode != "constant":
        raise NotLowered(f"padding by {call.attrs.pad_mode}")
    value = float(np.round(call.attrs.pad_value / target.scale)) + float(target.zero_point)
    value = min(max(value, output.low), output.high)
    operand = walk.builder.emit(in_units_of(walk, walk.integer(call.args[0]), target, output))
    return rebuild_call(call, [operand, *call.args[1:]], pad_value=value)


def in_units_of(walk: Walk, data: Integer, target: Quantization, output: Output) -> relax.Expr:
    """An operand with a scale of its own, as the result's; as it is where nothing changes."""
    if data.quantization.same_as(target) and output.is_whole:
        return data.value
    formula = rescale_formula(walk.rounding, data.quantization, target, output)
    compute = lambda x: te.compute(x.shape, lambda *i: formula(x[i]), name="requantize")  # noqa: E731
    return walk.call("requantize", compute, data.value)
