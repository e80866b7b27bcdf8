"""TFLite's operators in Relax: a table, each row a few lines, in TFLite's own NHWC layout.

Semantics follow the LiteRT reference kernels (tensorflow/lite/kernels/internal/reference).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import tflite
from tvm import relax
from tvm.relax import op as R

from tvmpose.errors import ModelError
from tvmpose.frontend.tflite_convolutions import conv_2d, depthwise_conv_2d, fully_connected, pool, transpose_conv
from tvmpose.frontend.tflite_operator import Operator, activation, constant

Convert = Callable[[Operator], relax.Expr | list[relax.Expr]]


def _pad(operator: Operator) -> relax.Expr:
    widths = operator.constant(1).astype(int)
    value = 0.0
    if len(operator.inputs) > 2:
        stored, quantization = operator.constant(2).item(), operator.quantizations[2]
        value = float(stored if quantization is None else quantization.scale * (stored - quantization.zero_point))
    return R.nn.pad(operator.inputs[0], widths.flatten().tolist(), "constant", value)


def _mirror_pad(operator: Operator) -> relax.Expr:
    mode: Literal["reflect", "symmetric"]
    mode = "reflect" if operator.options.Mode() == tflite.MirrorPadMode.REFLECT else "symmetric"
    value = operator.inputs[0]
    for axis, (size, widths) in enumerate(zip(operator.shape(0), operator.constant(1).astype(int), strict=True)):
        if widths.any():
            places = np.pad(np.arange(size), tuple(widths), mode)
            value = operator.emit(R.take(value, constant(places.astype("int32")), axis))
    return value


def _resize(method: str) -> Convert:
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
    return activation(operator, R.concat(list(operator.inputs), operator.options.Axis()))


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


def _gather(operator: Operator) -> relax.Expr:
    if operator.options.BatchDims():
        raise ModelError(f"GATHER with {operator.options.BatchDims()} batch dimensions is not supported")
    return R.take(operator.inputs[0], operator.inputs[1], operator.options.Axis())


def _pack(operator: Operator) -> relax.Expr:
    return R.stack(list(operator.inputs), operator.options.Axis())


def _unpack(operator: Operator) -> list[relax.Expr]:
    count, shape = len(operator.output_shapes), operator.output_shapes[0]
    if count == 1:
        return [R.reshape(operator.inputs[0], shape)]
    parts = operator.emit(R.split(operator.inputs[0], count, operator.options.Axis()))
    return [R.reshape(operator.emit(relax.TupleGetItem(parts, i)), shape) for i in range(count)]


def _tile(operator: Operator) -> relax.Expr:
    return R.tile(operator.inputs[0], [int(n) for n in operator.constant(1)])


def _fill(operator: Operator) -> relax.Expr:
    return R.broadcast_to(operator.inputs[1], operator.output_shapes[0])


def _reduce(function: Callable[..., relax.Expr]) -> Convert:
    def convert(operator: Operator) -> relax.Expr:
        axes = [int(axis) for axis in operator.constant(1).flatten()]
        return function(operator.inputs[0], axes, bool(operator.options.KeepDims()))

    return convert


def _extreme_place(function: Callable[..., relax.Expr]) -> Convert:
    def convert(operator: Operator) -> relax.Expr:
        place = operator.emit(function(operator.inputs[0], int(operator.constant(1).item())))
        return R.astype(place, operator.output_dtype)

    return convert


def _l2_normalization(operator: Operator) -> relax.Expr:
    x = operator.inputs[0]
    norm = operator.emit(R.sqrt(operator.emit(R.sum(operator.emit(R.square(x)), -1, keepdims=True))))
    value = R.divide(x, operator.emit(R.maximum(norm, constant(np.float32(1e-6)))))
    return activation(operator, value)


def _softmax(operator: Operator) -> relax.Expr:
    beta = operator.options.Beta()
    value = (
        operator.inputs[0] if beta == 1 else operator.emit(R.multiply(operator.inputs[0], constant(np.float32(beta))))
    )
    return R.nn.softmax(value)


def _hard_swish(operator: Operator) -> relax.Expr:
    x = operator.inputs[0]
    gate = R.clip(operator.emit(R.add(x, constant(np.float32(3)))), 0.0, 6.0)
    return R.multiply(operator.emit(R.multiply(x, operator.emit(gate))), constant(np.float32(1 / 6)))


def _prelu(operator: Operator) -> relax.Expr:
    x, slope = operator.inputs[:2]
    zero = constant(np.float32(0))
    negative = operator.emit(R.multiply(operator.emit(R.minimum(x, zero)), slope))
    return R.add(operator.emit(R.maximum(x, zero)), negative)


def _depth_to_space(operator: Operator) -> relax.Expr:
    batch, height, width, channels = operator.shape(0)
    block = operator.options.BlockSize()
    value = R.reshape(operator.inputs[0], (batch, height, width, block, block, channels // block**2))
    value = operator.emit(R.permute_dims(operator.emit(value), [0, 1, 3, 2, 4, 5]))
    return R.reshape(value, operator.output_shapes[0])


def _space_to_depth(operator: Operator) -> relax.Expr:
    batch, height, width, channels = operator.shape(0)
    block = operator.options.BlockSize()
    value = R.reshape(operator.inputs[0], (batch, height // block, block, width // block, block, channels))
    value = operator.emit(R.permute_dims(operator.emit(value), [0, 1, 3, 2, 4, 5]))
    return R.reshape(value, operator.output_shapes[0])


def _plain(function: Callable[..., relax.Expr]) -> Convert:
    """What is the same in Relax, on the operands as they come."""
    return lambda operator: function(*operator.inputs)


def _as_float(operator: Operator) -> relax.Expr:
    """What was quantized arrives as a number already; the others are float16."""
    x = operator.inputs[0]
    return R.astype(x, "float32") if operator.quantizations[0] is None else x


def _binary(function: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Convert:
    return lambda operator: activation(operator, function(*operator.inputs))


def _reshape(operator: Operator) -> relax.Expr:
    return R.reshape(operator.inputs[0], operator.output_shapes[0])


# Of these the operands and results are the integers themselves, whatever they stand for.
INTEGERS = frozenset({"ARG_MAX", "ARG_MIN", "CAST"})

OPERATORS: dict[str, Convert] = {
    "ABS": _plain(R.abs),
    "ADD": _binary(R.add),
    "ARG_MAX": _extreme_place(R.argmax),
    "ARG_MIN": _extreme_place(R.argmin),
    "AVERAGE_POOL_2D": pool(R.nn.avg_pool2d, count_include_pad=False),
    "CAST": lambda operator: R.astype(operator.inputs[0], operator.output_dtype),
    "CONCATENATION": _concatenation,
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DEQUANTIZE": _as_float,
    "DIV": _binary(R.divide),
    "EXP": _plain(R.exp),
    "EXPAND_DIMS": _reshape,
    "FILL": _fill,
    "FLOOR_DIV": _plain(R.floor_divide),
    "FULLY_CONNECTED": fully_connected,
    "GATHER": _gather,
    "GATHER_ND": _plain(lambda x, places: R.gather_nd(x, R.astype(places, "int64"))),
    "HARD_SWISH": _hard_swish,
    "L2_NORMALIZATION": _l2_normalization,
    "LEAKY_RELU": lambda operator: R.nn.leakyrelu(operator.inputs[0], operator.options.Alpha()),
    "LOGISTIC": _plain(R.sigmoid),
    "LOG_SOFTMAX": _plain(R.nn.log_softmax),
    "MAXIMUM": _plain(R.maximum),
    "MAX_POOL_2D": pool(R.nn.max_pool2d),
    "MEAN": _reduce(R.mean),
    "MINIMUM": _plain(R.minimum),
    "MIRROR_PAD": _mirror_pad,
    "MUL": _binary(R.multiply),
    "NEG": _plain(R.negative),
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad,
    "POW": _plain(R.power),
    "PRELU": _prelu,
    "QUANTIZE": _plain(lambda x: x),
    "REDUCE_MAX": _reduce(R.max),
    "RELU": _plain(R.nn.relu),
    "RELU6": _plain(lambda x: R.clip(x, 0.0, 6.0)),
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest_neighbor"),
    "RSQRT": _plain(R.rsqrt),
    "SHAPE": lambda operator: constant(np.array(operator.shape(0), operator.output_dtype)),
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _space_to_depth,
    "SPLIT": _split,
    "SQRT": _plain(R.sqrt),
    "SQUARE": _plain(R.square),
    "SQUARED_DIFFERENCE": _plain(lambda x, y: R.square(R.subtract(x, y))),
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _binary(R.subtract),
    "SUM": _reduce(R.sum),
    "TANH": _plain(R.tanh),
    "TILE": _tile,
    "TRANSPOSE": lambda operator: R.permute_dims(operator.inputs[0], [int(i) for i in operator.constant(1)]),
    "TRANSPOSE_CONV": transpose_conv,
    "UNPACK": _unpack,
}
