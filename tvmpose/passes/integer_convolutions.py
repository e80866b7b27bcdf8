"""Rows of the integer table for convolutions: zero points and biases folded, weights packed, kernels called."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import relax, te

from tvmpose.kernels.convolution import Window
from tvmpose.kernels.dot_product import DotProduct
from tvmpose.kernels.integer import (
    Output,
    adjacent_vectors,
    in_pairs,
    integer_conv2d,
    integer_conv2d_pairs,
    integer_conv2d_transpose,
    integer_depthwise_conv2d,
    integer_tile,
    pack_integer_weights,
    pack_transposed_integer_weights,
    pad_integer,
    window_sums,
)
from tvmpose.kernels.integer_depthwise import Depthwise, integer_depthwise_kernel
from tvmpose.kernels.requantize import Requantize, Rounding
from tvmpose.kernels.row_padding import RowPadding, pad_rows_kernel
from tvmpose.passes.constants import constant_integers, constant_value
from tvmpose.passes.integer_walk import Integer, NotLowered, Walk, operator_name
from tvmpose.qdq import Quantization

_EXACT_IN_FLOAT = 2**24
CONVOLUTIONS = {"relax.nn.conv2d", "relax.nn.conv2d_transpose"}


def integer_convolution(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    return biased_convolution(walk, call, None, target, output)


def biased_convolution(
    walk: Walk, call: relax.Call, bias: relax.Expr | None, target: Quantization, output: Output
) -> relax.Expr:
    data = walk.integer(call.args[0])
    weights = constant_integers(call.args[1], walk.definitions)
    if weights is None:
        raise NotLowered("its weights are not constant integers")
    transposed = operator_name(call) == "relax.nn.conv2d_transpose"
    if call.attrs.data_layout != "NHWC":
        raise NotLowered(f"its layout is {call.attrs.data_layout}")
    integers, quantization = weights
    outputs_axis = 1 if transposed else {"HWIO": 3, "HWOI": 2}[str(call.attrs.kernel_layout)]
    count = int(call.ty.shape[3])
    if quantization.scale.ndim and quantization.axis != outputs_axis:
        raise NotLowered("its weights are quantized along another axis than their outputs")
    scale = np.broadcast_to(quantization.scale, (count,))
    zero_points = np.broadcast_to(quantization.zero_point, (count,))
    unit = np.float64(data.quantization.scale) * scale.astype("float64")  # of the sums
    offset = _bias(walk, bias, unit, count)
    whole = np.rint(offset)
    kernel = _Kernel(integers, zero_points, whole.astype("int64"), outputs_axis)
    requantize = Requantize.of(
        walk.rounding,
        data.quantization.scale,
        scale,
        target.scale,
        output,
        quantization.dtype,
        walk.isa.saturating,
    )
    if quantization.dtype == "int8" and _is_dense_layer(walk, call):
        requantize = replace(requantize, once=True)
    if walk.rounding is not Rounding.REFERENCE and (offset != whole).any():
        requantize = replace(requantize, rest=((offset - whole) * requantize.scale).astype("float32"))
    if transposed:
        return _transposed(walk, call, data, kernel, requantize)
    top, left, bottom, right = (int(n) for n in call.attrs.padding)
    window = Window(_pair(call.attrs.strides), (top, left, bottom, right), _pair(call.attrs.dilation))
    if int(call.attrs.groups) > 1:
        return _depthwise(walk, call, data, kernel, window, requantize)
    return _dense(walk, call, data, kernel, window, requantize)


def _is_dense_layer(walk: Walk, call: relax.Call) -> bool:
    """Whether it is what frontends make of one: a 1x1 convolution over rows that are reshaped to a picture of one."""
    data = walk.resolve(call.args[0])
    one_row = all(int(call.args[0].ty.shape[axis]) == 1 for axis in (0, 1))
    return one_row and operator_name(data) == "relax.reshape"


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    first, second = (int(n) for n in numbers)
    return first, second


def _bias(walk: Walk, bias: relax.Expr | None, unit: np.ndarray, count: int) -> np.ndarray:
    """float64, in units of the sums; whole numbers where the source stores integers."""
    if bias is None:
        return np.zeros(count)
    stored = constant_integers(bias, walk.definitions)
    if stored is not None and not stored[1].zero_point.any() and np.allclose(stored[1].scale, unit, rtol=1e-5):
        return np.broadcast_to(stored[0].astype("float64").reshape(-1), (count,))
    value = constant_value(bias, walk.definitions)
    assert value is not None  # the caller looked
    if value.size not in (1, count) or (value.ndim and value.shape[-1] not in (1, count)):
        raise NotLowered("what is added to it is no bias of its channels")
    return np.broadcast_to(value.astype("float64").reshape(-1) / unit, (count,))


@dataclass(frozen=True)
class _Kernel:
    """Weights as the source stores them, their zero points and the bias, one for each output."""

    integers: np.ndarray
    zero_points: np.ndarray
    bias: np.ndarray
    outputs_axis: int

    def signed(self) -> tuple[np.ndarray, np.ndarray]:
        """int8 weights and the zero points that are left, all 0 where they could be subtracted."""
        shape = [1] * self.integers.ndim
        shape[self.outputs_axis] = -1
        numbers = self.integers.astype("int32") - self.zero_points.reshape(shape)
        if numbers.min() >= -128 and numbers.max() <= 127:
            return numbers.astype("int8"), np.zeros_like(self.zero_points)
        shift = 128 if self.integers.dtype == np.uint8 else 0
        return (self.integers.astype("int32") - shift).astype("int8"), self.zero_points - shift

    def wide(self) -> tuple[np.ndarray, np.ndarray]:
        """The weights less their zero points, int8 if they fit, else int16, and no zero points left."""
        numbers = self.numbers()
        small = numbers.min() >= -128 and numbers.max() <= 127
        return numbers.astype("int8" if small else "int16"), np.zeros_like(self.zero_points)

    def largest(self) -> np.ndarray:
        """What the sums of each output cannot exceed."""
        others = tuple(axis for axis in range(self.integers.ndim) if axis != self.outputs_axis)
        return 255 * np.abs(self.numbers()).astype("int64").sum(others) + np.abs(self.bias)

    def numbers(self) -> np.ndarray:
        """The weights less their zero points, int32."""
        shape = [1] * self.integers.ndim
        shape[self.outputs_axis] = -1
        return self.integers.astype("int32") - self.zero_points.reshape(shape)


def _dense(
    walk: Walk, call: relax.Call, data: Integer, kernel: _Kernel, window: Window, requantize: Requantize
) -> relax.Expr:
    outputs = kernel.integers.shape[3]
    points = int(call.ty.shape[2])
    dot, weight, left_over = _dot_product(walk, kernel, outputs, kernel.integers.shape[2], points)
    source, padding = data.value, window.padding
    if not dot.widens and weight.shape[2] % dot.taken and window.dilation[1] == 1:
        # so few channels that a dot product takes neighbouring pixels' as well: rows of bytes, padded beforehand
        source, window, weight = _by_lines(walk, data, window, weight, dot)
        padding = (0, 0, 0, 0)
    height, width, inputs, _ = weight.shape
    shape = tuple(int(n) for n in call.ty.shape)
    size = (shape[1], shape[2])
    tile = integer_tile(size, outputs, dot, walk.isa)
    packed = pack_integer_weights(weight, dot, adjacent_vectors(tile, walk.isa))
    channels = packed.shape[3] * packed.shape[5]  # those behind the source's hold anything
    zero_point = 0 if dot.widens else data.zero_point  # what is left of it in the sums
    taken = weight.astype("int64").sum((0, 1, 2))
    bias = kernel.bias - zero_point * (taken - height * width * inputs * left_over.astype("int64"))
    bias = np.pad(bias, (0, packed.shape[0] * packed.shape[4] - outputs))
    if dot.points == 2:
        bias = np.tile(bias.reshape(-1, 2), (1, 2))
    bounded = requantize.bounded(kernel.largest())

    def compute(x: te.Tensor, w: te.Tensor, start: te.Tensor, *constants: te.Tensor) -> te.Tensor:
        padded = x if len(x.shape) == 3 else pad_integer(x, padding, channels, data.zero_point, dot.data)
        if dot.points == 2:
            pairs = integer_conv2d_pairs(padded, w, window, size, tile)
            at = lambda n, y, x, c: pairs[in_pairs(n, y, x, c)] + start[in_pairs(n, y, x, c)[-2:]]  # noqa: E731
        else:
            sums = integer_conv2d(padded, w, window, size, tile)
            at = lambda n, y, x, c: sums[n, y, x, c] + start[c]  # noqa: E731
        if not left_over.any():
            return requantize.store(at, shape, constants, bounded)
        totals, (zeros, *scales) = window_sums(padded, (height, width), inputs, window, size), constants
        corrected = lambda n, y, x, c: at(n, y, x, c) - zeros[c] * totals[n, y, x]  # noqa: E731
        return requantize.store(corrected, shape, scales, bounded)

    constants = [dot.arranged(packed), bias.astype("int32"), *[left_over.astype("int32")] * bool(left_over.any())]
    return walk.call("integer_conv2d", compute, source, *map(relax.const, [*constants, *requantize.constants()]))


def _dot_product(
    walk: Walk, kernel: _Kernel, outputs: int, inputs: int, points: int = 1
) -> tuple[DotProduct, np.ndarray, np.ndarray]:
    """The best that can take the weights; they, and what is left of their zero points. points: of a row of outputs."""
    lanes = walk.isa.lanes_for(outputs)
    dot, (weight, left_over) = walk.isa.dot_product(lanes, inputs=inputs, points=points), kernel.signed()
    if dot.pairwise and weight.min() == -128:  # two products of the least bytes would overflow
        dot = walk.isa.dot_product(lanes, widening=True)
    return (dot, *kernel.wide()) if dot.widens else (dot, weight, left_over)


def _by_lines(
    walk: Walk, data: Integer, window: Window, weight: np.ndarray, dot: DotProduct
) -> tuple[relax.Expr, Window, np.ndarray]:
    """The picture as padded rows of bytes (1, H, bytes), the window in them, weights (kh, 1, kw * inputs, outputs)."""
    rows, columns, inputs, outputs = weight.shape
    _, height, width, _ = (int(n) for n in data.value.ty.shape)
    top, left, bottom, right = window.padding
    behind = -columns * inputs % dot.taken  # the last dot product reads on
    padding = RowPadding(height, width * inputs, left * inputs, right * inputs + behind, data.zero_point, dot.data)
    kernel = pad_rows_kernel(padding, (1, height, width, inputs), top, bottom)
    shape = (1, top + height + bottom, padding.padded_line)
    padded = walk.builder.emit(walk.call_kernel("pad_rows", kernel, shape, dot.data, data.value))
    strides = (window.strides[0], window.strides[1] * inputs)
    lines = Window(strides, (0, 0, 0, 0), (window.dilation[0], 1))
    return padded, lines, weight.reshape(rows, 1, columns * inputs, outputs)


def _depthwise(
    walk: Walk, call: relax.Call, data: Integer, kernel: _Kernel, window: Window, requantize: Requantize
) -> relax.Expr:
    channels = int(call.args[0].ty.shape[3])
    if int(call.attrs.groups) != channels or int(call.ty.shape[3]) != channels:
        raise NotLowered(f"{call.attrs.groups} groups from {channels} channels")
    numbers = kernel.numbers()
    numbers = numbers[..., 0] if kernel.outputs_axis == 2 else numbers[:, :, 0]  # HWOI, HWIO -> (kh, kw, C)
    largest = int(np.abs(numbers).sum((0, 1)).max()) * 255
    if largest >= _EXACT_IN_FLOAT:
        raise NotLowered(f"its sums reach {largest}")
    zips = walk.isa.saturating
    if walk.rounding is not Rounding.REFERENCE and numbers.shape[1] <= 8:
        size = (int(call.args[0].ty.shape[1]), int(call.args[0].ty.shape[2]))
        depthwise = Depthwise(size, channels, numbers.shape[:2], window, data.zero_point, requantize.output, zips)
        dot = depthwise.dot_product(walk.isa)
        if dot and requantize.bounded(kernel.largest()) and requantize.output.dtype != "int16":
            bias = kernel.bias - data.zero_point * numbers.sum((0, 1))
            tables = depthwise.tables(numbers, bias, [t.astype("float32") for t in requantize.constants()], dot.lanes)
            function = integer_depthwise_kernel(depthwise, dot, tables[0].shape[1], requantize.rest is not None)
            return walk.call_kernel(
                "integer_depthwise_conv2d", function, call.ty.shape, requantize.output.dtype, data.value, *tables
            )
    widened = walk.isa.multiplies_long
    lanes = 8 if widened else walk.isa.lanes_for(channels)
    weight = np.pad(numbers, ((0, 0), (0, 0), (0, -channels % lanes))).astype("int16" if widened else "float32")
    shape = tuple(int(n) for n in call.ty.shape)
    small, bounded = int(kernel.largest().max()) < _EXACT_IN_FLOAT, requantize.bounded(kernel.largest())
    exact = "float32" if small and not widened and walk.rounding is not Rounding.REFERENCE else "int32"

    def compute(x: te.Tensor, w: te.Tensor, bias: te.Tensor, *scales: te.Tensor) -> te.Tensor:
        sums = integer_depthwise_conv2d(x, w, window, data.zero_point)
        return requantize.store(lambda n, y, x, c: sums[n, y, x, c].astype(exact) + bias[c], shape, scales, bounded)

    constants = [weight, kernel.bias.astype(exact), *requantize.constants()]
    return walk.call("integer_depthwise_conv2d", compute, data.value, *map(relax.const, constants))


def _transposed(walk: Walk, call: relax.Call, data: Integer, kernel: _Kernel, requantize: Requantize) -> relax.Expr:
    outputs = kernel.integers.shape[1]
    dot, weight, left_over = _dot_product(walk, kernel, outputs, kernel.integers.shape[0])
    if left_over.any():  # each output phase would need sums of its own taps
        dot = walk.isa.dot_product(walk.isa.lanes_for(outputs), widening=True)
        weight, _ = kernel.wide()
    strides, (top, left) = _pair(call.attrs.strides), _pair(call.attrs.padding[:2])
    size = (int(call.ty.shape[1]), int(call.ty.shape[2]))
    whole = all(n % stride == 0 for n, stride in zip(size, strides, strict=True))
    if not whole or int(call.attrs.groups) != 1 or any(int(n) != 1 for n in call.attrs.dilation):
        raise NotLowered("its size, groups or dilation")
    tile = integer_tile((size[0] // strides[0], size[1] // strides[1]), outputs, dot, walk.isa, ragged=False)
    packed = pack_transposed_integer_weights(weight, dot, strides, (top, left), adjacent_vectors(tile, walk.isa))
    # each output phase has taps of its own, so its share of the input's zero point is its own as well
    _, sy, sx, *_ = packed.shape
    taken = packed.astype("int64").sum((3, 4, 5, 7)).transpose(1, 2, 0, 3).reshape(sy, sx, -1)[..., :outputs]
    bias = kernel.bias - (0 if dot.widens else data.zero_point) * taken
    bias = np.pad(bias, ((0, 0), (0, 0), (0, packed.shape[0] * packed.shape[6] - outputs)))
    bounded = requantize.bounded(kernel.largest())

    def compute(x: te.Tensor, w: te.Tensor, start: te.Tensor, *scales: te.Tensor) -> te.Tensor:
        sums = integer_conv2d_transpose(x, w, (top, left), size, data.zero_point, dot.data, tile)
        at = lambda n, y, x, c: sums[n, y // sy, x // sx, y % sy, x % sx, c] + start[y % sy, x % sx, c]  # noqa: E731
        return requantize.store(at, (1, *size, outputs), scales, bounded)

    constants = [dot.arranged(packed), bias.astype("int32"), *requantize.constants()]
    return walk.call("integer_conv2d_transpose", compute, data.value, *map(relax.const, constants))
