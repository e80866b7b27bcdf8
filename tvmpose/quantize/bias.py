"""Bias correction: rounding weights moves a layer's mean result, and its bias takes that back.

What moves is the sum over the weights' errors, each times the mean of what it is multiplied with on the calibration
pictures; sums being linear, the mean of the layer's input is enough (Nagel et al., arXiv:1906.04721, section 4.2).
"""

import numpy as np

from tvmpose.quantize.network import Layer


def mean_sums(layer: Layer, mean_input: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """float64 (outputs,): the mean over all places of what a layer with these weights adds up, without its bias.

    mean_input: (height, width, channels); weight: in the layout of the layer's own.
    """
    data = mean_input.astype("float64")
    out_height, out_width = (int(layer.call.ty.shape[axis]) for axis in (1, 2))
    places = [(y, x) for y in range(_kernel(layer)[0]) for x in range(_kernel(layer)[1])]
    total = np.zeros(len(layer.bias))
    for y, x in places:
        rows = _taken(layer, 0, y, data.shape[0], out_height)
        columns = _taken(layer, 1, x, data.shape[1], out_width)
        seen = data[rows][:, columns].sum(axis=(0, 1))
        tap = _tap(layer, weight, y, x)
        total += seen * tap if layer.is_depthwise else seen @ tap
    return total / (out_height * out_width)


def _kernel(layer: Layer) -> tuple[int, int]:
    first = 2 if layer.call.op.name == "relax.nn.conv2d_transpose" else 0
    return layer.weight.shape[first], layer.weight.shape[first + 1]


def _taken(layer: Layer, axis: int, tap: int, extent: int, out_extent: int) -> np.ndarray:
    """The rows (columns) of the input that a tap meets, padding left out."""
    attrs = layer.call.attrs
    stride, dilation, before = int(attrs.strides[axis]), int(attrs.dilation[axis]), int(attrs.padding[axis])
    if layer.call.op.name == "relax.nn.conv2d_transpose":
        rows = np.arange(extent)
        reached = rows * stride + tap * dilation - before
        return rows[(reached >= 0) & (reached < out_extent)]
    rows = np.arange(out_extent) * stride + tap * dilation - before
    return rows[(rows >= 0) & (rows < extent)]


def _tap(layer: Layer, weight: np.ndarray, y: int, x: int) -> np.ndarray:
    """(inputs, outputs), for a depthwise layer (channels,)."""
    layout = str(layer.call.attrs.kernel_layout)
    if layout == "IOHW":
        return weight[:, :, y, x]
    tap = weight[y, x] if layout == "HWIO" else weight[y, x].T
    return tap[0] if layer.is_depthwise else tap
