"""Convolutions of quantized tensors, in NHWC: bytes times bytes summed in 32 bits, requantized before they are stored.

value = scale * (integer - zero point) on every side. What the zero points of input and weights contribute to a sum does
not depend on the picture, but for one term, and is folded into the bias by whoever calls (passes.lower_integer).
"""

from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from tvmpose.kernels.convolution import TEMPLATE, Window, pack_transposed_weights, pack_weights
from tvmpose.kernels.integer_tile import conv2d_tile

TILE = "tvmpose.tile"  # block annotation: rows, columns and vectors of the register tile
FOUR = 4  # bytes that a dot product instruction takes from each side


@dataclass(frozen=True)
class Output:
    """The integers a kernel stores: their dtype and zero point, and the range that an activation leaves of it."""

    dtype: str
    zero_point: int
    low: int
    high: int


def pack_integer_weights(weight: np.ndarray, lanes: int) -> np.ndarray:
    """int8 (kh, kw, inputs, outputs) -> (blocks, kh, kw, inputs / 4, lanes, 4), both sides zero-padded to whole ones."""
    fours = np.pad(weight, ((0, 0), (0, 0), (0, -weight.shape[2] % FOUR), (0, 0)))
    return _by_fours(pack_weights(fours, lanes))


def pack_transposed_integer_weights(
    weight: np.ndarray, lanes: int, strides: tuple[int, int], padding: tuple[int, int]
) -> np.ndarray:
    """int8 (inputs, outputs, kh, kw) -> (blocks, sy, sx, taps_y, taps_x, inputs / 4, lanes, 4)."""
    fours = np.pad(weight, ((0, -weight.shape[0] % FOUR), (0, 0), (0, 0), (0, 0)))
    return _by_fours(pack_transposed_weights(fours, lanes, strides, padding))


