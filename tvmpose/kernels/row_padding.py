"""Rows of bytes copied with a border around them, in whole vectors: for kernels whose loops are written out."""

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from tvmpose.kernels.cost import MULTIPLY_ADDS, OPAQUE

_ROWS_OF_A_TASK = 16


@dataclass(frozen=True)
class RowPadding:
    """A picture of `height` lines of `line` bytes; `left` and `right` bytes of `value` beside each."""

    height: int
    line: int
    left: int
    right: int
    value: int
    dtype: str

    @property
    def padded_line(self) -> int:
        return self.left + self.line + self.right

    def rows(self, data: tirx.Buffer, padded: tirx.Buffer, first: Expr, count: Expr, to: Expr | int = 0) -> None:
        """Emit the copy of rows first .. first + count of the picture, those outside it all `value`, to row `to`."""
        with T.serial(0, count) as i:
            row, at = T.Bind(first + i), T.Bind((to + i) * self.padded_line)
            with T.If(tirx.all(row >= 0, row < self.height)):
                with T.Then():
                    self.fill(padded, at, self.left)
                    self.copy(data, padded, row * self.line, at + self.left)
                    self.fill(padded, at + self.left + self.line, self.right)
                with T.Else():
                    self.fill(padded, at, self.padded_line)

    def fill(self, padded: tirx.Buffer, at: Expr, count: int) -> None:
        if count:
            lanes = _vector(count)
            with T.serial(0, -(-count // lanes)) as i:
                value = tirx.const(self.value, self.dtype)
                place = tirx.min(i * lanes, count - lanes)
                index = tirx.Ramp(at + place, 1, lanes) if lanes > 1 else at + place
                T.buffer_store(padded, tirx.Broadcast(value, lanes) if lanes > 1 else value, [index])

    def copy(self, data: tirx.Buffer, padded: tirx.Buffer, source: Expr, to: Expr) -> None:
        lanes = _vector(self.line)
        with T.serial(0, -(-self.line // lanes)) as i:
            at = T.Bind(tirx.min(i * lanes, self.line - lanes))  # the last vector overlaps its neighbour
            places = [tirx.Ramp(start + at, 1, lanes) if lanes > 1 else start + at for start in (source, to)]
            T.buffer_store(padded, tirx.BufferLoad(data, [places[0]]), [places[1]])


def _vector(count: int) -> int:
    """Lanes of a vector for so many bytes."""
    return max(n for n in (1, 2, 4, 8, 16, 32, 64) if n <= count)


def pad_rows_kernel(padding: RowPadding, shape: tuple[int, ...], above: int, below: int) -> tirx.PrimFunc:
    """(data of `shape`, result (1, above + height + below, padded_line)): the padded picture as a tensor of its own."""
    rows = above + padding.height + below
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        data = T.arg("data", T.buffer(shape, padding.dtype))
        result = T.arg("result", T.buffer((1, rows, padding.padded_line), padding.dtype))
        T.func_attr({"tirx.noalias": True, "op_pattern": OPAQUE, MULTIPLY_ADDS: 0})
        with T.sblock("root"):  # TVM's search for reshapes expects one
            T.reads()
            T.writes()
            flat, padded = flattened(data), flattened(result)
            with T.parallel(0, -(-rows // _ROWS_OF_A_TASK)) as task:
                first = T.Bind(task * _ROWS_OF_A_TASK)
                padding.rows(flat, padded, first - above, tirx.min(rows - first, _ROWS_OF_A_TASK), first)
    return builder.get()


def flattened(buffer: tirx.Buffer) -> tirx.Buffer:
    """The same memory in one dimension."""
    size = 1
    for extent in buffer.shape:
        size *= int(extent)
    return T.decl_buffer((size,), buffer.dtype, data=buffer.data)
