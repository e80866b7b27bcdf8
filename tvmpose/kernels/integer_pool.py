"""Average pooling of bytes in NHWC, in whole numbers."""

from tvm import te, tirx
from tvm.ir import Expr


def integer_average_pool2d(
    data: te.Tensor,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[int, int],
    size: tuple[int, int],
    shift: int,
) -> te.Tensor:
    """data (1, H, W, C) bytes -> (1, *size, C). padding: top and left; what is outside does not count.

    shift: what the stored bytes are above those of the source, whose halves round away from its own 0, as
    tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h has it.
    """
    batch, height, width, channels = (int(n) for n in data.shape)
    ry, rx = te.reduce_axis((0, kernel[0]), "ry"), te.reduce_axis((0, kernel[1]), "rx")

    def read(n: Expr, y: Expr, x: Expr, c: Expr) -> Expr:
        row, column = y * strides[0] + ry - padding[0], x * strides[1] + rx - padding[1]
        inside = tirx.all(row >= 0, row < height, column >= 0, column < width)
        number = data[n, row, column, c].astype("int32") - shift
        return tirx.if_then_else(inside, number, tirx.const(0, "int32"))

    sums = te.compute((batch, *size, channels), lambda *i: te.sum(read(*i), axis=[ry, rx]), name="sums")

    def counted(at: Expr, axis: int, extent: int) -> Expr:
        first = at * strides[axis] - padding[axis]
        return tirx.min(first + kernel[axis], extent) - tirx.max(first, 0)

    def value(n: Expr, y: Expr, x: Expr, c: Expr) -> Expr:
        count, total = (counted(y, 0, height) * counted(x, 1, width)).astype("int32"), sums[n, y, x, c]
        half = tirx.truncdiv(count, tirx.const(2, "int32"))
        return (tirx.truncdiv(total + tirx.Select(total > 0, half, -half), count) + shift).astype(data.dtype)

    return te.compute((batch, *size, channels), value, name="average")
