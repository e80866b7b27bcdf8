"""Pixels to network input and network outputs to keypoints, in plain float64 NumPy.

What a bundle computes in compiled kernels, written once more from the definitions and sharing nothing with them: the
judge's side of the compile gate, and of the kernels' tests. Clear rather than fast.

Coordinates are pixels with the centre of the first at (0, 0). A matrix (a, b, c, d, e, f) takes the network's pixel
(x, y) to the image's (a x + b y + c, d x + e y + f).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tvmpose.pose.reference_heads import Float64, activate, find_bins, find_near_centre, find_peaks, read_coordinates

if TYPE_CHECKING:
    from tvmpose.cards.heads import AnyHead

PixelFormat: TypeAlias = Literal["rgb", "bgr", "rgba", "bgra", "nv12"]


def box_matrix(
    box: Sequence[float] | None,
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    padding: float,
    half_pixel: bool,
) -> Float64:
    """Return the matrix (float64[6]) of the crop around ``box`` (x, y, width, height in image pixels).

    The box is grown about its centre to the aspect ratio of ``input_size``, then its sides are multiplied by
    ``padding``; None is the whole image (``image_size``), grown but not padded. Sizes are (width, height).
    half_pixel: the crop's edges meet the outer edges of the corner pixels, otherwise their centres (a box's corner
    is the network's pixel (0, 0)).
    """
    if box is None:
        box, padding = (0.0, 0.0, *image_size), 1.0
    centre = np.array(box[:2], np.float64) + np.array(box[2:], np.float64) / 2
    sides_in = np.array(input_size, np.float64)
    scale = np.max(np.array(box[2:], np.float64) / sides_in) * padding
    corner = centre - scale * sides_in / 2
    if half_pixel:
        corner += scale / 2 - 0.5
    return np.array([scale, 0, corner[0], 0, scale, corner[1]])


def warp(
    image: NDArray[np.uint8],
    pixel_format: PixelFormat,
    matrix: Float64,
    *,
    input_size: tuple[int, int],
    colour: Literal["rgb", "bgr"],
    mean: Sequence[float],
    std: Sequence[float],
    border: Literal["zero", "edge"],
    downscale: Literal["point", "mean"],
) -> Float64:
    """Return the network's input, float64[height, width, 3], normalised, channels in the network's order.

    image: uint8[h, w, 3 or 4], for NV12 uint8[h * 3 / 2, w], the luma rows above the chroma rows. The parameters are
    those of a model card's [input] and [crop]; integer networks take floor(result + 0.5).
    """
    rgb = to_rgb(image, pixel_format)
    x, y = np.meshgrid(np.arange(input_size[0], dtype=np.float64), np.arange(input_size[1], dtype=np.float64))
    samples = [
        _bilinear(rgb, *apply_matrix(matrix, x + dx, y + dy), border) for dx, dy in _sample_offsets(matrix, downscale)
    ]
    channels = np.mean(samples, axis=0)[..., :: 1 if colour == "rgb" else -1]
    return (channels - np.array(mean, np.float64)) / np.array(std, np.float64)


def to_rgb(image: NDArray[np.uint8], pixel_format: PixelFormat) -> Float64:
    """Return float64[h, w, 3] in 0..255. NV12 is BT.601, limited range; nothing is rounded."""
    if pixel_format != "nv12":
        order = {"rgb": [0, 1, 2], "bgr": [2, 1, 0]}[pixel_format[:3]]
        return image[..., order].astype(np.float64)
    height = image.shape[0] * 2 // 3
    luma = (image[:height].astype(np.float64) - 16) / 219
    chroma = image[height:].reshape(height // 2, -1, 2).repeat(2, axis=0).repeat(2, axis=1)
    blue_difference, red_difference = np.moveaxis((chroma.astype(np.float64) - 128) / 224, 2, 0)
    # The weights of red and blue in luma, 0.299 and 0.114, define the rest.
    red = luma + 2 * (1 - 0.299) * red_difference
    blue = luma + 2 * (1 - 0.114) * blue_difference
    green = (luma - 0.299 * red - 0.114 * blue) / (1 - 0.299 - 0.114)
    return np.clip(np.stack([red, green, blue], axis=2) * 255, 0, 255)


def decode(
    head: AnyHead,
    outputs: Sequence[NDArray[np.generic]],
    matrix: Float64,
    *,
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel: bool,
) -> tuple[Float64, float]:
    """Return keypoints (float64[num_keypoints, 3]: x, y in image pixels, score) and the person's score.

    outputs: all of the network's, in its order. input_size: (width, height). The person's score is that of
    ``head.person_tensor``, without one the mean of the keypoints'. Of a network that finds many people it is the first
    one, all zeros where there is none; reference_people.decode_people returns them all.
    """
    if head.kind == "detections" or head.kind == "parts":
        from tvmpose.pose.reference_people import decode_all

        people = decode_all(
            head, outputs, matrix, num_keypoints=num_keypoints, input_size=input_size, half_pixel=half_pixel
        )
        return (people[0].keypoints, people[0].score) if people else (np.zeros((num_keypoints, 3)), 0.0)
    person = None
    if head.person_tensor is not None:
        person = activate(np.asarray(outputs[head.person_tensor], np.float64).flat[0], head.person_activation)
    sides = np.array(input_size, np.float64)
    if head.kind == "simcc":
        place, score = find_bins(head, outputs, num_keypoints, sides, half_pixel)
    elif head.kind == "centre":
        place, score = find_near_centre(head, outputs, num_keypoints, sides, half_pixel)
    elif head.kind == "heatmap":
        values = np.asarray(outputs[head.tensor], np.float64)
        place, score = find_peaks(head, values, num_keypoints, sides, half_pixel)
    else:
        values = np.asarray(outputs[head.tensor], np.float64)
        place, given = read_coordinates(head, values, num_keypoints, sides, half_pixel)
        score = np.full(num_keypoints, 1.0 if person is None else person) if given is None else given
    keypoints = np.stack([*apply_matrix(matrix, place[:, 0], place[:, 1]), score], axis=1)
    return keypoints, float(score.mean() if person is None else person)


def apply_matrix(matrix: Float64, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    a, b, c, d, e, f = matrix
    return a * x + b * y + c, d * x + e * y + f


def _sample_offsets(matrix: Float64, downscale: str) -> list[tuple[float, float]]:
    """Where the samples of an output pixel lie, from its centre: n evenly spread along each axis, n the scale."""
    if downscale == "point":
        return [(0.0, 0.0)]
    columns = np.array(matrix).reshape(2, 3)[:, :2]
    counts = np.clip(np.ceil(np.linalg.norm(columns, axis=0) - 1e-6), 1, 8).astype(int)
    x, y = ((np.arange(n) + 0.5) / n - 0.5 for n in counts)
    return [(float(dx), float(dy)) for dy in y for dx in x]


def _bilinear(image: Float64, x: Float64, y: Float64, border: str) -> Float64:
    """Sample float64[h, w, channels] at (x, y); "zero": black outside, "edge": the outermost pixels repeated."""
    height, width = image.shape[:2]
    if border == "edge":
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    framed = np.pad(image, ((1, 2), (1, 2), (0, 0)))  # the frame is black, and for "edge" of no weight
    x, y = np.clip(x, -1, width) + 1, np.clip(y, -1, height) + 1
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    u, v = (x - left)[..., None], (y - top)[..., None]
    upper = framed[top, left] * (1 - u) + framed[top, left + 1] * u
    lower = framed[top + 1, left] * (1 - u) + framed[top + 1, left + 1] * u
    return upper * (1 - v) + lower * v
