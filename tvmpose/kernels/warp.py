"""Pixels to network input in one pass: affine warp, colour conversion and normalisation, with no image in between.

A row is worked off in blocks of 16 pixels, each in three steps. *Locate*, vectorized over the pixels: where in the
image each falls, as byte offsets of its four neighbours and their weights. *Gather*: sixteen pixels lie in sixteen
places, so for packed formats the vector is the channels of one pixel, and NV12's bytes are collected before they are
converted. *Store*: normalised, in the network's order of channels.

Interior and border take the same path: in place of a neighbour outside the image the nearest pixel inside is read,
and given the weight zero. So do rotated and upright crops, but that an upright one is located once for several rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from tvm import tirx

from tvmpose.kernels.script import T
from tvmpose.kernels.warp_arithmetic import WarpArithmetic, grey_of_yuv, picture_size

BLOCK = 16  # pixels: one AVX-512, two AVX2 or four NEON vectors of float32
ROWS = 8  # of a task, what one thread does at a time


@dataclass(frozen=True)
class _Axis:
    """An axis of the image: number of pixels, bytes from one to the next."""

    size: Any
    step: Any


class _Taps:
    """Along one axis, for BLOCK pixels: the image's pixels before and after each, as offsets in bytes, and weights.

    TVM keeps buffers of global scope under 1 KB on the stack; those of "local" scope would come from the workspace.
    """

    def __init__(self):
        self.offset = T.alloc_buffer((2, BLOCK), "int64")
        self.weight = T.alloc_buffer((2, BLOCK), "float32")


@T.inline
def _locate(taps, i, at, axis):
    """Set the taps of pixel i, which lies at ``at``, not more than a pixel outside the image."""
    before: T.let = T.Cast("int32", T.floor(at))
    part: T.let = T.Cast("float32", at - T.floor(at))
    taps.offset[0, i] = T.Cast("int64", T.max(T.min(before, axis.size - 1), 0)) * T.Cast("int64", axis.step)
    taps.offset[1, i] = T.Cast("int64", T.min(before + 1, axis.size - 1)) * T.Cast("int64", axis.step)
    taps.weight[0, i] = T.Select(T.And(before >= 0, before < axis.size), T.float32(1) - part, T.float32(0))
    taps.weight[1, i] = T.Select(before + 1 < axis.size, part, T.float32(0))


@T.inline
def _repeat_first(taps):
    """Give the whole block the taps of its first pixel."""
    for side in T.unroll(2):
        offset: T.let = taps.offset[side, 0]
        weight: T.let = taps.weight[side, 0]
        for i in T.vectorized(BLOCK):
            taps.offset[side, i] = offset
            taps.weight[side, i] = weight


def _interpolate(rows, columns, i, pixel):
    """The four neighbours of pixel i, pixel(row, column) each, weighted."""
    upper, lower = (columns.weight[0, i] * pixel(row, 0) + columns.weight[1, i] * pixel(row, 1) for row in range(2))
    return rows.weight[0, i] * upper + rows.weight[1, i] * lower


def _packed_byte(image, rows, columns, i, byte):
    """Byte 0..3 of pixel i, interpolated."""

    def grey(row, column):
        return T.Cast("float32", image[rows.offset[row, i] + columns.offset[column, i] + byte])

    return _interpolate(rows, columns, i, grey)


def _nv12_grey(yuv, rows, columns, i, channel):
    """A channel of pixel i: the neighbours become RGB, clamped, before they are interpolated."""

    def grey(row, column):
        y, u, v = (T.Cast("float32", yuv[plane, row * 2 + column, i]) for plane in range(3))
        return grey_of_yuv(y, u, v, channel)

    return _interpolate(rows, columns, i, grey)


@T.inline
def _gather_packed(image, geometry, rows, columns, add):
    """Add to the total of [pixel * 4 + byte of the pixel]."""
    end: T.let = T.Cast("int64", geometry[1] - 1) * T.Cast("int64", geometry[2]) + geometry[0] * geometry[3]
    last_row: T.let = T.max(rows.offset[1, 0], rows.offset[1, BLOCK - 1])
    last_column: T.let = T.max(columns.offset[1, 0], columns.offset[1, BLOCK - 1])
    # Four bytes at once, of three-byte pixels too, but not where that would pass the end of the image. Positions are
    # monotonic along a block, so its ends are its extremes.
    if last_row + last_column + 4 <= end:
        for i in T.unroll(BLOCK):
            for byte in T.vectorized(4):
                add(i * 4 + byte, _packed_byte(image, rows, columns, i, byte))
    else:
        for i, byte in T.grid(BLOCK, geometry[3]):
            add(i * 4 + byte, _packed_byte(image, rows, columns, i, byte))


@T.inline
def _gather_nv12(luma, chroma, geometry, rows, columns, add):
    """Add to the total of [channel * BLOCK + pixel]. Here the taps' offsets are in pixels."""
    yuv = T.alloc_buffer((3, 4, BLOCK), "uint8")
    for i in T.serial(BLOCK):
        for row in T.unroll(2):
            y: T.let = rows.offset[row, i]
            luma_row: T.let = y * geometry[2]
            chroma_row: T.let = T.shift_right(y, T.int64(1)) * geometry[3]
            for column in T.unroll(2):
                x: T.let = columns.offset[column, i]
                pair: T.let = chroma_row + T.bitwise_and(x, T.int64(-2))
                yuv[0, row * 2 + column, i] = luma[luma_row + x]
                yuv[1, row * 2 + column, i] = chroma[pair]
                yuv[2, row * 2 + column, i] = chroma[pair + 1]
    for i in T.vectorized(BLOCK):
        add(i, _nv12_grey(yuv, rows, columns, i, 0))
        add(BLOCK + i, _nv12_grey(yuv, rows, columns, i, 1))
        add(2 * BLOCK + i, _nv12_grey(yuv, rows, columns, i, 2))


