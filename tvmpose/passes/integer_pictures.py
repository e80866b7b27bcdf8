"""Rows of the integer table for what works on pictures as wholes: resizing, pooling, means."""

import numpy as np
from tvm import relax, te, topi

from tvmpose.kernels.integer import Output
from tvmpose.kernels.integer_elementwise import average_away, average_formula, dequantized, mean_formula
from tvmpose.kernels.integer_pool import Pool, integer_average_pool2d
from tvmpose.kernels.integer_resize import MODES, integer_places, integer_resize_bilinear
from tvmpose.kernels.requantize import Rounding, as_rounded
from tvmpose.passes.integer_elementwise import in_units_of
from tvmpose.passes.integer_walk import Integer, NotLowered, Walk, stored_above
from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.qdq import Quantization


def integer_resize(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    data, mode = walk.integer(call.args[0]), str(call.attrs.coordinate_transformation_mode)
    if call.attrs.layout != "NHWC":
        raise NotLowered(f"its layout is {call.attrs.layout}")
    if call.attrs.method == "nearest_neighbor":
        resized = rebuild_call(call, [data.value, *call.args[1:]])
        return in_units_of(walk, Integer(walk.builder.emit(resized), data.quantization), target, output)
    if call.attrs.method != "linear" or mode not in MODES or int(call.ty.shape[0]) != 1:
        raise NotLowered(f"its method is {call.attrs.method}, {mode}")
    shift, dtype = stored_above(walk, call.args[0], data)
    if walk.rounding is Rounding.REFERENCE and dtype != "int8":
        raise NotLowered("the source resizes it in float")
    sizes = [(int(data.value.ty.shape[axis]), int(call.ty.shape[axis])) for axis in (1, 2)]
    tables = [relax.const(t) for size in sizes for t in integer_places(*size, mode, walk.rounding)]

    def compute(x: te.Tensor, *places: te.Tensor) -> te.Tensor:
        top, bottom, down, left, right, across = places
        return integer_resize_bilinear(x, top, bottom, down, left, right, across, walk.rounding, shift)

    resized = walk.builder.emit(walk.call("integer_resize_bilinear", compute, data.value, *tables))
    return in_units_of(walk, Integer(resized, data.quantization), target, output)


def integer_average_pool(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    data, attrs = walk.integer(call.args[0]), call.attrs
    if attrs.layout != "NHWC" or any(int(n) != 1 for n in attrs.dilation):
        raise NotLowered("its layout or dilation")
    kernel, strides = ((int(a), int(b)) for a, b in (attrs.pool_size, attrs.strides))
    top, left, *others = (int(n) for n in attrs.padding)
    counts_padding = bool(attrs.count_include_pad) and any((top, left, *others))
    if counts_padding and attrs.ceil_mode:
        raise NotLowered("it counts padding, and windows stand over it")
    pool = Pool(kernel, strides, (top, left), (int(call.ty.shape[1]), int(call.ty.shape[2])), counts_padding)
    if walk.rounding.is_float:
        number = lambda byte: as_rounded(dequantized(byte, data.quantization))  # noqa: E731
        average = average_formula(walk.rounding, target, output)
        compute = lambda x: integer_average_pool2d(x, pool, number, average)  # noqa: E731
        return walk.call("integer_average_pool", compute, data.value)
    if counts_padding:
        raise NotLowered("it counts padding")
    shift, _ = stored_above(walk, call.args[0], data)  # TensorFlow Lite's stays in the units of its input
    away = average_away(shift, data.quantization.dtype)
    whole = lambda byte: byte.astype("int32") - shift  # noqa: E731
    compute = lambda x: integer_average_pool2d(x, pool, whole, away)  # noqa: E731
    pooled = walk.builder.emit(walk.call("integer_average_pool", compute, data.value))
    return in_units_of(walk, Integer(pooled, data.quantization), target, output)


def integer_mean(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    data = walk.integer(call.args[0])
    rank = len(data.value.ty.shape)
    axes = sorted(int(axis) % rank for axis in call.attrs.axis or range(rank))
    formula = mean_formula(walk.rounding, data.quantization, target, output, int(np.prod(_extents(data, axes))))
    shape = tuple(int(n) for n in call.ty.shape)

    def compute(x: te.Tensor) -> te.Tensor:
        sums = topi.sum(te.compute(x.shape, lambda *i: x[i].astype("int32"), name="widen"), axes, call.attrs.keepdims)
        return te.compute(shape, lambda *i: formula(sums[i]), name="mean")

    return walk.call("integer_mean", compute, data.value)


def _extents(data: Integer, axes: list[int]) -> list[int]:
    return [int(data.value.ty.shape[axis]) for axis in axes]
