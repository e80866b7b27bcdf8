"""Loops of the depthwise convolution of bytes: tasks, rows of register tiles, and what is done inside a tile."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx.script.builder import ir as T

from tvmpose.kernels.dot_product import DotProduct
from tvmpose.kernels.requantize import nearest_even_saturated, rounded_even
from tvmpose.kernels.row_padding import RowPadding

if TYPE_CHECKING:
    from tvmpose.kernels.integer_depthwise import Depthwise

_TASKS = 8
_CACHE = 32768  # bytes


@dataclass(frozen=True)
class Tiles:
    """The loops over the result; terms: see Depthwise.tables."""

    what: "Depthwise"
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
        """Whose padded rows are copied together, and stay in the first-level cache."""
        return min(next((rows for rows in (4, 3) if self.cached(rows)), 2), self.what.output_size[0])

    def cached(self, rows: int) -> bool:
        """Whether what so many rows are computed from stays in the first-level cache."""
        return self.rows_under(rows) * self.line_read <= _CACHE

    @property
    def tile_rows(self) -> int:
        """Of a register tile: 4 accumulators for each row and column."""
        return self.rows

    @property
    def tasks(self) -> int:
        """Of those numbers that keep threads busy the one with fewest tiles: a task's last overlaps its neighbour."""
        height, most = self.what.output_size[0], max(1, min(_TASKS, self.what.output_size[0] // self.rows))

        def tiles(tasks: int) -> int:
            ends = [n * height // tasks for n in range(tasks + 1)]
            return sum(-(-(last - first) // self.rows) for first, last in pairwise(ends))

        return min(range(most, -(-most // 2) - 1, -1), key=tiles)

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
        height, tasks = self.what.output_size[0], self.tasks
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
            columns = self.what.columns(lanes)
            with T.serial(0, -(-width // columns)) as pair:
                x = T.Bind(tirx.min(pair * columns, width - columns))
                with T.serial(0, len(starts)) as phase:
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
        columns = self.what.columns(self.dot.lanes)
        bias, scale, rest = (self.constants(table, phase) for table in (self.bias, self.scale, self.rest))
        line = self.what.output_size[1] * self.what.channels
        for first in range(0, self.rows, self.tile_rows):
            sums = [[list(bias) for _ in range(columns)] for _ in range(self.tile_rows)]
            self.multiply(padded, first, phase, read, sums)
            for r, column in product(range(self.tile_rows), range(columns)):
                numbers = zip(sums[r][column], scale, rest, strict=True)
                at = (top + first + r) * line + (write + column * self.what.quads) * 4
                self.store([self.scaled(*number) for number in numbers], at)

    def multiply(self, padded: tirx.Buffer, first: int, phase: Expr, read: Expr, sums: list[list[list[Expr]]]) -> None:
        """Add the products of the register tile from row `first` on to sums[row][column][j]."""
        lanes, (kernel_rows, kernel_columns) = self.dot.lanes, self.what.kernel
        stride, dilation = self.what.window.strides[0], self.what.window.dilation[0]
        groups, columns = -(-kernel_columns // 4), len(sums[0])
        for row in range(self.rows_under(self.tile_rows)):
            rows = [r for r in range(self.tile_rows) if (row - r * stride) % dilation == 0]
            taps = [(r, (row - r * stride) // dilation) for r in rows]
            taps = [(r, tap) for r, tap in taps if 0 <= tap < kernel_rows]
            if not taps:
                continue
            for group in range(groups):
                pixels = range(4 * group, min(4 * group + 4, kernel_columns + columns - 1))
                line = (first * stride + row) * self.line_read
                at = [line + (read + x * self.what.quads) * 4 for x in pixels]
                quads = self.transposed([T.Bind(self.words(padded, place)) for place in at])
                by_column = [quads, *([T.Bind(self.right(q, 8 * n)) for q in quads] for n in range(1, columns))]
                for (r, tap), term, j in product(taps, range(self.terms), range(4)):
                    number = ((phase * self.terms + term) * kernel_rows + tap) * groups + group
                    weights = self.vector(self.weights, (number * 4 + j) * lanes * 4, lanes * 4)
                    for column in range(columns):
                        sums[r][column][j] = T.Bind(self.multiplied(sums[r][column][j], by_column[column][j], weights))

    def constants(self, table: tirx.Buffer | None, phase: Expr) -> list[Expr | None]:
        """Its four vectors."""
        lanes = self.dot.lanes
        return [None if table is None else T.Bind(self.vector(table, (phase * 4 + j) * lanes, lanes)) for j in range(4)]

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

    def scaled(self, total: Expr, scale: Expr, rest: Expr | None) -> Expr:
        """Sums in units of the output; see Requantize.store."""
        value = tirx.Cast(f"float32x{self.dot.lanes}", total) * scale
        return value if rest is None else value + rest

    def rounded(self, value: Expr) -> Expr:
        """To integers in the low byte of each lane."""
        output = self.what.output
        low, high = (self.same(n - output.zero_point, "int32") for n in (output.low, output.high))
        inside = tirx.min(tirx.max(rounded_even(value, self.dot.lanes), low), high)
        return T.Bind(T.reinterpret(inside + self.same(output.zero_point, "int32"), dtype=f"uint32x{self.dot.lanes}"))

    def store(self, floats: Sequence[Expr], at: Expr) -> None:
        values = [self.rounded(value) for value in floats]
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


class ZippedTiles(Tiles):
    """For vectors of 16 bytes whose ISA zips them, and narrows integers with saturation."""

    @property
    def rows(self) -> int:
        height = self.what.output_size[0]
        fitting = [rows for rows in (4, 3, 2, 1) if rows <= height and (rows <= 2 or self.cached(rows))]
        return min(fitting, key=lambda rows: -(-height // rows) * (3 * rows + self.rows_under(rows)))

    @property
    def tile_rows(self) -> int:
        return next(n for n in (2, 1) if self.rows % n == 0) if self.what.window.strides[0] == 1 else self.rows

    def transposed(self, pixels: Sequence[Expr]) -> list[Expr]:
        filled = [*pixels, *[pixels[-1]] * (4 - len(pixels))]  # anything: the weights of what is missing are zero
        a, b, c, d = (T.reinterpret(words, dtype=f"{self.dot.data}x16") for words in filled)
        pairs = [[self.zipped(x, y, 16, half, "int16x8") for half in (0, 1)] for x, y in ((a, b), (c, d))]
        return [self.zipped(x, y, 8, half, "uint32x4") for x, y in zip(*pairs, strict=True) for half in (0, 1)]

    def zipped(self, a: Expr, b: Expr, lanes: int, half: int, dtype: str) -> Expr:
        """Elements of one half of both, in turns; lanes: of each."""
        order = [n + part * lanes for n in range(half * lanes // 2, (half + 1) * lanes // 2) for part in (0, 1)]
        return T.Bind(T.reinterpret(tirx.Shuffle([a, b], order), dtype=dtype))

    def store(self, floats: Sequence[Expr], at: Expr) -> None:
        value = tirx.Shuffle(list(floats), list(range(16)))
        T.buffer_store(self.result, nearest_even_saturated(value, self.what.output, 16), [tirx.Ramp(at, 1, 16)])
