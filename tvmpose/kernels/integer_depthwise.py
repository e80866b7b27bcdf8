"""Depthwise convolution of bytes by dot products, four neighbouring pixels of one channel at a time.

NHWC keeps four channels, not four pixels, in a 32-bit lane. So the lanes of up to four neighbouring pixels are
transposed, four bytes by four, in registers, by shifts and masks alone; vector j of the result holds channels 4i + j in
lane i. Weights and biases are stored in that order, and the results are put together again in the same way.

At stride 1 a row is one line of W * C / 4 lanes, whatever C is, and the next pixel lies C / 4 lanes on: vectors need
not end where pixels do. Their weights then repeat after a number of *phases*. Where the last vector of a pixel
is nearly full, each pixel has vectors of its own, and there are fewer phases to store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from tvmpose.kernels.convolution import Window
from tvmpose.kernels.cost import MULTIPLY_ADDS, OPAQUE
from tvmpose.kernels.dot_product import DotProduct
from tvmpose.kernels.integer import Output
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.requantize import rounded_even
from tvmpose.kernels.row_padding import RowPadding, flattened

_TASKS = 8
_CACHE = 32768  # bytes
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
        return next((dot for dot in isa.dot_products if dot.lanes <= line and dot.taken == 4), None)

    def by_pixels(self, lanes: int) -> bool:
        """Whether each pixel has vectors of its own, the last of which overlaps its neighbour, and no line goes on."""
        waste = -self.quads % lanes
        return self.window.strides[1] != 1 or (lanes <= self.quads and waste <= _WASTE * self.quads)

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
            _Body(what, dot, terms, **{name: flattened(buffer) for name, buffer in buffers.items()}).emit()
    return builder.get()


@dataclass(frozen=True)
class _Body:
    what: Depthwise
    dot: DotProduct
    terms: int
    data: tirx.Buffer
    weights: tirx.Buffer
    bias: tirx.Buffer
    scale: tirx.Buffer
    result: tirx.Buffer
    rest: tirx.Buffer | None = None

    @property
    def rows(self) -> int:
        """Of a register tile: 4 accumulators each, and the rows it reads stay in the first-level cache."""
        fitting = (rows for rows in (4, 3) if self.rows_under(rows) * self.line_read <= _CACHE)
        return min(next(fitting, 2), self.what.output_size[0])

    @property
    def rows_read(self) -> int:
        return self.rows_under(self.rows)

    def rows_under(self, rows: int) -> int:
        """Rows of the input that so many of the result are computed from."""
        (stride, _), (dilation, _) = self.what.window.strides, self.what.window.dilation
        return (rows - 1) * stride + (self.what.kernel[0] - 1) * dilation + 1

    @property
    def padding(self) -> RowPadding:
        _, left, _, right = self.what.window.padding
        line, channels = self.what.size[1] * self.what.channels, self.what.channels
        return RowPadding(
            self.what.size[0], line, left * channels, right * channels, self.what.zero_point, self.dot.data
        )

    @property
    def line_read(self) -> int:
        """Bytes of a padded row."""
        return self.padding.padded_line

    def emit(self) -> None:
        height, tasks = self.what.output_size[0], max(1, min(_TASKS, self.what.output_size[0] // self.rows))
        with T.parallel(0, tasks) as task:
            first, last = T.Bind(task * height // tasks), T.Bind((task + 1) * height // tasks)
            padded = T.alloc_buffer((self.rows_read * self.line_read,), self.dot.data, align=64)
            with T.serial(0, (last - first + self.rows - 1) // self.rows) as tile:
                top = T.Bind(tirx.min(first + tile * self.rows, last - self.rows))  # the last overlaps its neighbour
                above = top * self.what.window.strides[0] - self.what.window.padding[0]
                self.padding.rows(self.data, padded, above, self.rows_read)
                self.tiles(padded, top)

    def tiles(self, padded: tirx.Buffer, top: Expr) -> None:
        lanes, quads, width = self.dot.lanes, self.what.quads, self.what.output_size[1]
        starts = self.what.starts(lanes)
        if self.what.by_pixels(lanes):
            with T.serial(0, width) as x, T.serial(0, len(starts)) as phase:
                start = T.Bind(tirx.min(phase * lanes, quads - lanes))
                self.tile(padded, top, phase, x * self.what.window.strides[1] * quads + start, x * quads + start)
            return
        line = quads * width
        whole, ragged = line // lanes, bool(line % lanes)
        period = len(starts) - ragged
        with T.serial(0, whole + ragged) as vector:
            start = T.Bind(tirx.min(vector * lanes, line - lanes))
            phase = vector % period
            phase = T.Bind(tirx.Select(vector == whole, period, phase) if ragged else phase)
            self.tile(padded, top, phase, start, start)

    def tile(self, padded: tirx.Buffer, top: Expr, phase: Expr, read: Expr, write: Expr) -> None:
        """`rows` rows of one vector of lanes, from lane `read` of the padded rows to lane `write` of the result's."""
        lanes, (kernel_rows, kernel_columns) = self.dot.lanes, self.what.kernel
        stride, dilation = self.what.window.strides[0], self.what.window.dilation[0]
        groups = -(-kernel_columns // 4)
        bias = [T.Bind(self.vector(self.bias, (phase * 4 + j) * lanes, lanes)) for j in range(4)]
        sums = [list(bias) for _ in range(self.rows)]
        for row in range(self.rows_read):
            taps = [(r, (row - r * stride) // dilation) for r in range(self.rows) if (row - r * stride) % dilation == 0]
            taps = [(r, tap) for r, tap in taps if 0 <= tap < kernel_rows]
            if not taps:
                continue
            for group in range(groups):
                pixels = range(4 * group, min(4 * group + 4, kernel_columns))
                at = [row * self.line_read + (read + x * self.what.quads) * 4 for x in pixels]
                quads = self.transposed([T.Bind(self.words(padded, place)) for place in at])
                for r, tap in taps:
                    for term in range(self.terms):
                        first = ((phase * self.terms + term) * kernel_rows + tap) * groups + group
                        for j in range(4):
                            weights = self.vector(self.weights, (first * 4 + j) * lanes * 4, lanes * 4)
                            sums[r][j] = T.Bind(self.multiplied(sums[r][j], quads[j], weights))
        scale, rest = (
            [None if table is None else T.Bind(self.vector(table, (phase * 4 + j) * lanes, lanes)) for j in range(4)]
            for table in (self.scale, self.rest)
        )
        line = self.what.output_size[1] * self.what.channels
        for r in range(self.rows):
            bytes_ = [self.requantized(*number) for number in zip(sums[r], scale, rest, strict=True)]
            self.store(bytes_, (top + r) * line + write * 4)

    def transposed(self, pixels: Sequence[Expr]) -> list[Expr]:
        """Lanes of up to four pixels -> vector j: byte j of each pixel's lane, side by side.

        Bytes for which there is no pixel are left as they come: their weights are zero.
        """
        if len(pixels) == 1:
            return [pixels[0], *(T.Bind(self.right(pixels[0], 8 * j)) for j in (1, 2, 3))]
        even, odd = 0x00FF00FF, 0xFF00FF00

        def pair(a: Expr, b: Expr | None) -> tuple[Expr, Expr]:
            """(bytes 0 and 2, bytes 1 and 3) of both."""
            if b is None:
                return a, T.Bind(self.right(a, 8))
            return (
                T.Bind(self.masked(a, even) | self.masked(self.left(b, 8), odd)),
                T.Bind(self.masked(self.right(a, 8), even) | self.masked(b, odd)),
            )

        first = pair(pixels[0], pixels[1])
        if len(pixels) == 2:
            return [first[0], first[1], T.Bind(self.right(first[0], 16)), T.Bind(self.right(first[1], 16))]
        second = pair(pixels[2], pixels[3] if len(pixels) == 4 else None)
        low = [T.Bind(self.masked(a, 0xFFFF) | self.left(b, 16)) for a, b in zip(first, second, strict=True)]
        high = [T.Bind(self.right(a, 16) | self.masked(b, 0xFFFF0000)) for a, b in zip(first, second, strict=True)]
        return [*low, *high]

    def requantized(self, total: Expr, scale: Expr, rest: Expr | None) -> Expr:
        """Sums to integers in the low byte of each lane; see Requantize.store."""
        output = self.what.output
        value = tirx.Cast(f"float32x{self.dot.lanes}", total) * scale
        value = value if rest is None else value + rest
        low, high = (self.same(n - output.zero_point, "int32") for n in (output.low, output.high))
        inside = tirx.min(tirx.max(rounded_even(value, self.dot.lanes), low), high)
        return T.Bind(T.reinterpret(inside + self.same(output.zero_point, "int32"), dtype=f"uint32x{self.dot.lanes}"))

    def store(self, values: Sequence[Expr], at: Expr) -> None:
        pairs = [
            self.masked(a, 0xFF) | self.masked(self.left(b, 8), 0xFF00)
            for a, b in zip(values[::2], values[1::2], strict=True)
        ]
        word = self.masked(pairs[0], 0xFFFF) | self.left(pairs[1], 16)
        bytes_ = T.reinterpret(word, dtype=f"{self.what.output.dtype}x{self.dot.lanes * 4}")
        T.buffer_store(self.result, bytes_, [tirx.Ramp(at, 1, self.dot.lanes * 4)])

    # vectors

    def vector(self, buffer: tirx.Buffer, at: Expr, lanes: int) -> Expr:
        return tirx.BufferLoad(buffer, [tirx.Ramp(at, 1, lanes)])

    def words(self, buffer: tirx.Buffer, at: Expr) -> Expr:
        return T.reinterpret(self.vector(buffer, at, self.dot.lanes * 4), dtype=f"uint32x{self.dot.lanes}")

    def multiplied(self, total: Expr, quads: Expr, weights: Expr) -> Expr:
        bytes_ = T.reinterpret(quads, dtype=f"{self.dot.data}x{self.dot.lanes * 4}")
        return self.dot.multiplied(total, bytes_, weights)

    def same(self, value: float, dtype: str) -> Expr:
        return tirx.Broadcast(tirx.const(value, dtype), self.dot.lanes)

    def masked(self, value: Expr, mask: int) -> Expr:
        return value & self.same(mask, "uint32")

    def left(self, value: Expr, bits: int) -> Expr:
        return value << self.same(bits, "uint32")

    def right(self, value: Expr, bits: int) -> Expr:
        return value >> self.same(bits, "uint32")
