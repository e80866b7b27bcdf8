"""Bilinear resizing of bytes in NHWC, in whole numbers: places and weights are tables, made when compiling."""

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from tvmpose.kernels.requantize import Rounding

MODES = ("half_pixel", "align_corners", "asymmetric")


def weight_bits(rounding: Rounding) -> int:
    """Bits behind the point of a weight."""
    return 10 if rounding is Rounding.REFERENCE else 11


def integer_places(size: int, out_size: int, mode: str, rounding: Rounding) -> tuple[np.ndarray, ...]:
    """For each output place: the lower and upper source index and the upper one's weight, all int32.

    As ComputeInterpolationValuesInteger of tensorflow/lite/kernels/internal/reference/resize_bilinear.h, or as
    xnn_indirection_init_resize_bilinear2d_hwc_q11. mode is ONNX's coordinate_transformation_mode.
    """
    out = np.arange(out_size)
    if rounding is Rounding.REFERENCE:
        inside, outside = (size - 1, out_size - 1) if mode == "align_corners" and out_size > 1 else (size, out_size)
        step = ((inside << 10) + outside // 2) // outside
        place = out * step + (step // 2 - (1 << 9) if mode == "half_pixel" else 0)
        low = np.maximum(place, 0) >> 10
        high = np.minimum((place + (1 << 10) - 1) >> 10, size - 1)
        weight = place - (low << 10)
    else:
        aligned = mode == "align_corners" and out_size > 1
        step = np.float32(size - aligned) / np.float32(out_size - aligned)
        place = out.astype("float32") * step
        if mode == "half_pixel":
            place = place + (np.float32(0.5) * step - np.float32(0.5))
        place = np.clip(place, np.float32(0), np.float32(size - 1))
        low = place.astype("int32")
        high = np.minimum(low + 1, size - 1)
        weight = np.rint((place - low.astype("float32")) * np.float32(2048))
    return tuple(table.astype("int32") for table in (low, high, weight))


def integer_resize_bilinear(
    data: te.Tensor,
    top: te.Tensor,
    bottom: te.Tensor,
    down: te.Tensor,
    left: te.Tensor,
    right: te.Tensor,
    across: te.Tensor,
    rounding: Rounding,
    shift: int,
) -> te.Tensor:
    """data (1, H, W, C) bytes; tables of integer_places for rows (OH) and columns (OW) -> (1, OH, OW, C).

    shift: what the stored bytes are above those of the source, whose halves round away from its own 0.
    """
    height, width, bits = int(top.shape[0]), int(left.shape[0]), weight_bits(rounding)
    half, whole = (tirx.const(n, "int32") for n in (1 << (2 * bits - 1), 2 * bits))

    def value(n: Expr, y: Expr, x: Expr, c: Expr) -> Expr:
        def row(line: Expr) -> Expr:
            first, second = (data[n, line, column[x], c].astype("int32") - shift for column in (left, right))
            return (first << tirx.const(bits, "int32")) + (second - first) * across[x]

        upper, lower = row(top[y]), row(bottom[y])
        total = (upper << tirx.const(bits, "int32")) + (lower - upper) * down[y]
        if rounding is Rounding.REFERENCE:
            nearest = tirx.Select(total > 0, (total + half) >> whole, -((half - total) >> whole))
        else:
            nearest = (total + half) >> whole
        return (nearest + shift).astype(data.dtype)

    return te.compute((1, height, width, int(data.shape[3])), value, name="resize")
