"""Average pooling of bytes in NHWC."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from tvm import te, tirx
from tvm.ir import Expr


@dataclass(frozen=True)
class Pool:
    """Extents are (rows, columns). padding: top and left. counts_padding: zeros around the picture are averaged too."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int]
    size: tuple[int, int]
    counts_padding: bool


def integer_average_pool2d(
    data: te.Tensor, pool: Pool, number: Callable[[Expr], Expr], average: Callable[[Expr, Expr], Expr]
) -> te.Tensor:
    """data (1, H, W, C) bytes -> (1, *size, C).

    number: a byte -> what is summed, row by row. average: (the sum, int32 count) -> the integer that is stored.
    """
    batch, height, width, channels = (int(n) for n in data.shape)
    ry, rx = te.reduce_axis((0, pool.kernel[0]), "ry"), te.reduce_axis((0, pool.kernel[1]), "rx")

    def read(n: Expr, y: Expr, x: Expr, c: Expr) -> Expr:
        row, column = (at * pool.strides[a] + r - pool.padding[a] for a, (at, r) in enumerate(((y, ry), (x, rx))))
        inside = tirx.all(row >= 0, row < height, column >= 0, column < width)
        value = number(data[n, row, column, c])
        return tirx.if_then_else(inside, value, tirx.const(0, value.ty.dtype))

    sums = te.compute((batch, *pool.size, channels), lambda *i: te.sum(read(*i), axis=[ry, rx]), name="sums")

    def counted(at: Expr, axis: int, extent: int) -> Expr:
        first = at * pool.strides[axis] - pool.padding[axis]
        return tirx.min(first + pool.kernel[axis], extent) - tirx.max(first, 0)

    def value(n: Expr, y: Expr, x: Expr, c: Expr) -> Expr:
        count = counted(y, 0, height) * counted(x, 1, width)
        count = tirx.const(prod(pool.kernel), "int32") if pool.counts_padding else count.astype("int32")
        return average(sums[n, y, x, c], count)

    return te.compute((batch, *pool.size, channels), value, name="average")
