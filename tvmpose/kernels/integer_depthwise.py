"""Depthwise convolution of bytes by dot products, four neighbouring pixels of one channel at a time.

NHWC keeps four channels, not four pixels, in a 32-bit lane. So the lanes of up to four neighbouring pixels are
transposed, four bytes by four, in registers. By shifts and masks alone, vector j of the result holds channels 4i + j in
lane i, and the results are put together again in the same way; where bytes of two vectors can be zipped, channels stay
in their order. Weights and biases are stored in the order that comes out.

Four pixels in a lane also serve a second output beside the first, where a kernel takes no more than three of them:
shifted by a byte, they are the next output's.

At stride 1 a row is one line of W * C / 4 lanes, whatever C is, and the next pixel lies C / 4 lanes on: vectors need
not end where pixels do. Their weights then repeat after a number of *phases*. Where the last vector of a pixel
is nearly full, each pixel has vectors of its own, and there are fewer phases to store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from tvmpose.kernels.convolution import Window
from tvmpose.kernels.cost import MULTIPLY_ADDS, OPAQUE
from tvmpose.kernels.dot_product import DotProduct
from tvmpose.kernels.integer import Output
from tvmpose.kernels.integer_depthwise_tiles import Tiles, ZippedTiles
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.row_padding import flattened

_WASTE = 1 / 8  # of a pixel's lanes, computed twice


@dataclass(frozen=True)
class Depthwise:
    """What is to be computed: data (1, *size, channels) bytes, kernel (rows, columns)."""

    size: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    window: Window
    zero_point: int
    output: Output
    zips: bool = False  # bytes of two vectors, which keeps channels in order

    @property
    def output_size(self) -> tuple[int, int]:
        return self.window.output_size(self.size, self.kernel)

    @property
    def quads(self) -> int:
        """32-bit lanes of a pixel."""
        return self.channels // 4

    def dot_product(self, isa: VectorISA) -> DotProduct | None:
        """The widest that a line of lanes fills; None where this kernel cannot serve."""
        line = self.quads * (self.output_size[1] if self.window.strides[1] == 1 else 1)
        if self.channels % 4 or self.window.dilation[1] != 1:
            return None
        fitting = (dot for dot in isa.dot_products if dot.lanes <= line and dot.taken == 4 and not dot.pairwise)
        return next(fitting, None)

    def by_pixels(self, lanes: int) -> bool:
        """Whether each pixel has vectors of its own, the last of which overlaps its neighbour, and no line goes on."""
        waste = -self.quads % lanes
        return self.window.strides[1] != 1 or (lanes <= self.quads and waste <= _WASTE * self.quads)

    def columns(self, lanes: int) -> int:
        """Neighbouring outputs of a register tile, from the same four pixels."""
        narrow = self.window.strides[1] == 1 and self.kernel[1] <= 3 and self.output_size[1] > 1
        return 2 if self.zips and self.by_pixels(lanes) and narrow else 1

    def starts(self, lanes: int) -> list[int]:
        """Where the vectors of each phase first begin, in lanes of the line; a last one may overlap its neighbour."""
        if self.by_pixels(lanes):
            whole, rest = divmod(self.quads, lanes)
            return [i * lanes for i in range(whole)] + [self.quads - lanes] * bool(rest)
        line = self.quads * self.output_size[1]
        period = min(lcm(self.quads, lanes) // lanes, line // lanes)
        return [i * lanes for i in range(period)] + [line - lanes] * bool(line % lanes)

    def tables(
        self, weight: np.ndarray, bias: np.ndarray, scales: Sequence[np.ndarray], lanes: int
    ) -> list[np.ndarray]:
        """Weights (kh, kw, C) whole numbers, bias and scales (C,) in the order in which the kernel reads them.

        int8 (phases, terms, kh, kw / 4, 4, lanes, 4); int32 and float32 (phases, 4, lanes). Weights that do not fit
        into a byte, because their zero point is far out, are the sum of two terms. scales: see Requantize.constants.
        """
        terms = [np.clip(weight, -128, 127)]
        while (rest := weight - np.sum(terms, axis=0)).any():
            terms.append(np.clip(rest, -128, 127))
        rows, columns = self.kernel
        padded = np.pad(np.stack(terms), ((0, 0), (0, 0), (0, -columns % 4), (0, 0))).astype("int8")
        lane = (np.array(self.starts(lanes))[:, None] + np.arange(lanes)) % self.quads
        if self.zips:
            channel = (lane[..., None] * 4 + np.arange(4)).reshape(-1, 4, lanes)
        else:
            channel = lane[:, None] * 4 + np.arange(4)[:, None]  # (phases, 4, lanes)
        by_fours = padded.reshape(len(terms), rows, -1, 4, self.channels)[..., channel]  # t, kh, g, 4, p, j, lanes
        ordered = by_fours.transpose(4, 0, 1, 2, 5, 6, 3)
        return [np.ascontiguousarray(ordered), bias.astype("int32")[channel], *(table[channel] for table in scales)]


def integer_depthwise_kernel(what: Depthwise, dot: DotProduct, terms: int, has_rest: bool) -> tirx.PrimFunc:
    """(data, weights, bias, scale, rest, result) as Depthwise.tables makes them; result (1, *output_size, channels)."""
    (height, width), lanes, phases = what.output_size, dot.lanes, len(what.starts(dot.lanes))
    groups = -(-what.kernel[1] // 4)
    weights_shape = (phases, terms, what.kernel[0], groups, 4, lanes, 4)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        shapes = {
            "data": ((1, *what.size, what.channels), dot.data),
            "weights": (weights_shape, "int8"),
            "bias": ((phases, 4, lanes), "int32"),
            "scale": ((phases, 4, lanes), "float32"),
            **({"rest": ((phases, 4, lanes), "float32")} if has_rest else {}),
            "result": ((1, height, width, what.channels), what.output.dtype),
        }
        buffers = {name: T.arg(name, T.buffer(shape, dtype)) for name, (shape, dtype) in shapes.items()}
        T.func_attr(
            {
                "tirx.noalias": True,
                "op_pattern": OPAQUE,
                MULTIPLY_ADDS: height * width * what.channels * what.kernel[0] * what.kernel[1],
            }
        )
        with T.sblock("root"):  # TVM's search for reshapes expects one
            T.reads()
            T.writes()
            tiles = ZippedTiles if what.zips else Tiles
            tiles(what, dot, terms, **{name: flattened(buffer) for name, buffer in buffers.items()}).emit()
    return builder.get()
