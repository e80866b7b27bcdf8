"""Pixels to network input on a GPU, in one pass: as warp.py, with a thread for each pixel of the network's input.

Places are computed in float32, which phones' GPUs have: a thousandth of a pixel in pictures of 8000 by 8000.
"""

from collections.abc import Sequence
from typing import Literal

from tvm import tirx

from tvmpose.kernels.script import T
from tvmpose.kernels.warp import (
    BLUE_OF_U,
    GREEN_OF_U,
    GREEN_OF_V,
    LUMA_GAIN,
    MAX_SAMPLES,
    RED_OF_V,
    picture_size,
)

_THREADS = 64  # of a block
PIXEL_BYTES = 2**31 - 1  # as a kernel's argument says; there are as many as there are

# By channel red, green, blue: shares of U and V.
_OF_UV = ((0.0, RED_OF_V), (GREEN_OF_U, GREEN_OF_V), (BLUE_OF_U, 0.0))


def _tap(at, size):
    """Pixels before and after a place, both inside, and their weights."""
    before = T.Cast("int32", T.floor(at))
    part = at - T.floor(at)
    first = T.max(T.min(before, size - 1), 0)
    second = T.max(T.min(before + 1, size - 1), 0)
    first_weight = T.Select(T.And(before >= 0, before < size), T.float32(1) - part, T.float32(0))
    return (first, first_weight), (second, T.Select(before + 1 < size, part, T.float32(0)))


def _packed_grey(image, geometry, x, y, channel):
    return T.Cast("float32", image[y * geometry[2] + x * geometry[3] + geometry[4 + channel]])


def _nv12_grey(image, geometry, x, y, channel):
    of_u, of_v = _OF_UV[channel]
    pair = geometry[4] + T.shift_right(y, 1) * geometry[3] + T.bitwise_and(x, -2)
    luma, u, v = (T.Cast("float32", image[at]) for at in (y * geometry[2] + x, pair, pair + 1))
    black = 16 * LUMA_GAIN + 128 * (of_u + of_v)
    return _grey(luma * T.float32(LUMA_GAIN) + u * T.float32(of_u) + v * T.float32(of_v) - T.float32(black))


def _grey(value):
    return T.max(T.min(value, T.float32(255)), T.float32(0))


def gpu_warp_kernel(
    pixel_format: Literal["packed", "nv12"],
    *,
    name: str,
    input_shape: Sequence[int],
    input_dtype: str,
    layout: Literal["NHWC", "NCHW"],
    colour: Literal["rgb", "bgr"],
    mean: Sequence[float],
    std: Sequence[float],
    border: Literal["zero", "edge"],
    downscale: Literal["point", "mean"],
) -> tirx.PrimFunc:
    """Return the kernel called ``name`` that fills a network's input from an image; parameters as warp_kernel's.

    Its arguments, as runtime/csrc/gpu.h defines them: image uint8, NV12's planes one behind the other, geometry
    int32[8], matrix float32[6], network input. Raises ModelError as warp_kernel does.
    """
    shape = tuple(input_shape)
    height, width = picture_size(shape, input_dtype, layout)
    averaged = downscale == "mean"
    grey_of = _packed_grey if pixel_format == "packed" else _nv12_grey
    blocks = -(-height * width // _THREADS)

    def samples(scale_x, scale_y):
        if not averaged:
            return T.int32(1)
        scale = T.min(T.sqrt(scale_x * scale_x + scale_y * scale_y), T.float32(MAX_SAMPLES))
        return T.max(T.Cast("int32", T.ceil(scale - T.float32(1e-6))), 1)

    def spread(sample, count):
        """Where a sample lies in its pixel: -0.5 to 0.5."""
        return (T.Cast("float32", sample) + T.float32(0.5)) / T.Cast("float32", count) - T.float32(0.5)

    def clamped(coordinate, size):
        lowest, highest = (0, size - 1) if border == "edge" else (-1, size)
        return T.max(T.min(coordinate, T.Cast("float32", highest)), T.float32(lowest))

    def element(total, count, channel):
        grey = total / T.Cast("float32", count) if averaged else total
        value = grey * T.float32(1 / std[channel]) - T.float32(mean[channel] / std[channel])
        return value if input_dtype in ("float32", "float16") else _grey(T.floor(value + T.float32(0.5)))

    def source(channel):
        return channel if colour == "rgb" else 2 - channel

    def interpolated(image, geometry, x, y, channel):
        """A channel, red, green or blue, at a place of the image."""
        total = T.float32(0)
        for row, row_weight in _tap(y, geometry[1]):
            for column, weight in _tap(x, geometry[0]):
                total = total + row_weight * weight * grey_of(image, geometry, column, row, channel)
        return total

    def place_of(at, matrix, net_x, net_y, size):
        return clamped(matrix[at] * net_x + (matrix[at + 1] * net_y + matrix[at + 2]), size)

    @T.inline
    def store(out, pixel, channel, value):
        if layout == "NHWC":
            out[0, pixel // width, pixel % width, channel] = T.Cast(input_dtype, value)
        else:
            out[0, channel, pixel // width, pixel % width] = T.Cast(input_dtype, value)

    @T.prim_func
    def warp(
        image: T.Buffer((PIXEL_BYTES,), "uint8"),
        geometry: T.Buffer((8,), "int32"),
        matrix: T.Buffer((6,), "float32"),
        out: T.Buffer(shape, input_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for block in T.thread_binding(blocks, "blockIdx.x"):
            for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                pixel: T.let = block * _THREADS + thread
                if pixel < height * width:
                    total = T.alloc_buffer((3,), "float32", scope="local")
                    n: T.let = samples(matrix[0], matrix[3])
                    m: T.let = samples(matrix[1], matrix[4])
                    total[0] = T.float32(0)
                    total[1] = T.float32(0)
                    total[2] = T.float32(0)
                    for j, i in T.grid(m, n):
                        net_x: T.let = T.Cast("float32", pixel % width) + spread(i, n)
                        net_y: T.let = T.Cast("float32", pixel // width) + spread(j, m)
                        x: T.let = place_of(0, matrix, net_x, net_y, geometry[0])
                        y: T.let = place_of(3, matrix, net_x, net_y, geometry[1])
                        total[0] = total[0] + interpolated(image, geometry, x, y, source(0))
                        total[1] = total[1] + interpolated(image, geometry, x, y, source(1))
                        total[2] = total[2] + interpolated(image, geometry, x, y, source(2))
                    store(out, pixel, 0, element(total[0], n * m, 0))
                    store(out, pixel, 1, element(total[1], n * m, 1))
                    store(out, pixel, 2, element(total[2], n * m, 2))

    return warp
