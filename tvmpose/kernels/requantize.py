"""From sums to the integers that are stored: the last step of every integer kernel, in the arithmetic of its source.

The sources do not agree: TensorFlow Lite's reference kernels multiply by a 31-bit fixed-point number and round twice,
XNNPACK, ONNX Runtime and torch multiply by a float32 and round half to even.
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
    """Whose arithmetic a quantized network is computed in, each with one sentence for people."""

    sentence: str

    REFERENCE = "reference", "TensorFlow Lite's reference kernels: fixed-point scales, half away from zero"
    XNNPACK = "xnnpack", "what TensorFlow Lite runs by default: float32 scales, half to even, input times the inverse"
    ORT = "ort", "ONNX Runtime's: float32 scales, half to even, input divided by the scale"
    TORCH = "torch", "torch's: as ort, but input times the inverse of the scale"

    def __new__(cls, value: str, sentence: str = "") -> "Rounding":
        member = object.__new__(cls)
        member._value_, member.sentence = value, sentence
        return member

    @property
    def is_float(self) -> bool:
        """Whether the source computes in float32 between dequantize and quantize: sums and products of tensors too."""
        return self in (Rounding.ORT, Rounding.TORCH)

    @property
    def inverts(self) -> bool:
        """Whether float numbers are multiplied by the inverse of their scale, in place of divided by it."""
        return self in (Rounding.XNNPACK, Rounding.TORCH)

    def units(self, value: Expr, scale: np.ndarray) -> Expr:
        """A float32 in units of a float32 scale."""
        if self.inverts:
            return value * tirx.const(float(np.float32(1) / scale), "float32")
        return value / tirx.const(float(scale), "float32")

    def nearest(self, value: Expr, output: Output, bounded: bool = True) -> Expr:
        """A float32, in units of the output's scale, to the output's integer. bounded: it is surely below BOUND."""
        return _nearest_away(value, output) if self is Rounding.REFERENCE else _nearest_even(value, output, bounded)


def rounded_even(value: Expr, lanes: int = 1) -> Expr:
    """float32 to the nearest int32, half to even: one instruction, which no multiplication can be fused into."""
    return tirx.call_llvm_pure_intrin(_vector("int32", lanes), "llvm.lrint", value)


def rounded_away(value: Expr, dtype: str = "float32") -> Expr:
    """A float to the nearest whole one, half away from zero; tirx.round takes the even one."""
    return tirx.call_llvm_pure_intrin(dtype, "llvm.round", value)


def as_rounded(value: Expr) -> Expr:
    """A float32 product as it is rounded: without, LLVM adds to it what is added next before it rounds (FMA)."""
    return tirx.call_llvm_pure_intrin("float32", "llvm.arithmetic.fence", value)


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
    rounded = rounded_away(value) + tirx.const(float(output.zero_point), "float32")
    return tirx.min(tirx.max(rounded, low), high).astype("int32").astype(output.dtype)


def nearest_even_saturated(value: Expr, output: Output, lanes: int = 1) -> Expr:
    """As _nearest_even of what is below BOUND, by additions and conversions that saturate: vectors narrow at once."""
    whole = _saturated(rounded_even(value, lanes), "int32", "int16", lanes)
    zero_point = _constant(output.zero_point, "int16", lanes)
    moved = tirx.call_llvm_pure_intrin(_vector("int16", lanes), "llvm.sadd.sat", whole, zero_point)
    number, limits = _saturated(moved, "int16", output.dtype, lanes), np.iinfo(output.dtype)
    if output.low > limits.min:
        number = tirx.max(number, _constant(output.low, output.dtype, lanes))
    if output.high < limits.max:
        number = tirx.min(number, _constant(output.high, output.dtype, lanes))
    return number


def _saturated(value: Expr, wider: str, dtype: str, lanes: int) -> Expr:
    """An integer of the type `wider`, cut to the range of another."""
    limits = np.iinfo(dtype)
    low, high = (_constant(int(n), wider, lanes) for n in (limits.min, limits.max))
    return tirx.Cast(_vector(dtype, lanes), tirx.min(tirx.max(value, low), high))


def _vector(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def _constant(value: int, dtype: str, lanes: int) -> Expr:
    return tirx.const(value, dtype) if lanes == 1 else tirx.Broadcast(tirx.const(value, dtype), lanes)


def quantize_value(data: te.Tensor, target: Quantization, rounding: Rounding) -> te.Tensor:
    """A float tensor to integers, per tensor."""
    limits = np.iinfo(target.dtype)
    output = Output(target.dtype, int(target.zero_point), int(limits.min), int(limits.max))
    value = lambda *i: rounding.nearest(rounding.units(data[i], target.scale), output, bounded=False)  # noqa: E731
    return te.compute(data.shape, value, name="quantize")


@dataclass(frozen=True)
class Requantize:
    """Sums times a scale of each channel. scale: float32, or float64 for the fixed-point arithmetic.

    rest: float32, added behind it: what a bias that the source has in float is more than a whole number of the sums'
    units, in the output's. once: fixed-point products are rounded once, see fixed_point_product_once.
    """

    rounding: Rounding
    scale: np.ndarray
    output: Output
    saturating: bool = False  # whether the ISA narrows integers with saturation
    rest: np.ndarray | None = None
    once: bool = False

    def bounded(self, largest: np.ndarray) -> bool:
        """Whether sums that reach `largest`, of each channel, stay below what can be rounded without a look."""
        return bool((largest * self.scale < BOUND).all())

    @classmethod
    def of(
        cls,
        rounding: Rounding,
        data: np.ndarray,
        weight: np.ndarray,
        target: np.ndarray,
        output: Output,
        dtype: str,
        saturating: bool = False,
    ) -> "Requantize":
        """From the scales of a convolution's input, weights (one for each output) and result, all float32.

        dtype: of the weights. TensorFlow Lite's kernels for uint8 multiply scales in float32 before all else.
        """
        kind = "float64" if rounding is Rounding.REFERENCE else "float32"
        product = "float32" if dtype == "uint8" else kind
        scale = (data.astype(product) * weight.astype(product)).astype(kind) / target.astype(kind)
        return cls(rounding, scale, output, saturating)

    def constants(self) -> list[np.ndarray]:
        """What `store` takes: the scales in the form of the arithmetic, and the rest."""
        if self.rounding is Rounding.REFERENCE:
            return fixed_point(self.scale)
        return [self.scale] if self.rest is None else [self.scale, self.rest]

    def store(
        self, sums: Callable[..., Expr], shape: Sequence[int], scales: Sequence[te.Tensor], bounded: bool
    ) -> te.Tensor:
        """sums(n, y, x, c), biases included, to the output's integers, of the given shape (1, H, W, C)."""

        def value(n: Expr, y: Expr, x: Expr, c: Expr) -> Expr:
            total = sums(n, y, x, c)
            if self.rounding is not Rounding.REFERENCE:
                number = total.astype("float32") * scales[0][c]
                number = number + scales[1][c] if scales[1:] else number
                if self.saturating and bounded and self.output.dtype in ("int8", "uint8"):
                    return nearest_even_saturated(number, self.output)
                return self.rounding.nearest(number, self.output, bounded)
            product = fixed_point_product_once if self.once else fixed_point_product
            return cut_to_range(product(total.astype("int32"), scales[0][c], scales[1][c]), self.output)

        return te.compute(tuple(shape), value, name="requantize")


