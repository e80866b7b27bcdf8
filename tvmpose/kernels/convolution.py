"""What a convolution computes, in NHWC, in the form that its schedule wants: the float workhorses.

The computations pad their input and pack their weights. convolution_schedule.py makes loops of them.
"""

from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

TEMPLATE = "tvmpose.template"  # block annotation that tells the scheduler which template a reduction belongs to


@dataclass(frozen=True)
class Window:
    """Strides, dilation (rows, columns) and padding (top, left, bottom, right) of a convolution."""

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]

    def output_size(self, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
        height, width = (
            (size[axis] + self.padding[axis] + self.padding[axis + 2] - (kernel[axis] - 1) * self.dilation[axis] - 1)
            // self.strides[axis]
            + 1
            for axis in (0, 1)
        )
        return height, width


def pack_weights(weight: np.ndarray, lanes: int) -> np.ndarray:
    """(kh, kw, inputs, outputs) -> (blocks, kh, kw, inputs, lanes), outputs zero-padded to whole vectors."""
    height, width, inputs, outputs = weight.shape
    blocks = -(-outputs // lanes)
    padded = np.zeros((height, width, inputs, blocks * lanes), weight.dtype)
    padded[..., :outputs] = weight
    return np.ascontiguousarray(padded.reshape(height, width, inputs, blocks, lanes).transpose(3, 0, 1, 2, 4))


def conv2d(data: te.Tensor, packed: te.Tensor, window: Window, outputs: int) -> te.Tensor:
    """data (N, H, W, I) float, packed (blocks, kh, kw, I, lanes) -> (N, OH, OW, outputs)."""
    blocks, kernel_height, kernel_width, inputs, lanes = (int(n) for n in packed.shape)
    padded = pad_picture(data, window.padding)
    height, width = window.output_size(_picture_size(data), (kernel_height, kernel_width))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    ri = te.reduce_axis((0, inputs), "ri")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    conv = te.compute(
        (data.shape[0], height, width, blocks * lanes),
        lambda n, y, x, c: te.sum(
            padded[n, y * sy + ry * dy, x * sx + rx * dx, ri] * packed[c // lanes, ry, rx, ri, c % lanes],
            axis=[ry, rx, ri],
        ),
        name="conv",
        attrs={TEMPLATE: "conv2d"},
    )
    return _crop(conv, outputs)


def planar_conv2d(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """For one to three outputs: data (1, H, W, I) float, weight (kh, kw, I, O) -> (1, OH, OW, O).

    Too few channels for a vector, so the padded copy is planar and vectors run along the rows of pixels.
    """
    kernel_height, kernel_width, inputs, outputs = (int(n) for n in weight.shape)
    padded = pad_picture(data, window.padding)
    height, width = window.output_size(_picture_size(data), (kernel_height, kernel_width))
    planes = te.compute((1, inputs, *padded.shape[1:3]), lambda n, c, y, x: padded[n, y, x, c], name="planes")
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    ri = te.reduce_axis((0, inputs), "ri")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    return te.compute(
        (1, height, width, outputs),
        lambda n, y, x, c: te.sum(
            planes[n, ri, y * sy + ry * dy, x * sx + rx * dx] * weight[ry, rx, ri, c], axis=[ry, rx, ri]
        ),
        name="conv",
        attrs={TEMPLATE: "planar_conv2d"},
    )


def pack_transposed_weights(
    weight: np.ndarray, lanes: int, strides: tuple[int, int], padding: tuple[int, int]
) -> np.ndarray:
    """(inputs, outputs, kh, kw) -> (blocks, sy, sx, taps_y, taps_x, inputs, lanes): one small kernel per output phase.

    Output y = s i + a takes kernel row (a + p) % s + s t from input row i + (a + p) // s - t; missing rows are zero.
    """
    inputs, outputs, height, width = weight.shape
    (sy, sx), (taps_y, taps_x) = strides, (-(-height // strides[0]), -(-width // strides[1]))
    phases = np.zeros((sy, sx, taps_y, taps_x, inputs, outputs), weight.dtype)
    for a, b, ty, tx in np.ndindex(sy, sx, taps_y, taps_x):
        ky, kx = (a + padding[0]) % sy + sy * ty, (b + padding[1]) % sx + sx * tx
        if ky < height and kx < width:
            phases[a, b, ty, tx] = weight[:, :, ky, kx]
    blocks = -(-outputs // lanes)
    padded = np.zeros((*phases.shape[:-1], blocks * lanes), weight.dtype)
    padded[..., :outputs] = phases
    return np.ascontiguousarray(np.moveaxis(padded.reshape(*phases.shape[:-1], blocks, lanes), -2, 0))


def conv2d_transpose(
    data: te.Tensor, packed: te.Tensor, padding: tuple[int, int], size: tuple[int, int], outputs: int
) -> te.Tensor:
    """data (N, H, W, I) -> (N, *size, outputs), as sub-pixel convolutions: no multiplication by an inserted zero.

    size must be a whole number of strides; padding is (top, left).
    """
    blocks, sy, sx, taps_y, taps_x, inputs, lanes = (int(n) for n in packed.shape)
    rows, columns = size[0] // sy, size[1] // sx
    before = (taps_y - 1, taps_x - 1)
    below, right = (
        max(0, n - 1 + (stride - 1 + p) // stride - (extent - 1))
        for n, stride, p, extent in zip((rows, columns), (sy, sx), padding, _picture_size(data), strict=True)
    )
    padded = pad_picture(data, (*before, below, right))
    ty, tx = te.reduce_axis((0, taps_y), "ty"), te.reduce_axis((0, taps_x), "tx")
    ri = te.reduce_axis((0, inputs), "ri")
    top, left = padding
    conv = te.compute(
        (data.shape[0], rows, columns, sy, sx, blocks * lanes),
        lambda n, i, j, a, b, c: te.sum(
            padded[n, i + (a + top) // sy + (taps_y - 1 - ty), j + (b + left) // sx + (taps_x - 1 - tx), ri]
            * packed[c // lanes, a, b, ty, tx, ri, c % lanes],
            axis=[ty, tx, ri],
        ),
        name="conv",
        attrs={TEMPLATE: "conv2d_transpose"},
    )
    return te.compute(
        (data.shape[0], *size, outputs),
        lambda n, y, x, c: conv[n, y // sy, x // sx, y % sy, x % sx, c],
        name="shuffle",
    )


def depthwise_conv2d(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """data (1, H, W, C) float, weight (kh, kw, C, zero-padded to whole vectors) -> (1, OH, OW, C)."""
    kernel_height, kernel_width, channels = (int(n) for n in weight.shape)
    padded = pad_picture(data, window.padding, channels)
    height, width = window.output_size(_picture_size(data), (kernel_height, kernel_width))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    conv = te.compute(
        (1, height, width, channels),
        lambda n, y, x, c: te.sum(padded[n, y * sy + ry * dy, x * sx + rx * dx, c] * weight[ry, rx, c], axis=[ry, rx]),
        name="conv",
        attrs={TEMPLATE: "depthwise_conv2d"},
    )
    return _crop(conv, int(data.shape[3]))


def _picture_size(data: te.Tensor) -> tuple[int, int]:
    return int(data.shape[1]), int(data.shape[2])


def pad_picture(data: te.Tensor, padding: tuple[int, int, int, int], channels: int | None = None) -> te.Tensor:
    """Zeros around the picture, and behind its channels up to `channels`."""
    top, left, bottom, right = padding
    batch, height, width, depth = (int(n) for n in data.shape)
    channels = channels or depth
    if not any(padding) and channels == depth:
        return data
    zero = tirx.const(0, data.dtype)

    def value(n, y, x, c):
        inside = [y >= top, y < top + height, x >= left, x < left + width]
        inside += [c < depth] if channels != depth else []
        return tirx.if_then_else(tirx.all(*inside), data[n, y - top, x - left, c], zero)

    return te.compute((batch, height + top + bottom, width + left + right, channels), value, name="pad")


def _crop(conv: te.Tensor, channels: int) -> te.Tensor:
    """Without the channels that only fill up the last vector."""
    if int(conv.shape[3]) == channels:
        return conv
    return te.compute((*conv.shape[:3], channels), lambda n, y, x, c: conv[n, y, x, c], name="crop")
