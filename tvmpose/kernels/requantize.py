"""From sums to the integers that are stored: the last step of every integer kernel, in the arithmetic of its source.

The sources do not agree: TensorFlow Lite's reference kernels multiply by a 31-bit fixed-point number and round twice,
XNNPACK and ONNX Runtime multiply by a float32 and round half to even.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from tvmpose.kernels.integer import Output
from tvmpose.qdq import Quantization

BOUND = 2.0**30  # sums below it, in the output's units, can be cut to its range as integers


class Rounding(Enum):
    """Whose arithmetic a quantized network is computed in."""

    REFERENCE = "reference"  # TensorFlow Lite's own kernels: fixed point, half away from zero
    XNNPACK = "xnnpack"  # float32 scales, half to even: what TensorFlow Lite runs by default
    ORT = "ort"  # ONNX Runtime's, and torch's: the same multiplication

    def nearest(self, value: Expr, output: Output, bounded: bool = True) -> Expr:
        """A float32, in units of the output's scale, to the output's integer. bounded: it is surely below BOUND."""
        return _nearest_away(value, output) if self is Rounding.REFERENCE else _nearest_even(value, output, bounded)


def rounded_even(value: Expr, lanes: int = 1) -> Expr:
    """float32 to the nearest int32, half to even: one instruction, which no multiplication can be fused into."""
    dtype = "int32" if lanes == 1 else f"int32x{lanes}"
    return tirx.call_llvm_pure_intrin(dtype, "llvm.lrint", value)


def _nearest_even(value: Expr, output: Output, bounded: bool) -> Expr:
    if not bounded:
        low, high = (tirx.const(float(n - output.zero_point), "float32") for n in (output.low, output.high))
        value = tirx.min(tirx.max(value, low), high)
    whole = rounded_even(value) + tirx.const(output.zero_point, "int32")
    if bounded:
        whole = tirx.min(tirx.max(whole, tirx.const(output.low, "int32")), tirx.const(output.high, "int32"))
    return whole.astype(output.dtype)


def _nearest_away(value: Expr, output: Output) -> Expr:
    low, high = (tirx.const(float(n), "float32") for n in (output.low, output.high))
    rounded = tirx.round(value) + tirx.const(float(output.zero_point), "float32")
    return tirx.min(tirx.max(rounded, low), high).astype("int32").astype(output.dtype)


def quantize_value(data: te.Tensor, target: Quantization, rounding: Rounding) -> te.Tensor:
    """A float tensor to integers, per tensor; TensorFlow Lite's kernels divide, XNNPACK multiplies by the inverse."""
    limits = np.iinfo(target.dtype)
    output = Output(target.dtype, int(target.zero_point), int(limits.min), int(limits.max))
    if rounding is Rounding.XNNPACK:
        units = lambda x: x * tirx.const(np.float32(1) / target.scale, "float32")  # noqa: E731
    else:
        units = lambda x: x / tirx.const(target.scale, "float32")  # noqa: E731
    return te.compute(data.shape, lambda *i: rounding.nearest(units(data[i]), output, bounded=False), name="quantize")


@dataclass(frozen=True)
class Requantize:
    """Sums times a scale of each channel. scale: float32, or float64 for the fixed-point arithmetic."""

    rounding: Rounding
    scale: np.ndarray
    output: Output

    def bounded(self, largest: np.ndarray) -> bool:
        """Whether sums that reach `largest`, of each channel, stay below what can be rounded without a look."""
        return bool((largest * self.scale < BOUND).all())

    @classmethod
    def of(
        cls, rounding: Rounding, data: np.ndarray, weight: np.ndarray, target: np.ndarray, output: Output
    ) -> "Requantize":
        """From the scales of a convolution's input, weights (one for each output) and result, all float32."""
        kind = "float64" if rounding is Rounding.REFERENCE else "float32"
        scale = data.astype(kind) * weight.astype(kind) / target.astype(kind)
        return cls(rounding, scale, output)

    def constants(self) -> list[np.ndarray]:
        """What `store` takes: the scales in the form of the arithmetic."""
        return [self.scale] if self.rounding is not Rounding.REFERENCE else _fixed_point(self.scale)

    def store(
        self, sums: Callable[..., Expr], shape: Sequence[int], scales: Sequence[te.Tensor], bounded: bool
    ) -> te.Tensor:
        """sums(n, y, x, c), biases included, to the output's integers, of the given shape (1, H, W, C)."""

        def value(n: Expr, y: Expr, x: Expr, c: Expr) -> Expr:
            total = sums(n, y, x, c)
            if self.rounding is not Rounding.REFERENCE:
                return self.rounding.nearest(total.astype("float32") * scales[0][c], self.output, bounded)
            return _fixed_point_product(total.astype("int32"), scales[0][c], scales[1][c], self.output)

        return te.compute(tuple(shape), value, name="requantize")


def _fixed_point(scale: np.ndarray) -> list[np.ndarray]:
    """float64 scales as int32 multipliers in [2**30, 2**31) and shifts: scale = multiplier * 2**(shift - 31)."""
    mantissa, shift = np.frexp(scale)
    multiplier = np.round(mantissa * (1 << 31)).astype("int64")
    carry = multiplier == 1 << 31
    return [np.where(carry, multiplier // 2, multiplier).astype("int32"), (shift + carry).astype("int32")]


def _fixed_point_product(value: Expr, multiplier: Expr, shift: Expr, output: Output) -> Expr:
    """int32 times multiplier * 2**(shift - 31): a doubling high multiplication, then a rounding shift right.

    As MultiplyByQuantizedMultiplier of tensorflow/lite/kernels/internal/common.h.
    """
    zero = tirx.const(0, "int32")
    left, right = tirx.max(shift, zero), tirx.max(zero - shift, zero)
    product = (value << left).astype("int64") * multiplier.astype("int64")
    high = ((product + tirx.const(1 << 30, "int64")) >> tirx.const(31, "int64")).astype("int32")
    mask = (tirx.const(1, "int32") << right) - 1
    threshold = (mask >> 1) + (high < zero).astype("int32")
    rounded = (high >> right) + ((high & mask) > threshold).astype("int32") + output.zero_point
    return tirx.min(tirx.max(rounded, tirx.const(output.low, "int32")), tirx.const(output.high, "int32")).astype(
        output.dtype
    )
