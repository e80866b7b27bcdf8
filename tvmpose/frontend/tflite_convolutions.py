"""TFLite's convolutions, dense layers and poolings in Relax, in TFLite's own NHWC layout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tflite
from tvm import relax
from tvm.relax import op as R

from tvmpose.frontend.tflite_operator import Operator, activation


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
    return activation(operator, value)


def conv_2d(operator: Operator) -> relax.Expr:
    weight = operator.constant(1).transpose(1, 2, 3, 0)  # OHWI -> HWIO
    dilation = (operator.options.DilationHFactor(), operator.options.DilationWFactor())
    window = _window(operator, weight.shape[:2], dilation)
    groups = operator.shape(0)[3] // weight.shape[2]
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    value = R.nn.conv2d(operator.inputs[0], operator.weight(weight, 3), groups=groups, **window, **layouts)
    return _bias_and_activation(operator, value, 2)


def depthwise_conv_2d(operator: Operator) -> relax.Expr:
    _, height, width, channels = operator.constant(1).shape
    multiplier = channels // operator.shape(0)[3]
    data = operator.inputs[0] if multiplier == 1 else operator.emit(R.repeat(operator.inputs[0], multiplier, axis=3))
    weight = operator.constant(1).reshape(height, width, channels, 1)  # HWOI, channels in TFLite's own order
    dilation = (operator.options.DilationHFactor(), operator.options.DilationWFactor())
    window = _window(operator, (height, width), dilation)
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWOI"}
    value = R.nn.conv2d(data, operator.weight(weight, 2), groups=channels, **window, **layouts)
    return _bias_and_activation(operator, value, 2)


def transpose_conv(operator: Operator) -> relax.Expr:
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
        operator.weight(weight, 1),
        strides=strides,
        padding=tuple(padding),
        output_padding=tuple(output_padding),
        data_layout="NHWC",
        kernel_layout="IOHW",
    )
    return _bias_and_activation(operator, value, 3)


def fully_connected(operator: Operator) -> relax.Expr:
    """A dense layer is a 1x1 convolution over an image of one row."""
    weight = operator.constant(1)  # (outputs, inputs)
    rows = int(np.prod(operator.shape(0))) // weight.shape[1]
    flat = operator.emit(R.reshape(operator.inputs[0], (1, 1, rows, weight.shape[1])))
    kernel = operator.weight(weight.T[None, None], 3)
    value = R.nn.conv2d(flat, kernel, data_layout="NHWC", kernel_layout="HWIO")
    value = operator.emit(_bias_and_activation(operator, value, 2))
    return R.reshape(value, operator.output_shapes[0])


def pool(function: Callable[..., relax.Expr], **extra: Any) -> Callable[[Operator], relax.Expr]:
    def convert(operator: Operator) -> relax.Expr:
        size = (operator.options.FilterHeight(), operator.options.FilterWidth())
        window = _window(operator, size, (1, 1))
        return activation(operator, function(operator.inputs[0], size, layout="NHWC", **window, **extra))

    return convert
