"""The one form in which quantized models arrive: float operators between relax.dequantize and relax.quantize (QDQ).

Every frontend makes it and passes.lower_integer reads it. A quantized tensor is an int8, uint8, int16 or (biases) int32
variable or constant; float value = scale * (integer - zero point), per tensor or per element of one axis.
"""

from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax import op as R


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


def quantization_of(call: relax.Call) -> Quantization | None:
    """Of a dequantize or quantize call; None where its scale or zero point is computed at run time."""
    if not all(isinstance(argument, GenericConst) for argument in call.args[1:3]):
        return None
    scale, zero_point = (argument.value.numpy() for argument in call.args[1:3])
    integer = call if call.op.name == "relax.quantize" else call.args[0]
    axis = int(call.attrs.axis) % max(1, len(call.ty.shape))
    squeezed = (a.reshape(()) if a.size == 1 else a for a in (scale.astype("float32"), zero_point.astype("int32")))
    return Quantization(*squeezed, str(integer.ty.dtype), axis)
