"""Convolutions of quantized tensors, in NHWC: bytes times bytes summed in 32 bits, requantized before they are stored.

value = scale * (integer - zero point) on every side. What the zero points of input and weights contribute to a sum does
not depend on the picture, but for one term, and is folded into the bias by whoever calls (passes.lower_integer).
"""

from dataclasses import dataclass

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from tvmpose.kernels.convolution import TEMPLATE, Window, pack_transposed_weights, pack_weights
from tvmpose.kernels.dot_product import DotProduct
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.tiling import RegisterTile, by_element_tiles, conv2d_tiles

TILE = "tvmpose.tile"  # block annotation: rows, columns, vectors and lanes of the register tile


@dataclass(frozen=True)
class Output:
    """The integers a kernel stores: their dtype and zero point, and the range that an activation leaves of it."""

    dtype: str
    zero_point: int
    low: int
    high: int
    activated: bool = False  # there is an activation, even if the range has nothing for it to cut off

    @property
    def is_whole(self) -> bool:
        """Whether no activation cuts anything off."""
        limits = np.iinfo(self.dtype)
        return (self.low, self.high) == (limits.min, limits.max)


def integer_tile(
    size: tuple[int, int], outputs: int, dot: DotProduct, isa: VectorISA, ragged: bool = True
) -> RegisterTile:
    """The register tile of a convolution to `size` and `outputs`; ragged: columns may stand over the row's end."""
    return integer_tiles(size, -(-outputs // dot.lanes), dot, isa, ragged)[0]


def integer_tiles(
    size: tuple[int, int], vectors: int, dot: DotProduct, isa: VectorISA, ragged: bool = True
) -> list[RegisterTile]:
    """All that fit into the registers, the best by tiling.py's models first."""
    if isa.by_element and dot.taken >= 4:
        return by_element_tiles(*size, vectors, dot.lanes, isa.registers, dot)
    # dot products take all lanes
    return conv2d_tiles(*size, vectors, dot.lanes, isa.registers, ragged, whole=True, dot=dot)


def adjacent_vectors(tile: RegisterTile, isa: VectorISA) -> int:
    """How many vectors of outputs have their weights side by side."""
    return tile.vectors if isa.by_element else 1


def pack_integer_weights(weight: np.ndarray, dot: DotProduct, vectors: int = 1) -> np.ndarray:
    """(kh, kw, inputs, outputs) -> (blocks, kh, kw, inputs / taken, lanes, taken), zero-padded to whole ones.

    vectors: how many of the dot product's lie side by side in `lanes`.
    """
    whole = np.pad(weight, ((0, 0), (0, 0), (0, -weight.shape[2] % dot.taken), (0, 0)))
    return _by_lanes(pack_weights(whole, dot.lanes * vectors), dot.taken)


def pack_transposed_integer_weights(
    weight: np.ndarray, dot: DotProduct, strides: tuple[int, int], padding: tuple[int, int], vectors: int = 1
) -> np.ndarray:
    """(inputs, outputs, kh, kw) -> (blocks, sy, sx, taps_y, taps_x, inputs / taken, lanes, taken)."""
    whole = np.pad(weight, ((0, -weight.shape[0] % dot.taken), (0, 0), (0, 0), (0, 0)))
    return _by_lanes(pack_transposed_weights(whole, dot.lanes * vectors, strides, padding), dot.taken)


def _by_lanes(packed: np.ndarray, taken: int) -> np.ndarray:
    """(..., inputs, lanes) -> (..., inputs / taken, lanes, taken)."""
    *outer, inputs, lanes = packed.shape
    return np.ascontiguousarray(packed.reshape(*outer, inputs // taken, taken, lanes).swapaxes(-1, -2))


def integer_conv2d(
    padded: te.Tensor, packed: te.Tensor, window: Window, size: tuple[int, int], tile: RegisterTile
) -> te.Tensor:
    """padded (1, H, W, I'), packed (blocks, kh, kw, I' / taken, lanes, taken) -> sums (1, OH, OW', blocks * lanes).

    size is (OH, OW); OW' is OW in whole register tiles, and columns behind the picture repeat its last one. Padded
    (1, H, bytes of a line), where few channels share a dot product: the window's column stride is then in bytes.
    """
    blocks, kernel_height, kernel_width, groups, lanes, taken = (int(n) for n in packed.shape)
    height, width = size
    whole_width = -(-width // tile.columns) * tile.columns
    inside = (lambda x: x) if whole_width == width else (lambda x: tirx.min(x, width - 1))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    ri, rk = te.reduce_axis((0, groups), "ri"), te.reduce_axis((0, taken), "rk")
    (sy, sx), (dy, dx) = window.strides, window.dilation

    def read(n: tirx.Var, y: tirx.Var, x: tirx.Var) -> Expr:
        row, column, channel = y * sy + ry * dy, inside(x) * sx + rx * dx, ri * taken + rk
        return padded[n, row, column + channel] if len(padded.shape) == 3 else padded[n, row, column, channel]

    return te.compute(
        (1, height, whole_width, blocks * lanes),
        lambda n, y, x, c: te.sum(
            read(n, y, x).astype("int32") * packed[c // lanes, ry, rx, ri, c % lanes, rk].astype("int32"),
            axis=[ry, rx, ri, rk],
        ),
        name="conv",
        attrs={TEMPLATE: "integer_conv2d", TILE: [tile.rows, tile.columns, tile.vectors, tile.lanes]},
    )


def integer_conv2d_pairs(
    padded: te.Tensor, packed: te.Tensor, window: Window, size: tuple[int, int], tile: RegisterTile
) -> te.Tensor:
    """As integer_conv2d, by matrix products of two points with two channels, four sums in a vector.

    Returns (1, OH, OW / 2, blocks * lanes / 2, 4).
    """
    blocks, kernel_height, kernel_width, groups, lanes, taken = (int(n) for n in packed.shape)
    height, width = size
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    ri, rk = te.reduce_axis((0, groups), "ri"), te.reduce_axis((0, taken), "rk")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    return te.compute(
        (1, height, width // 2, blocks * lanes // 2, 4),
        lambda n, y, x, c, q: te.sum(
            padded[n, y * sy + ry * dy, (x * 2 + q // 2) * sx + rx * dx, ri * taken + rk].astype("int32")
            * packed[c // (lanes // 2), ry, rx, ri, c % (lanes // 2) * 2 + q % 2, rk].astype("int32"),
            axis=[ry, rx, ri, rk],
        ),
        name="conv",
        attrs={TEMPLATE: "integer_conv2d", TILE: [tile.rows, tile.columns, tile.vectors, tile.lanes]},
    )


def in_pairs(n: Expr, y: Expr, x: Expr, c: Expr) -> tuple[Expr, ...]:
    """Where integer_conv2d_pairs has the sum of a point and channel."""
    return (n, y, x // 2, c // 2, x % 2 * 2 + c % 2)


def window_sums(
    padded: te.Tensor, kernel: tuple[int, int], channels: int, window: Window, size: tuple[int, int]
) -> te.Tensor:
    """The sum of everything under the kernel, `channels` deep, (1, *size) int32: weights' zero points multiply it."""
    ry, rx = te.reduce_axis((0, kernel[0]), "ry"), te.reduce_axis((0, kernel[1]), "rx")
    ri = te.reduce_axis((0, channels), "ri")
    (sy, sx), (dy, dx) = window.strides, window.dilation

    def read(n: tirx.Var, y: tirx.Var, x: tirx.Var) -> Expr:
        row, column = y * sy + ry * dy, x * sx + rx * dx
        return padded[n, row, column + ri] if len(padded.shape) == 3 else padded[n, row, column, ri]

    return te.compute(
        (1, *size), lambda n, y, x: te.sum(read(n, y, x).astype("int32"), axis=[ry, rx, ri]), name="window_sums"
    )


def integer_depthwise_conv2d(data: te.Tensor, weight: te.Tensor, window: Window, zero_point: int) -> te.Tensor:
    """data (1, H, W, C) bytes, weight (kh, kw, C') whole numbers, float32 or int16 -> sums (1, OH, OW, C').

    There is nothing to sum over channels, so dot products do not help. In float32, exact as long as sums stay below
    2**24, a multiply-add takes one instruction where most integers take two; int16 products are summed in int32, where
    one instruction does both. The copy that pads the input also converts it.
    """
    kernel_height, kernel_width, channels = (int(n) for n in weight.shape)
    padded = pad_integer(data, window.padding, channels, zero_point, str(weight.dtype))
    height, width = window.output_size((int(data.shape[1]), int(data.shape[2])), (kernel_height, kernel_width))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    total = "float32" if str(weight.dtype) == "float32" else "int32"

    def product(n: tirx.Var, y: Expr, x: Expr, c: tirx.Var) -> Expr:
        return padded[n, y + ry * dy, x + rx * dx, c].astype(total) * weight[ry, rx, c].astype(total)

    return te.compute(
        (1, height, width, channels),
        lambda n, y, x, c: te.sum(product(n, y * sy, x * sx, c), axis=[ry, rx]),
        name="conv",
        attrs={TEMPLATE: "depthwise_conv2d"},
    )


def integer_conv2d_transpose(
    data: te.Tensor,
    packed: te.Tensor,
    padding: tuple[int, int],
    size: tuple[int, int],
    zero_point: int,
    dtype: str,
    tile: RegisterTile,
) -> te.Tensor:
    """data (1, H, W, I) bytes -> sums (1, rows, columns, sy, sx, blocks * lanes) int32, as sub-pixel convolutions.

    dtype: what the dot product takes.
    """
    blocks, sy, sx, taps_y, taps_x, groups, lanes, taken = (int(n) for n in packed.shape)
    rows, columns = size[0] // sy, size[1] // sx
    extents = (int(data.shape[1]), int(data.shape[2]))
    below, right = (
        max(0, n - 1 + (stride - 1 + p) // stride - (extent - 1))
        for n, stride, p, extent in zip((rows, columns), (sy, sx), padding, extents, strict=True)
    )
    padded = pad_integer(data, (taps_y - 1, taps_x - 1, below, right), groups * taken, zero_point, dtype)
    ty, tx = te.reduce_axis((0, taps_y), "ty"), te.reduce_axis((0, taps_x), "tx")
    ri, rk = te.reduce_axis((0, groups), "ri"), te.reduce_axis((0, taken), "rk")
    top, left = padding
    return te.compute(
        (1, rows, columns, sy, sx, blocks * lanes),
        lambda n, i, j, a, b, c: te.sum(
            padded[
                n, i + (a + top) // sy + (taps_y - 1 - ty), j + (b + left) // sx + (taps_x - 1 - tx), ri * taken + rk
            ].astype("int32")
            * packed[c // lanes, a, b, ty, tx, ri, c % lanes, rk].astype("int32"),
            axis=[ty, tx, ri, rk],
        ),
        name="conv",
        attrs={TEMPLATE: "integer_conv2d_transpose", TILE: [tile.rows, tile.columns, tile.vectors, tile.lanes]},
    )


def pad_integer(
    data: te.Tensor, padding: tuple[int, int, int, int], channels: int, zero_point: int, dtype: str
) -> te.Tensor:
    """The zero point around the picture, and behind its channels up to `channels`.

    Of another dtype than the data's, it is subtracted, so that what is put around is 0.
    """
    top, left, bottom, right = padding
    batch, height, width, depth = (int(n) for n in data.shape)
    widened = dtype != str(data.dtype)
    if not any(padding) and channels == depth and not widened:
        return data
    fill = tirx.const(0 if widened else zero_point, dtype)

    def value(n, y, x, c):
        inside = [y >= top, y < top + height, x >= left, x < left + width]
        inside += [c < depth] if channels != depth else []
        number = data[n, y - top, x - left, c]
        if widened:
            number = number.astype(dtype) - tirx.const(zero_point, dtype)
        return tirx.if_then_else(tirx.all(*inside), number, fill)

    return te.compute((batch, height + top + bottom, width + left + right, channels), value, name="pad")
