"""What a warp computes of a pixel, the same on a CPU and on a GPU: samples, colours, the network's numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tvm import tirx

from tvmpose.errors import ModelError
from tvmpose.kernels.script import T

MAX_SAMPLES = 8  # along each axis of an output pixel

# BT.601, limited range (luma 16..235, chroma 16..240 around 128), to grey levels 0..255.
LUMA_GAIN = 255 / 219
RED_OF_V = 1.402 * 255 / 224
GREEN_OF_U = -1.772 * (0.114 / 0.587) * 255 / 224
GREEN_OF_V = -1.402 * (0.299 / 0.587) * 255 / 224
BLUE_OF_U = 1.772 * 255 / 224

# By channel red, green, blue: shares of U and V.
_OF_UV = ((0.0, RED_OF_V), (GREEN_OF_U, GREEN_OF_V), (BLUE_OF_U, 0.0))


def grey_of_yuv(y: Any, u: Any, v: Any, channel: int) -> Any:
    """Red, green or blue, float32 in 0..255, of Y, U and V as float32."""
    of_u, of_v = _OF_UV[channel]
    black = 16 * LUMA_GAIN + 128 * (of_u + of_v)
    return _grey(y * T.float32(LUMA_GAIN) + u * T.float32(of_u) + v * T.float32(of_v) - T.float32(black))


def picture_size(shape: tuple[int, ...], dtype: str, layout: str) -> tuple[int, int]:
    """Height and width of a network's input. Raises ModelError where it is not what warp_kernel takes."""
    channel_axis = 3 if layout == "NHWC" else 1
    if len(shape) != 4 or shape[0] != 1 or shape[channel_axis] != 3 or dtype not in ("float32", "int32", "uint8"):
        raise ModelError(f"network input {dtype}{list(shape)} is not one {layout} picture of float32, int32 or uint8")
    return (shape[1], shape[2]) if layout == "NHWC" else (shape[2], shape[3])


@dataclass(frozen=True)
class WarpArithmetic:
    """place: the dtype of places in the image. averaged: whether downscale is "mean". The rest is warp_kernel's."""

    place: Literal["float64", "float32"]
    input_dtype: str
    colour: Literal["rgb", "bgr"]
    mean: Sequence[float]
    std: Sequence[float]
    border: Literal["zero", "edge"]
    averaged: bool

    def samples(self, scale_x: Any, scale_y: Any) -> Any:
        """How many samples an output pixel takes along an axis of the network, whose step in the image this is."""
        if not self.averaged:
            return T.int32(1)
        scale = T.min(T.sqrt(scale_x * scale_x + scale_y * scale_y), self._place(MAX_SAMPLES))
        return T.max(T.Cast("int32", T.ceil(scale - self._place(1e-6))), 1)

    def spread(self, sample: Any, count: Any) -> Any:
        """Where a sample lies in its pixel: -0.5 to 0.5."""
        return (T.Cast(self.place, sample) + self._place(0.5)) / T.Cast(self.place, count) - self._place(0.5)

    def clamped(self, coordinate: Any, size: Any) -> Any:
        """A coordinate not more than a pixel outside the image: all that is farther away looks the same."""
        lowest, highest = (0, size - 1) if self.border == "edge" else (-1, size)
        return T.max(T.min(coordinate, T.Cast(self.place, highest)), self._place(lowest))

    def source(self, channel: int) -> int:
        """The colour, of red, green and blue, of a channel of the network."""
        return channel if self.colour == "rgb" else 2 - channel

    def element(self, total: Any, count: Any, channel: int) -> Any:
        """The network's number, in its dtype, for the sum of ``count`` samples."""
        grey = total / T.Cast("float32", count) if self.averaged else total
        value = grey * T.float32(1 / self.std[channel]) - T.float32(self.mean[channel] / self.std[channel])
        if self.input_dtype == "float32":
            return value
        return T.Cast(self.input_dtype, _grey(T.floor(value + T.float32(0.5))))

    def _place(self, value: float) -> Any:
        return tirx.const(value, self.place)


def _grey(value: Any) -> Any:
    return T.max(T.min(value, T.float32(255)), T.float32(0))
