"""The one form in which quantized models arrive: float operators between relax.dequantize and relax.quantize (QDQ).

Every frontend makes it and passes.lower_integer reads it. A quantized tensor is an int8, uint8, int16 or (biases) int32
variable or constant; float value = scale * (integer - zero point), per tensor or per element of one axis.
"""

from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax import op as R

_MOVEMENTS = {
    f"relax.{name}" for name in ("permute_dims", "reshape", "squeeze", "expand_dims", "strided_slice", "take")
}


@dataclass(frozen=True)
class Quantization:
    """How integers of a tensor map to numbers.

    scale: float32, shape () or (n,); zero_point: int32 of the same shape; axis: the axis that (n,) runs along.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: str
    axis: int = 0

    def __post_init__(self) -> None:
        assert self.scale.shape == self.zero_point.shape and self.scale.ndim <= 1
        assert self.scale.dtype == np.float32 and self.zero_point.dtype == np.int32

    def same_as(self, other: "Quantization") -> bool:
        """Whether both give every integer the same meaning."""
        equal = np.array_equal(self.scale, other.scale) and np.array_equal(self.zero_point, other.zero_point)
        return equal and self.dtype == other.dtype and (self.scale.ndim == 0 or self.axis == other.axis)


def per_tensor(scale: float, zero_point: int, dtype: str) -> Quantization:
    return Quantization(np.float32(scale).reshape(()), np.int32(zero_point).reshape(()), dtype)


def dequantize(value: relax.Expr, quantization: Quantization) -> relax.Expr:
    """The float tensor that an integer one stands for."""
    scale, zero_point = relax.const(quantization.scale), relax.const(quantization.zero_point)
    return R.dequantize(value, scale, zero_point, axis=quantization.axis, out_dtype="float32")


def quantize(value: relax.Expr, quantization: Quantization) -> relax.Expr:
    """The integer tensor nearest to a float one; how ties round is decided where it is lowered."""
    scale, zero_point = relax.const(quantization.scale), relax.const(quantization.zero_point)
    return R.quantize(value, scale, zero_point, axis=quantization.axis, out_dtype=quantization.dtype)


def is_quantized(function: relax.Function) -> bool:
    """Whether integers are computed with: a network that only stores its weights as integers is a float network."""
    return any(operator_name(b.value) == "relax.quantize" for block in function.body.blocks for b in block.bindings)


def output_steps(function: relax.Function) -> list[float | None]:
    """The smallest difference that each output can show: 1 of integers, the scale of what was integers just before.

    None where floats are computed behind the last integers.
    """
    definitions = {b.var: b.value for block in function.body.blocks for b in block.bindings}

    def resolve(expression: relax.Expr) -> relax.Expr:
        while isinstance(expression, relax.Var) and expression in definitions:
            expression = definitions[expression]
        return expression

    def step(output: relax.Expr) -> float | None:
        if not str(output.ty.dtype).startswith("float"):
            return 1.0
        call = resolve(output)
        while operator_name(call) in _MOVEMENTS:
            call = resolve(call.args[0])
        quantization = quantization_of(call) if operator_name(call) == "relax.dequantize" else None
        return float(quantization.scale) if quantization and not quantization.scale.ndim else None

    result = resolve(function.body.body)
    return [step(output) for output in (result.fields if isinstance(result, relax.Tuple) else [result])]


def operator_name(expression: relax.Expr) -> str:
    """As "relax.quantize"; empty for what is no call of an operator."""
    return getattr(expression.op, "name", "") if isinstance(expression, relax.Call) else ""


def quantization_of(call: relax.Call) -> Quantization | None:
    """Of a dequantize or quantize call; None where its scale or zero point is computed at run time."""
    if not all(isinstance(argument, GenericConst) for argument in call.args[1:3]):
        return None
    scale, zero_point = (argument.value.numpy() for argument in call.args[1:3])
    integer = call if call.op.name == "relax.quantize" else call.args[0]
    axis = int(call.attrs.axis) % max(1, len(call.ty.shape))
    shape = () if scale.size == 1 else scale.shape
    scales, zero_points = scale.astype("float32").reshape(shape), zero_point.astype("int32").reshape(shape)
    return Quantization(scales, zero_points, str(integer.ty.dtype), axis)