def _by_fours(packed: np.ndarray) -> np.ndarray:
    """(..., inputs, lanes) -> (..., inputs / 4, lanes, 4)."""
    *outer, inputs, lanes = packed.shape
    return np.ascontiguousarray(packed.reshape(*outer, inputs // FOUR, FOUR, lanes).swapaxes(-1, -2))


def integer_conv2d(
    padded: te.Tensor, packed: te.Tensor, window: Window, size: tuple[int, int], registers: int
) -> te.Tensor:
    """padded (1, H, W, I') bytes, packed (blocks, kh, kw, I' / 4, lanes, 4) -> sums (1, OH, OW', blocks * lanes) int32.

    size is (OH, OW); OW' is OW in whole register tiles, and columns behind the picture repeat its last one.
    """
    blocks, kernel_height, kernel_width, fours, lanes, _ = (int(n) for n in packed.shape)
    height, width = size
    tile = conv2d_tile(height, width, blocks, lanes, registers)
    whole_width = -(-width // tile.columns) * tile.columns
    inside = (lambda x: x) if whole_width == width else (lambda x: tirx.min(x, width - 1))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    ri, rk = te.reduce_axis((0, fours), "ri"), te.reduce_axis((0, FOUR), "rk")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    return te.compute(
        (1, height, whole_width, blocks * lanes),
        lambda n, y, x, c: te.sum(
            padded[n, y * sy + ry * dy, inside(x) * sx + rx * dx, ri * FOUR + rk].astype("int32")
            * packed[c // lanes, ry, rx, ri, c % lanes, rk].astype("int32"),
            axis=[ry, rx, ri, rk],
        ),
        name="conv",
        attrs={TEMPLATE: "integer_conv2d", TILE: [tile.rows, tile.columns, tile.vectors]},
    )


def window_sums(padded: te.Tensor, kernel: tuple[int, int], window: Window, size: tuple[int, int]) -> te.Tensor:
    """The sum of everything under the kernel, (1, *size) int32: what weights' zero points are multiplied with."""
    ry, rx = te.reduce_axis((0, kernel[0]), "ry"), te.reduce_axis((0, kernel[1]), "rx")
    ri = te.reduce_axis((0, int(padded.shape[3])), "ri")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    return te.compute(
        (1, *size),
        lambda n, y, x: te.sum(padded[n, y * sy + ry * dy, x * sx + rx * dx, ri].astype("int32"), axis=[ry, rx, ri]),
        name="window_sums",
    )


def integer_depthwise_conv2d(data: te.Tensor, weight: te.Tensor, window: Window, zero_point: int) -> te.Tensor:
    """data (1, H, W, C) bytes, weight (kh, kw, C') float32 whole numbers -> sums (1, OH, OW, C') float32.

    Exact as long as sums stay below 2**24. There is nothing to sum over channels, so dot products do not help, while a
    float multiply-add takes one instruction where integers take two. The copy that pads the input also converts it.
    """
    kernel_height, kernel_width, channels = (int(n) for n in weight.shape)
    top, left, bottom, right = window.padding
    batch, rows, columns, depth = (int(n) for n in data.shape)

    def value(n, y, x, c):
        inside = [y >= top, y < top + rows, x >= left, x < left + columns]
        inside += [c < depth] if channels != depth else []
        number = data[n, y - top, x - left, c].astype("float32") - tirx.const(zero_point, "float32")
        return tirx.if_then_else(tirx.all(*inside), number, tirx.const(0, "float32"))

    padded = te.compute((batch, rows + top + bottom, columns + left + right, channels), value, name="pad")
    height, width = window.output_size((rows, columns), (kernel_height, kernel_width))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    return te.compute(
        (1, height, width, channels),
        lambda n, y, x, c: te.sum(padded[n, y * sy + ry * dy, x * sx + rx * dx, c] * weight[ry, rx, c], axis=[ry, rx]),
        name="conv",
        attrs={TEMPLATE: "depthwise_conv2d"},
    )


def integer_conv2d_transpose(
    data: te.Tensor, packed: te.Tensor, padding: tuple[int, int], size: tuple[int, int], zero_point: int
) -> te.Tensor:
    """data (1, H, W, I) bytes -> sums (1, rows, columns, sy, sx, blocks * lanes) int32, as sub-pixel convolutions."""
    blocks, sy, sx, taps_y, taps_x, fours, lanes, _ = (int(n) for n in packed.shape)
    rows, columns = size[0] // sy, size[1] // sx
    extents = (int(data.shape[1]), int(data.shape[2]))
    below, right = (
        max(0, n - 1 + (stride - 1 + p) // stride - (extent - 1))
        for n, stride, p, extent in zip((rows, columns), (sy, sx), padding, extents, strict=True)
    )
    padded = pad_integer(data, (taps_y - 1, taps_x - 1, below, right), fours * FOUR, zero_point)
    ty, tx = te.reduce_axis((0, taps_y), "ty"), te.reduce_axis((0, taps_x), "tx")
    ri, rk = te.reduce_axis((0, fours), "ri"), te.reduce_axis((0, FOUR), "rk")
    top, left = padding
    return te.compute(
        (1, rows, columns, sy, sx, blocks * lanes),
        lambda n, i, j, a, b, c: te.sum(
            padded[
                n, i + (a + top) // sy + (taps_y - 1 - ty), j + (b + left) // sx + (taps_x - 1 - tx), ri * FOUR + rk
            ].astype("int32")
            * packed[c // lanes, a, b, ty, tx, ri, c % lanes, rk].astype("int32"),
            axis=[ty, tx, ri, rk],
        ),
        name="conv",
        attrs={TEMPLATE: "integer_conv2d_transpose"},
    )


def pad_integer(data: te.Tensor, padding: tuple[int, int, int, int], channels: int, zero_point: int) -> te.Tensor:
    """The zero point around the picture, and behind its channels up to `channels`."""
    top, left, bottom, right = padding
    batch, height, width, depth = (int(n) for n in data.shape)
    if not any(padding) and channels == depth:
        return data
    fill = tirx.const(zero_point, data.dtype)

    def value(n, y, x, c):
        inside = [y >= top, y < top + height, x >= left, x < left + width]
        inside += [c < depth] if channels != depth else []
        return tirx.if_then_else(tirx.all(*inside), data[n, y - top, x - left, c], fill)

    return te.compute((batch, height + top + bottom, width + left + right, channels), value, name="pad")
