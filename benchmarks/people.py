"""Annotated people cut out of photos: what single-person networks are calibrated and compared on."""

from pathlib import Path

import cv2
import numpy as np

from tvmpose.quantize.pictures import people

MARGIN = 1.25  # of the annotated box, whose middle stays


def write_people(annotations: Path, images: Path, folder: Path, count: int) -> Path:
    """The largest person of each photo, of those where they are largest, as PNG files in a new folder."""
    boxes = {name: max((p["bbox"] for p in found), key=_area) for name, found in people(annotations).items()}
    folder.mkdir()
    for name in sorted(boxes, key=lambda name: (-_area(boxes[name]), name))[:count]:
        picture = cv2.imread(str(images / name), cv2.IMREAD_COLOR)
        cv2.imwrite(str(folder / f"{Path(name).stem}.png"), cut_out(picture, boxes[name]))
    return folder


def cut_out(picture: np.ndarray, box: list[float]) -> np.ndarray:
    """uint8 (h, w, 3): what lies in a box (x, y, width, height) with its margin, as far as the picture goes."""
    (x, y), sides = box[:2], np.array(box[2:])
    middle, half = np.array([x, y]) + sides / 2, sides * MARGIN / 2
    left, top = np.maximum(np.floor(middle - half), 0).astype(int)
    right, bottom = np.ceil(middle + half).astype(int)
    return picture[top:bottom, left:right]


def _area(box: list[float]) -> float:
    return float(box[2] * box[3])
