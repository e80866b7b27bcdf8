"""Integer arithmetic of the sources in whole numbers, written down once more: what our kernels are judged by."""

from fractions import Fraction

import numpy as np

from tvmpose.kernels.integer import Output
from tvmpose.kernels.requantize import Rounding


def quantized_multiplier(scale: float) -> tuple[int, int]:
    """TensorFlow Lite's QuantizeMultiplier, exactly: scale is about multiplier * 2**(shift - 31)."""
    exact, shift = Fraction(scale), 0
    while exact >= 1:
        exact, shift = exact / 2, shift + 1
    while exact < Fraction(1, 2):
        exact, shift = exact * 2, shift - 1
    multiplier = int(exact * 2**31 + Fraction(1, 2))
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (multiplier, shift) if shift >= -31 else (0, 0)


def multiplied(value: int, multiplier: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier as its C++ has it, divisions truncating."""
    product = (value << max(shift, 0)) * multiplier
    nudge = 2**30 if product >= 0 else 1 - 2**30
    high = int(Fraction(product + nudge, 2**31))  # towards zero, as C++ divides
    right = max(-shift, 0)
    mask = (1 << right) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + ((high & mask) > threshold)


def requantized(sums: np.ndarray, scales: np.ndarray, rounding: Rounding, output: Output) -> np.ndarray:
    """int64 sums (..., C) with a scale of each channel to the output's integers.

    scales: float64 for the fixed-point arithmetic, float32 for the others.
    """
    if rounding is Rounding.REFERENCE:
        pairs = [quantized_multiplier(float(scale)) for scale in scales]
        rows = sums.reshape(-1, len(scales))
        flat = [[multiplied(int(v), *pair) for v, pair in zip(row, pairs, strict=True)] for row in rows]
        whole = np.array(flat, "int64").reshape(sums.shape)
    else:
        whole = np.rint(sums.astype("float32") * scales.astype("float32")).astype("float64")
    return np.clip(whole + output.zero_point, output.low, output.high).astype(output.dtype)
