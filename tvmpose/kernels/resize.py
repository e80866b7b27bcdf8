"""Bilinear resizing in NHWC: places and weights are tables, made when compiling, so a pixel costs three lerps."""

import numpy as np
from tvm import te

MODES = ("half_pixel", "align_corners", "asymmetric")


def source_places(size: int, out_size: int, mode: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output place: the lower and upper source index (int32) and the upper one's weight (float32).

    mode is ONNX's coordinate_transformation_mode.
    """
    out = np.arange(out_size, dtype=np.float64)
    if mode == "half_pixel":
        place = (out + 0.5) * size / out_size - 0.5
    elif mode == "align_corners":
        place = out * (size - 1) / max(out_size - 1, 1)
    else:
        place = out * size / out_size
    place = np.clip(place, 0, size - 1)
    low = np.floor(place).astype("int32")
    return low, np.minimum(low + 1, size - 1).astype("int32"), (place - low).astype("float32")


def resize_bilinear(
    data: te.Tensor,
    top: te.Tensor,
    bottom: te.Tensor,
    down: te.Tensor,
    left: te.Tensor,
    right: te.Tensor,
    across: te.Tensor,
) -> te.Tensor:
    """data (1, H, W, C); tables of source_places for rows (OH) and columns (OW) -> (1, OH, OW, C)."""
    height, width = int(top.shape[0]), int(left.shape[0])

    def row(n, y, x, c):
        first, second = data[n, y, left[x], c], data[n, y, right[x], c]
        return first + (second - first) * across[x]

    return te.compute(
        (1, height, width, int(data.shape[3])),
        lambda n, y, x, c: row(n, top[y], x, c) + (row(n, bottom[y], x, c) - row(n, top[y], x, c)) * down[y],
        name="resize",
    )
