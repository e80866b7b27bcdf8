"""Sums, products and rescalings of quantized numbers, element by element, each in the arithmetic of its source.

Each function takes how its operands and its result are quantized and returns the formula of one element, bytes to byte.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from tvm import tirx
from tvm.ir import Expr

from tvmpose.kernels.integer import Output
from tvmpose.kernels.requantize import Rounding, as_rounded, cut_to_range, fixed_point, fixed_point_product
from tvmpose.qdq import Quantization

_HEADROOM = 20  # bits that TensorFlow Lite's sums are scaled up by
# XNNPACK leaves what is out of these ranges, of an input's scale in the result's, to TensorFlow Lite's own kernels.
_XNNPACK_SUM = (2.0**-10, 2.0**8)
_XNNPACK_PRODUCT = (2.0**-16, 2.0**8)
_XNNPACK_RESCALE = (2.0**-8, 2.0**7)


def sum_formula(
    rounding: Rounding, first: Quantization, second: Quantization, target: Quantization, output: Output, sign: int
) -> Callable[[Expr, Expr], Expr]:
    """first + sign * second."""
    ratios = [float(operand.scale / target.scale) for operand in (first, second)]  # float32 quotients
    if rounding is Rounding.XNNPACK and all(_XNNPACK_SUM[0] <= ratio < _XNNPACK_SUM[1] for ratio in ratios):
        return _xnnpack_sum(ratios, first, second, output, sign)
    if rounding.is_float and "int16" in (first.dtype, second.dtype):
        return _quick_float_sum(ratios, first, second, output, sign)
    if rounding.is_float:
        return _float_sum(rounding, first, second, target, output, sign)
    return _fixed_point_sum(first, second, target, output, sign)


def _fixed_point_sum(
    first: Quantization, second: Quantization, target: Quantization, output: Output, sign: int
) -> Callable[[Expr, Expr], Expr]:
    """As tensorflow/lite/kernels/add.cc and sub.cc: both scaled to twice the larger scale, added, scaled again."""
    largest = 2 * max(np.float64(first.scale), np.float64(second.scale))
    scales = [np.float64(operand.scale) / largest for operand in (first, second)]
    last = largest / (2.0**_HEADROOM * np.float64(target.scale))

    def scaled(x: Expr, operand: Quantization, scale: np.float64) -> Expr:
        return _times((x.astype("int32") - int(operand.zero_point)) << tirx.const(_HEADROOM, "int32"), scale)

    def formula(x: Expr, y: Expr) -> Expr:
        a, b = scaled(x, first, scales[0]), scaled(y, second, scales[1])
        return cut_to_range(_times(a + b if sign > 0 else a - b, last), output)

    return formula


def _xnnpack_sum(
    ratios: list[float], first: Quantization, second: Quantization, output: Output, sign: int
) -> Callable[[Expr, Expr], Expr]:
    """As xnn_init_qs8_add_minmax_scalar_params and its kernels: 21-bit multipliers, half upwards."""
    shift = 20 - (int(np.frexp(max(ratios))[1]) - 1)
    a, b = (int(np.rint(np.float32(ratio) * np.float32(2.0**shift))) for ratio in ratios)
    b *= sign
    bias = (1 << (shift - 1)) - a * int(first.zero_point) - b * int(second.zero_point)

    def formula(x: Expr, y: Expr) -> Expr:
        total = x.astype("int32") * a + (y.astype("int32") * b + bias)
        return cut_to_range(total >> tirx.const(shift, "int32"), output)

    return formula


def _float_sum(
    rounding: Rounding, first: Quantization, second: Quantization, target: Quantization, output: Output, sign: int
) -> Callable[[Expr, Expr], Expr]:
    """In the source's order, each step rounded: sums of bytes are often halfway between two."""

    def formula(x: Expr, y: Expr) -> Expr:
        a, b = as_rounded(dequantized(x, first)), as_rounded(dequantized(y, second))
        return rounding.nearest(rounding.units(a + b if sign > 0 else a - b, target.scale), output)

    return formula


def _quick_float_sum(
    ratios: list[float], first: Quantization, second: Quantization, output: Output, sign: int
) -> Callable[[Expr, Expr], Expr]:
    """Where no source has this sum, as of int16: two multiply-adds."""
    offset = -ratios[0] * int(first.zero_point) - sign * ratios[1] * int(second.zero_point)

    def formula(x: Expr, y: Expr) -> Expr:
        number = x.astype("float32") * ratios[0] + (y.astype("float32") * (sign * ratios[1]) + offset)
        return Rounding.ORT.nearest(number, output)

    return formula


def shifted_sum_formula(
    first: Quantization,
    second: Quantization,
    shifts: Sequence[int],
    number: np.float32,
    target: Quantization,
    output: Output,
) -> Callable[[Expr, Expr], Expr]:
    """first + second + number, as MlasQLinearAdd: multiply-adds of float32 on the source's own bytes.

    shifts: what the stored bytes are above those.
    """
    a, b = (operand.scale / target.scale for operand in (first, second))
    zero_points = [int(q.zero_point) - shift for q, shift in zip((first, second), shifts, strict=True)]
    inner = np.float32(float(a) * zero_points[0] + float(b * np.float32(zero_points[1])))  # one multiply-add
    offset = float(number / target.scale - inner)

    def formula(x: Expr, y: Expr) -> Expr:
        x, y = (value.astype("float32") - float(shift) for value, shift in zip((x, y), shifts, strict=True))
        return Rounding.ORT.nearest(x * float(a) + (y * float(b) + offset), output)

    return formula


