"""What pictures suffer outside a data set: people half hidden, motion, too little or too much light, compression.

The same change every time: what is random comes from the picture's number.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np

from tvmpose.accuracy.dataset import AnnotatedPicture

Change: TypeAlias = Callable[[np.ndarray, AnnotatedPicture], np.ndarray]
"""From uint8 (H, W, 3) BGR to another such picture of the same size."""

HIDDEN_SHARE = 0.25  # of a person's box
GREY = 127


def occlude(pixels: np.ndarray, picture: AnnotatedPicture) -> np.ndarray:
    """A grey rectangle of the box's proportions over a quarter of each person, anywhere in their box."""
    changed, random = pixels.copy(), np.random.default_rng(picture.image_id)
    for x, y, width, height in (person.box for person in picture.people):
        sides = np.array([width, height]) * HIDDEN_SHARE**0.5
        corner = np.array([x, y]) + random.random(2) * (np.array([width, height]) - sides)
        left, top = np.maximum(np.round(corner), 0).astype(int)
        right, bottom = np.maximum(np.round(corner + sides), 0).astype(int)
        changed[top:bottom, left:right] = GREY
    return changed


def blur(pixels: np.ndarray, picture: AnnotatedPicture) -> np.ndarray:
    """Motion along a straight line, 3 % of the picture's longer side, in a direction of its own for each picture."""
    length = max(3, round(0.03 * max(pixels.shape[:2])) | 1)
    angle = np.random.default_rng(picture.image_id).random() * np.pi
    middle = np.array([length // 2, length // 2])
    reach = length // 2 * np.array([np.cos(angle), np.sin(angle)])
    kernel = np.zeros((length, length), np.float32)
    start, end = (tuple(int(v) for v in np.round(middle + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _brightness(factor: float) -> Change:
    table = np.clip(np.round(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return lambda pixels, picture: cv2.LUT(pixels, table)


def compress(pixels: np.ndarray, picture: AnnotatedPicture) -> np.ndarray:
    """JPEG of quality 10."""
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 10])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        "occlusion": occlude,
        "motion blur": blur,
        "brightness × 0.3": _brightness(0.3),
        "brightness × 2": _brightness(2.0),
        "JPEG, quality 10": compress,
    }
)
