"""TFLite's operators in Relax: a table, each row a few lines, in TFLite's own NHWC layout.

Semantics follow the LiteRT reference kernels (tensorflow/lite/kernels/internal/reference).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from tvm import relax
from tvm.relax import op as R

from tvmpose.errors import ModelError


@dataclass(frozen=True)
class Operator:
    """One operator of the file, with its operands as Relax expressions and, where constant, as arrays."""

    builder: relax.BlockBuilder
    name: str
    options: Any  # the flatbuffer's options table, or None
    inputs: tuple[relax.Expr | None, ...]
    constants: tuple[np.ndarray | None, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    output_dtype: str

    def shape(self, index: int) -> tuple[int, ...]:
        return static_shape(self.inputs[index])

    def constant(self, index: int) -> np.ndarray:
        value = self.constants[index]
        if value is None:
            raise ModelError(f"operand {index} of {self.name} must be a constant")
        return value

    def emit(self, expression: relax.Expr) -> relax.Expr:
        return self.builder.emit(expression)


def _activation(operator: Operator, value: relax.Expr) -> relax.Expr:
    kind = operator.options.FusedActivationFunction() if operator.options is not None else 0
    functions: dict[int, Callable[[relax.Expr], relax.Expr]] = {
        tflite.ActivationFunctionType.NONE: lambda x: x,
        tflite.ActivationFunctionType.RELU: R.nn.relu,
        tflite.ActivationFunctionType.RELU6: lambda x: R.clip(x, 0.0, 6.0),
        tflite.ActivationFunctionType.RELU_N1_TO_1: lambda x: R.clip(x, -1.0, 1.0),
    }
    if kind not in functions:  # TANH and SIGN_BIT are in the schema, but LiteRT's kernels ignore them
        raise ModelError(f"{operator.name} has the unsupported fused activation {kind}")
    return functions[kind](value if kind == 0 else operator.emit(value))


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's SAME: the odd pixel goes behind."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _window(operator: Operator, kernel: tuple[int, int], dilation: tuple[int, int]) -> dict[str, Any]:
    """Strides and explicit padding (top, left, bottom, right) of a convolution or pooling."""
    options = operator.options
    strides = (options.StrideH(), options.StrideW())
    padding = [0, 0, 0, 0]
    if options.Padding() == tflite.Padding.SAME:
        for axis in (0, 1):
            size = operator.shape(0)[1 + axis]
            padding[axis], padding[axis + 2] = _same_padding(size, kernel[axis], strides[axis], dilation[axis])
    return {"strides": strides, "padding": tuple(padding), "dilation": dilation}


def _bias_and_activation(operator: Operator, value: relax.Expr, bias: int) -> relax.Expr:
    if len(operator.inputs) > bias and operator.inputs[bias] is not None:
        value = R.add(operator.emit(value), operator.inputs[bias])
    return _activation(operator, value)


def _conv_2d(operator: Operator) -> relax.Expr:
    weight = operator.constant(1).transpose(1, 2, 3, 0)  # OHWI -> HWIO
    dilation = (operator.options.DilationHFactor(), operator.options.DilationWFactor())
    window = _window(operator, weight.shape[:2], dilation)
    groups = operator.shape(0)[3] // weight.shape[2]
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    value = R.nn.conv2d(operator.inputs[0], _const(weight), groups=groups, **window, **layouts)
    return _bias_and_activation(operator, value, 2)


def _depthwise_conv_2d(operator: Operator) -> relax.Expr:
    _, height, width, channels = operator.constant(1).shape
    multiplier = channels // operator.shape(0)[3]
    data = operator.inputs[0] if multiplier == 1 else operator.emit(R.repeat(operator.inputs[0], multiplier, axis=3))
    weight = operator.constant(1).reshape(height, width, channels, 1)  # HWOI, channels in TFLite's own order
    dilation = (operator.options.DilationHFactor(), operator.options.DilationWFactor())
    window = _window(operator, (height, width), dilation)
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWOI"}
    value = R.nn.conv2d(data, _const(weight), groups=channels, **window, **layouts)
    return _bias_and_activation(operator, value, 2)


def _transpose_conv(operator: Operator) -> relax.Expr:
    weight = operator.constant(1).transpose(3, 0, 1, 2)  # OHWI -> IOHW
    _, out_height, out_width, _ = operator.output_shapes[0]
    strides = (operator.options.StrideH(), operator.options.StrideW())
    padding, output_padding = [0, 0, 0, 0], [0, 0]
    for axis, out_size in enumerate((out_height, out_width)):
        full = (operator.shape(2)[1 + axis] - 1) * strides[axis] + weight.shape[2 + axis]
        before = 0
        if operator.options.Padding() == tflite.Padding.SAME:
            before = max(full - out_size, 0) // 2
        padding[axis], padding[axis + 2] = before, max(full - out_size - before, 0)
        output_padding[axis] = max(out_size - full, 0)
    value = R.nn.conv2d_transpose(
        operator.inputs[2],
        _const(weight),
        strides=strides,
        padding=tuple(padding),
        output_padding=tuple(output_padding),
        data_layout="NHWC",
        kernel_layout="IOHW",
    )
    return _bias_and_activation(operator, value, 3)


def _fully_connected(operator: Operator) -> relax.Expr:
    """A dense layer is a 1x1 convolution over an image of one row."""
    weight = operator.constant(1)  # (outputs, inputs)
    rows = int(np.prod(operator.shape(0))) // weight.shape[1]
    flat = operator.emit(R.reshape(operator.inputs[0], (1, 1, rows, weight.shape[1])))
    value = R.nn.conv2d(flat, _const(weight.T[None, None]), data_layout="NHWC", kernel_layout="HWIO")
    value = operator.emit(_bias_and_activation(operator, value, 2))
    return R.reshape(value, operator.output_shapes[0])


def _pool(function: Callable[..., relax.Expr], **extra: Any) -> Callable[[Operator], relax.Expr]:
    def convert(operator: Operator) -> relax.Expr:
        size = (operator.options.FilterHeight(), operator.options.FilterWidth())
        window = _window(operator, size, (1, 1))
        return _activation(operator, function(operator.inputs[0], size, layout="NHWC", **window, **extra))

    return convert


def _pad(operator: Operator) -> relax.Expr:
    widths = operator.constant(1).astype(int)
    value = float(operator.constant(2).item()) if len(operator.inputs) > 2 else 0.0
    return R.nn.pad(operator.inputs[0], widths.flatten().tolist(), "constant", value)


def _resize(method: str) -> Callable[[Operator], relax.Expr]:
    nearest = method == "nearest_neighbor"

    def convert(operator: Operator) -> relax.Expr:
        options = operator.options
        mode = "asymmetric"
        if options.AlignCorners():
            mode = "align_corners"
        elif options.HalfPixelCenters():  # LiteRT's nearest takes the pixel that (x + 1/2) * scale lies in
            mode = "tf_half_pixel_for_nn" if nearest else "half_pixel"
        # LiteRT rounds align_corners half away from zero and floors in the other modes
        rounding = "round_prefer_ceil" if options.AlignCorners() else "floor"
        return R.image.resize2d(
            operator.inputs[0],
            tuple(int(n) for n in operator.constant(1)),
            layout="NHWC",
            method=method,
            coordinate_transformation_mode=mode,
            rounding_method=rounding if nearest else "round",
        )

    return convert


def _concatenation(operator: Operator) -> relax.Expr:
    return _activation(operator, R.concat(list(operator.inputs), operator.options.Axis()))


def _split(operator: Operator) -> list[relax.Expr]:
    count = operator.options.NumSplits()
    if count == 1:  # not a tuple in Relax
        return [operator.inputs[1]]
    parts = operator.emit(R.split(operator.inputs[1], count, int(operator.constant(0).item())))
    return [relax.TupleGetItem(parts, i) for i in range(count)]


def _strided_slice(operator: Operator) -> relax.Expr:
    options = operator.options
    if options.EllipsisMask() or options.NewAxisMask():
        raise ModelError("STRIDED_SLICE with an ellipsis or a new axis is not supported")
    begin, end, strides = (operator.constant(i).astype(int).tolist() for i in (1, 2, 3))
    for axis, (stride, size) in enumerate(zip(strides, operator.shape(0), strict=False)):
        first = None if options.BeginMask() >> axis & 1 else begin[axis]
        last = None if options.EndMask() >> axis & 1 else end[axis]
        begin[axis], end[axis], _ = slice(first, last, stride).indices(size)
        if options.ShrinkAxisMask() >> axis & 1:
            begin[axis] = (first or 0) % size
            end[axis], strides[axis] = begin[axis] + 1, 1
        elif end[axis] < 0:  # behind the first, going backwards; -1 would be the last
            end[axis] = -size - 1
    axes = list(range(len(begin)))
    value = operator.emit(R.strided_slice(operator.inputs[0], axes, begin, end, strides))
    return R.reshape(value, operator.output_shapes[0])


def _slice(operator: Operator) -> relax.Expr:
    begin, size = (operator.constant(i).astype(int) for i in (1, 2))
    end = np.where(size < 0, operator.shape(0), begin + size)
    return R.strided_slice(operator.inputs[0], list(range(len(begin))), begin.tolist(), end.tolist())


def _mean(operator: Operator) -> relax.Expr:
    axes = [int(axis) for axis in operator.constant(1).flatten()]
    return R.mean(operator.inputs[0], axes, bool(operator.options.KeepDims()))


def _softmax(operator: Operator) -> relax.Expr:
    beta = operator.options.Beta()
    value = operator.inputs[0] if beta == 1 else operator.emit(R.multiply(operator.inputs[0], _const(np.float32(beta))))
    return R.nn.softmax(value)


def _hard_swish(operator: Operator) -> relax.Expr:
    x = operator.inputs[0]
    gate = R.clip(operator.emit(R.add(x, _const(np.float32(3)))), 0.0, 6.0)
    return R.multiply(operator.emit(R.multiply(x, operator.emit(gate))), _const(np.float32(1 / 6)))


def _prelu(operator: Operator) -> relax.Expr:
    x, slope = operator.inputs[:2]
    zero = _const(np.float32(0))
    negative = operator.emit(R.multiply(operator.emit(R.minimum(x, zero)), slope))
    return R.add(operator.emit(R.maximum(x, zero)), negative)


def _depth_to_space(operator: Operator) -> relax.Expr:
    batch, height, width, channels = operator.shape(0)
    block = operator.options.BlockSize()
    value = R.reshape(operator.inputs[0], (batch, height, width, block, block, channels // block**2))
    value = operator.emit(R.permute_dims(operator.emit(value), [0, 1, 3, 2, 4, 5]))
    return R.reshape(value, operator.output_shapes[0])


def _unary(function: Callable[[relax.Expr], relax.Expr]) -> Callable[[Operator], relax.Expr]:
    return lambda operator: function(operator.inputs[0])


def _binary(function: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Callable[[Operator], relax.Expr]:
    return lambda operator: _activation(operator, function(*operator.inputs))


def _reshape(operator: Operator) -> relax.Expr:
    return R.reshape(operator.inputs[0], operator.output_shapes[0])


def _const(array: np.ndarray) -> relax.Expr:
    return relax.const(np.asarray(array, order="C"))  # ascontiguousarray would make a scalar one-dimensional


def static_shape(expression: relax.Expr) -> tuple[int, ...]:
    return tuple(int(n) for n in expression.ty.shape)


OPERATORS: dict[str, Callable[[Operator], relax.Expr | list[relax.Expr]]] = {
    "ADD": _binary(R.add),
    "AVERAGE_POOL_2D": _pool(R.nn.avg_pool2d, count_include_pad=False),
    "CAST": lambda operator: R.astype(operator.inputs[0], operator.output_dtype),
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DEQUANTIZE": lambda operator: R.astype(operator.inputs[0], "float32"),
    "DIV": _binary(R.divide),
    "EXP": _unary(R.exp),
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": lambda operator: R.nn.leakyrelu(operator.inputs[0], operator.options.Alpha()),
    "LOGISTIC": _unary(R.sigmoid),
    "MAXIMUM": _binary(R.maximum),
    "MAX_POOL_2D": _pool(R.nn.max_pool2d),
    "MEAN": _mean,
    "MINIMUM": _binary(R.minimum),
    "MUL": _binary(R.multiply),
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": _prelu,
    "RELU": _unary(R.nn.relu),
    "RELU6": _unary(lambda x: R.clip(x, 0.0, 6.0)),
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest_neighbor"),
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _binary(R.subtract),
    "TANH": _unary(R.tanh),
    "TRANSPOSE": lambda operator: R.permute_dims(operator.inputs[0], [int(i) for i in operator.constant(1)]),
    "TRANSPOSE_CONV": _transpose_conv,
}
