"""Pixels to network input on a GPU, in one pass: as warp.py, with a thread for each pixel of the network's input.

Places are computed in float32, which phones' GPUs have: a thousandth of a pixel in pictures of 8000 by 8000.
"""

from collections.abc import Sequence
from typing import Literal

from tvm import tirx

from tvmpose.kernels.script import T
from tvmpose.kernels.warp_arithmetic import WarpArithmetic, grey_of_yuv, picture_size

_THREADS = 64  # of a block
PIXEL_BYTES = 2**31 - 1  # as a kernel's argument says; there are as many as there are


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
    pair = geometry[4] + T.shift_right(y, 1) * geometry[3] + T.bitwise_and(x, -2)
    luma, u, v = (T.Cast("float32", image[at]) for at in (y * geometry[2] + x, pair, pair + 1))
    return grey_of_yuv(luma, u, v, channel)


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
    arithmetic = WarpArithmetic("float32", input_dtype, colour, mean, std, border, downscale == "mean")
    grey_of = _packed_grey if pixel_format == "packed" else _nv12_grey
    blocks = -(-height * width // _THREADS)

    def interpolated(image, geometry, x, y, channel):
        """A channel, red, green or blue, at a place of the image."""
        total = T.float32(0)
        for row, row_weight in _tap(y, geometry[1]):
            for column, weight in _tap(x, geometry[0]):
                total = total + row_weight * weight * grey_of(image, geometry, column, row, channel)
        return total

    def place_of(at, matrix, net_x, net_y, size):
        return arithmetic.clamped(matrix[at] * net_x + (matrix[at + 1] * net_y + matrix[at + 2]), size)

    @T.inline
    def store(out, pixel, channel, value):
        if layout == "NHWC":
            out[0, pixel // width, pixel % width, channel] = value
        else:
            out[0, channel, pixel // width, pixel % width] = value

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
                    n: T.let = arithmetic.samples(matrix[0], matrix[3])
                    m: T.let = arithmetic.samples(matrix[1], matrix[4])
                    total[0] = T.float32(0)
                    total[1] = T.float32(0)
                    total[2] = T.float32(0)
                    for j, i in T.grid(m, n):
                        net_x: T.let = T.Cast("float32", pixel % width) + arithmetic.spread(i, n)
                        net_y: T.let = T.Cast("float32", pixel // width) + arithmetic.spread(j, m)
                        x: T.let = place_of(0, matrix, net_x, net_y, geometry[0])
                        y: T.let = place_of(3, matrix, net_x, net_y, geometry[1])
                        total[0] = total[0] + interpolated(image, geometry, x, y, arithmetic.source(0))
                        total[1] = total[1] + interpolated(image, geometry, x, y, arithmetic.source(1))
                        total[2] = total[2] + interpolated(image, geometry, x, y, arithmetic.source(2))
                    store(out, pixel, 0, arithmetic.element(total[0], n * m, 0))
                    store(out, pixel, 1, arithmetic.element(total[1], n * m, 1))
                    store(out, pixel, 2, arithmetic.element(total[2], n * m, 2))

    return warp