def fixed_point(scale: np.ndarray) -> list[np.ndarray]:
    """float64 scales as int32 multipliers in [2**30, 2**31) and shifts: scale = multiplier * 2**(shift - 31).

    As QuantizeMultiplier of tensorflow/lite/kernels/internal/quantization_util.cc; what is below 2**-32 becomes 0.
    """
    mantissa, shift = np.frexp(scale)
    multiplier = np.floor(mantissa * (1 << 31) + 0.5).astype("int64")
    carry = multiplier == 1 << 31
    multiplier, shift = np.where(carry, multiplier // 2, multiplier), shift + carry
    nothing = shift < -31
    return [np.where(nothing, 0, n).astype("int32") for n in (multiplier, shift)]


def fixed_point_product(value: Expr, multiplier: Expr, shift: Expr) -> Expr:
    """int32 times multiplier * 2**(shift - 31): a doubling high multiplication, then a rounding shift right.

    As MultiplyByQuantizedMultiplier of tensorflow/lite/kernels/internal/common.h.
    """
    zero = tirx.const(0, "int32")
    left, right = tirx.max(shift, zero), tirx.max(zero - shift, zero)
    product = (value << left).astype("int64") * multiplier.astype("int64")
    high = ((product + tirx.const(1 << 30, "int64")) >> tirx.const(31, "int64")).astype("int32")
    # exact in float64, and `high` stands here once: where products are fused each use would be written out again
    power = (tirx.const(1, "int32") << right).astype("float64")
    return rounded_away(high.astype("float64") / power, "float64").astype("int32")


def fixed_point_product_once(value: Expr, multiplier: Expr, shift: Expr) -> Expr:
    """The same rounded once, half up: MultiplyByQuantizedMultiplier of ruy/apply_multiplier.cc.

    Dense layers of int8 are matrix products of ruy's among TensorFlow Lite's reference kernels too.
    """
    right = tirx.const(31, "int64") - shift.astype("int64")
    half = tirx.const(1, "int64") << (right - tirx.const(1, "int64"))
    return ((value.astype("int64") * multiplier.astype("int64") + half) >> right).astype("int32")


def cut_to_range(whole: Expr, output: Output) -> Expr:
    """An int32 in units of the output's scale to the output's integer."""
    low, high = (tirx.const(n, "int32") for n in (output.low, output.high))
    return tirx.min(tirx.max(whole + output.zero_point, low), high).astype(output.dtype)
