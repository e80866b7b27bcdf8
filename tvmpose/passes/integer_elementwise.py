"""Rows of the integer table for what works element by element or only moves elements."""

from collections.abc import Callable, Sequence

import numpy as np
from tvm import relax, te, tirx
from tvm.ir import Expr

from tvmpose.kernels.integer import Output
from tvmpose.passes.integer_walk import Integer, NotLowered, Walk, operator_name
from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.qdq import Quantization


def integer_sum(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """Each operand scaled to the result's units: two multiply-adds."""
    first, second = (walk.integer(operand) for operand in call.args)
    sign = -1.0 if operator_name(call) == "relax.subtract" else 1.0
    scales = (first.scale / float(target.scale), sign * second.scale / float(target.scale))
    offset = -scales[0] * first.zero_point - scales[1] * second.zero_point
    rounding = walk.rounding

    def compute(a: te.Tensor, b: te.Tensor) -> te.Tensor:
        def value(x: Expr, y: Expr) -> Expr:
            number = x.astype("float32") * scales[0] + (y.astype("float32") * scales[1] + offset)
            return rounding.nearest(number, output)

        return _broadcast(value, a, b)

    return walk.call("integer_add", compute, first.value, second.value)


def integer_product(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    first, second = (walk.integer(operand) for operand in call.args)
    scale, rounding = first.scale * second.scale / float(target.scale), walk.rounding

    def compute(a: te.Tensor, b: te.Tensor) -> te.Tensor:
        def value(x: Expr, y: Expr) -> Expr:
            whole = (x.astype("int32") - first.zero_point) * (y.astype("int32") - second.zero_point)
            return rounding.nearest(whole.astype("float32") * tirx.const(scale, "float32"), output)

        return _broadcast(value, a, b)

    return walk.call("integer_multiply", compute, first.value, second.value)


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
    """dequantize then quantize, with or without an activation between."""
    data = walk.integer(call)
    scale, rounding = data.scale / float(target.scale), walk.rounding
    whole_range = np.iinfo(output.dtype)
    if data.quantization.same_as(target) and (output.low, output.high) == (
        whole_range.min,
        whole_range.max,
    ):
        return data.value
    if scale == 1.0 and data.zero_point == output.zero_point:
        bound = lambda x: tirx.min(tirx.max(x, tirx.const(output.low, x.dtype)), tirx.const(output.high, x.dtype))  # noqa: E731
    else:
        offset = tirx.const(-scale * data.zero_point, "float32")
        bound = lambda x: rounding.nearest(x.astype("float32") * tirx.const(scale, "float32") + offset, output)  # noqa: E731
    compute = lambda x: te.compute(x.shape, lambda *i: bound(x[i]), name="requantize")  # noqa: E731
    return walk.call("requantize", compute, data.value)


def integer_movement(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """What only moves elements, or picks the largest, moves integers as well."""
    parts = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else [call.args[0]]
    data = [walk.integer(part) for part in parts]
    whole = np.iinfo(output.dtype)
    if (output.low, output.high) != (whole.min, whole.max):
        raise NotLowered("it is followed by an activation")
    operands = [_in_units_of(walk, part, target, output) for part in data]
    operand = relax.Tuple(operands) if isinstance(call.args[0], relax.Tuple) else operands[0]
    extra = {}
    if operator_name(call) == "relax.nn.pad":
        if call.attrs.pad_mode != "constant":
            raise NotLowered(f"padding by {call.attrs.pad_mode}")
        extra["pad_value"] = float(np.round(call.attrs.pad_value / target.scale)) + float(target.zero_point)
    return rebuild_call(call, [operand, *call.args[1:]], **extra)


def _in_units_of(walk: Walk, data: Integer, target: Quantization, output: Output) -> relax.Expr:
    """An operand with a scale of its own, as the result's."""
    if data.quantization.same_as(target):
        return data.value
    scale = tirx.const(data.scale / float(target.scale), "float32")
    offset, rounding = tirx.const(-data.scale / float(target.scale) * data.zero_point, "float32"), walk.rounding
    bound = lambda x: rounding.nearest(x.astype("float32") * scale + offset, output)  # noqa: E731
    compute = lambda x: te.compute(x.shape, lambda *i: bound(x[i]), name="requantize")  # noqa: E731
    return walk.builder.emit(walk.call("requantize", compute, data.value))