def warp_kernel(
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
    """Return the scheduled kernel called ``name`` that fills a network's input from an image.

    Its arguments, with ``geometry`` and ``matrix`` as runtime/csrc/model.h defines them:

    - packed: image uint8[n], geometry int32[8], matrix float64[6], network input
    - nv12: luma uint8[n], chroma uint8[m], geometry int32[8], matrix float64[6], network input

    Pixels may have any alignment; the other arguments have TVM's 64 bytes. Nothing is read past the last pixel:
    of a packed image, ``stride * (height - 1) + width * bytes per pixel`` bytes.

    An element is ``(grey - mean) / std``, grey in 0..255, mean and std in the network's order of channels. Integer
    inputs (int32, uint8) are rounded by ``floor(element + 0.5)`` and clamped to 0..255.

    border "zero" interpolates with black outside the image, as OpenCV's BORDER_CONSTANT does; "edge" repeats the
    outermost pixels. downscale "point" takes one bilinear sample for an output pixel; "mean" averages n x m of them
    spread evenly over its footprint, n and m being the crop's scale along the network's two axes, rounded up (less
    1e-6, lest a rounding error add a sample) and at most 8.

    Raises ModelError for an input that is not one picture of three channels of float32, int32 or uint8.
    """
    shape = tuple(input_shape)
    height, width = picture_size(shape, input_dtype, layout)
    averaged = downscale == "mean"
    arithmetic = WarpArithmetic("float64", input_dtype, colour, mean, std, border, averaged)

    @T.inline
    def add(total, index, value):
        if averaged:
            total[index] += value
        else:
            total[index] = value

    @T.inline
    def store(out, y, x, channel, value):
        if layout == "NHWC":
            out[0, y, x, channel] = value
        else:
            out[0, channel, y, x] = value

    @T.inline
    def locate(columns, rows, matrix, net_x, net_y, across, down, new_columns):
        """Set the taps of the block whose first sample lies at (net_x, net_y)."""
        # The columns of an upright crop are those of the row above, and all of its block is in one row.
        if T.Or(new_columns, matrix[1] != 0):
            for i in T.vectorized(BLOCK):
                x: T.let = matrix[0] * (net_x + T.Cast("float64", i)) + (matrix[1] * net_y + matrix[2])
                _locate(columns, i, arithmetic.clamped(x, across.size), across)
        if matrix[3] != 0:
            for i in T.vectorized(BLOCK):
                y: T.let = matrix[3] * (net_x + T.Cast("float64", i)) + (matrix[4] * net_y + matrix[5])
                _locate(rows, i, arithmetic.clamped(y, down.size), down)
        else:
            _locate(rows, 0, arithmetic.clamped(matrix[4] * net_y + matrix[5], down.size), down)
            _repeat_first(rows)

    @T.inline
    def warp(gather, total_of, across, down, matrix, out):
        n: T.let = arithmetic.samples(matrix[0], matrix[3])
        m: T.let = arithmetic.samples(matrix[1], matrix[4])
        for task in T.parallel(-(-height // ROWS)):
            columns = T.meta_var(_Taps())
            rows = T.meta_var(_Taps())
            total = T.alloc_buffer((BLOCK * 4,), "float32")
            for block, row in T.grid(-(-width // BLOCK), ROWS):
                y: T.let = task * ROWS + row
                if y < height:
                    if averaged:
                        for i in T.vectorized(BLOCK * 4):
                            total[i] = T.float32(0)
                    for j, i in T.grid(m, n):
                        net_x: T.let = T.Cast("float64", block * BLOCK) + arithmetic.spread(i, n)
                        net_y: T.let = T.Cast("float64", y) + arithmetic.spread(j, m)
                        locate(columns, rows, matrix, net_x, net_y, across, down, T.Or(row == 0, averaged))
                        gather(rows, columns, partial(add, total))
                    for i in T.serial(BLOCK):
                        if block * BLOCK + i < width:
                            store(out, y, block * BLOCK + i, 0, arithmetic.element(total[total_of(i, 0)], n * m, 0))
                            store(out, y, block * BLOCK + i, 1, arithmetic.element(total[total_of(i, 1)], n * m, 1))
                            store(out, y, block * BLOCK + i, 2, arithmetic.element(total[total_of(i, 2)], n * m, 2))

    @T.prim_func
    def packed(
        image_handle: T.handle,
        geometry: T.Buffer((8,), "int32"),
        matrix: T.Buffer((6,), "float64"),
        out: T.Buffer(shape, input_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        size = T.int64()
        image = T.match_buffer(image_handle, (size,), "uint8", align=1)
        gather = T.meta_var(partial(_gather_packed, image, geometry))
        total_of = T.meta_var(lambda i, channel: i * 4 + geometry[4 + arithmetic.source(channel)])
        warp(gather, total_of, _Axis(geometry[0], geometry[3]), _Axis(geometry[1], geometry[2]), matrix, out)

    @T.prim_func
    def nv12(
        luma_handle: T.handle,
        chroma_handle: T.handle,
        geometry: T.Buffer((8,), "int32"),
        matrix: T.Buffer((6,), "float64"),
        out: T.Buffer(shape, input_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        luma_size = T.int64()
        chroma_size = T.int64()
        luma = T.match_buffer(luma_handle, (luma_size,), "uint8", align=1)
        chroma = T.match_buffer(chroma_handle, (chroma_size,), "uint8", align=1)
        gather = T.meta_var(partial(_gather_nv12, luma, chroma, geometry))
        total_of = T.meta_var(lambda i, channel: arithmetic.source(channel) * BLOCK + i)
        warp(gather, total_of, _Axis(geometry[0], 1), _Axis(geometry[1], 1), matrix, out)

    return packed if pixel_format == "packed" else nv12