def product_formula(
    rounding: Rounding, first: Quantization, second: Quantization, target: Quantization, output: Output
) -> Callable[[Expr, Expr], Expr]:
    scale = first.scale * second.scale / target.scale  # in float32, also where it is made fixed point
    in_float = rounding is Rounding.XNNPACK and _XNNPACK_PRODUCT[0] <= scale < _XNNPACK_PRODUCT[1]

    def formula(x: Expr, y: Expr) -> Expr:
        if rounding.is_float:
            number = dequantized(x, first) * dequantized(y, second)
            return rounding.nearest(rounding.units(number, target.scale), output)
        whole = (x.astype("int32") - int(first.zero_point)) * (y.astype("int32") - int(second.zero_point))
        if in_float:
            return rounding.nearest(whole.astype("float32") * tirx.const(float(scale), "float32"), output)
        return cut_to_range(_times(whole, np.float64(scale)), output)

    return formula


def quotient_formula(
    rounding: Rounding, first: Quantization, second: Quantization, target: Quantization, output: Output
) -> Callable[[Expr, Expr], Expr]:
    """In float32 for all: TensorFlow Lite's, alone, has a reciprocal in fixed point, whose largest quotients overflow.

    Where it divides by zero, the largest integer of the quotient's sign, 0 of 0 / 0.
    """

    def formula(x: Expr, y: Expr) -> Expr:
        a, b = as_rounded(dequantized(x, first)), as_rounded(dequantized(y, second))
        zero = tirx.const(0, "float32")
        least = tirx.const(float(np.finfo("float32").tiny), "float32")
        number = a / tirx.Select(b == zero, least, b)
        number = tirx.Select(a == zero, zero, number)
        return rounding.nearest(rounding.units(number, target.scale), output, bounded=False)

    return formula


def rescale_formula(
    rounding: Rounding, data: Quantization, target: Quantization, output: Output
) -> Callable[[Expr], Expr]:
    """The same number with another scale and zero point. XNNPACK leaves an activation on its own to the others."""
    scale = np.float64(data.scale) / np.float64(target.scale)
    if data.scale == target.scale:
        return lambda x: cut_to_range(x.astype("int32") - int(data.zero_point), output)
    if rounding.is_float:
        return lambda x: rounding.nearest(rounding.units(dequantized(x, data), target.scale), output)
    if rounding is Rounding.XNNPACK and not output.activated and _XNNPACK_RESCALE[0] <= scale <= _XNNPACK_RESCALE[1]:
        # as xnn_init_qs8_cvt_scalar_params: 8 bits behind the point, half upwards
        multiplier = int(np.rint(np.float32(256) * (data.scale / target.scale)))
        bias = 0x80 - multiplier * int(data.zero_point)
        return lambda x: cut_to_range((x.astype("int32") * multiplier + bias) >> tirx.const(8, "int32"), output)
    return lambda x: cut_to_range(_times(x.astype("int32") - int(data.zero_point), scale), output)


def mean_formula(
    rounding: Rounding, data: Quantization, target: Quantization, output: Output, count: int
) -> Callable[[Expr], Expr]:
    """Of the int32 sum of `count` integers."""
    offset = count * int(data.zero_point)
    if rounding is not Rounding.REFERENCE:
        scale = float(data.scale / target.scale / np.float32(count))
        # XNNPACK adds the zero point before it rounds: an odd one turns ties to the other side
        before = output.zero_point if rounding is Rounding.XNNPACK else 0
        rest = replace(output, zero_point=output.zero_point - before)
        return lambda total: rounding.nearest((total - offset).astype("float32") * scale + float(before), rest)
    # as tensorflow/lite/kernels/internal/reference/reduce.h: the count is divided out of the multiplier
    multiplier, shift = (int(n) for n in fixed_point(np.float64(data.scale) / np.float64(target.scale)))
    room = min(count.bit_length() - 1, 32, 31 + shift)
    fixed = ((multiplier << room) // count, shift - room)
    factors = [tirx.const(n, "int32") for n in fixed]
    return lambda total: cut_to_range(fixed_point_product(total - offset, *factors), output)


def average_formula(rounding: Rounding, target: Quantization, output: Output) -> Callable[[Expr, Expr], Expr]:
    """Of the float32 sum of numbers, and their count, where the source pools in float.

    A quarter of the sums of four bytes lie halfway between two averages: the source's last bit decides which it is.
    """

    def formula(total: Expr, count: Expr) -> Expr:
        return rounding.nearest(rounding.units(total / count.astype("float32"), target.scale), output)

    return formula


def average_away(shift: int, dtype: str) -> Callable[[Expr, Expr], Expr]:
    """In the units of what is averaged, halves away from the source's own 0, `shift` among the integers kept here.

    As tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h.
    """

    def formula(total: Expr, count: Expr) -> Expr:
        half = tirx.truncdiv(count, tirx.const(2, "int32"))
        return (tirx.truncdiv(total + tirx.Select(total > 0, half, -half), count) + shift).astype(dtype)

    return formula


def dequantized(value: Expr, quantization: Quantization) -> Expr:
    """The float32 that an integer stands for."""
    whole = value.astype("float32") - tirx.const(float(quantization.zero_point), "float32")
    return whole * tirx.const(float(quantization.scale), "float32")


def _times(value: Expr, scale: np.float64) -> Expr:
    """int32 times a scale in fixed point."""
    multiplier, shift = (tirx.const(int(n), "int32") for n in fixed_point(np.asarray(scale)))
    return fixed_point_product(value, multiplier, shift)
