"""Where to look for a person: from what a detector found, or from the keypoints of the last frame.

A region is a box by its edges, and an angle in radians by which it is turned about its centre, clockwise as one sees
the picture. The landmark network's own padding comes on top of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvmpose.runtime import Person

Box = tuple[float, float, float, float]  # x, y, width, height

# BlazePose's circle about the whole body, whose radius its landmark network returns in a keypoint of its own that is
# no landmark. It is that of these two, whichever is larger: 1.8 of the trunk is its median over people of COCO, and it
# holds all landmarks. Its centre and direction are those of the hips and shoulders, exactly.
TRUNK_TO_RADIUS = 1.8
SURE_SCORE = 0.2  # joints that a box is drawn around
MARGIN = 1.1  # from the outermost joints to the outline of a person: heads and hands are larger than their joints


@dataclass(frozen=True)
class Region:
    """Where to look."""

    box: Box
    angle: float = 0.0

    def meets(self, width: int, height: int) -> bool:
        """Whether a part of it lies in a picture of this size."""
        x, y, wide, high = self.box
        return bool(np.isfinite(self.box).all()) and x < width and y < height and x + wide > 0 and y + high > 0


def detected_region(person: Person, names: Sequence[str]) -> Region:
    """Of a person that a detector found: turned where it says how, else its box."""
    if not is_turning(names):
        return Region(person.box)
    centre, end = (person.keypoints[list(names).index(name), :2] for name in ("hips", "body_circle"))
    return circle_region(centre, end)


def is_turning(names: Sequence[str]) -> bool:
    """Whether a detector with these keypoints says how people are turned, as BlazePose's does."""
    return {"hips", "body_circle"} <= set(names)


def circle_region(centre: np.ndarray, end: np.ndarray, radius: float | None = None) -> Region:
    """The square around a circle about ``centre``, turned so that ``end`` is straight up: MediaPipe's alignment points.

    Without a radius the circle goes through ``end``. Both are (2,), in pixels from the first one's centre.
    """
    across, down = (float(v) for v in np.asarray(end, "float64") - centre)
    radius = float(np.hypot(across, down)) if radius is None else radius
    middle = np.asarray(centre, "float64") + 0.5  # a box counts from the first pixel's edge
    x, y = (float(v) for v in middle - radius)
    return Region((x, y, 2 * radius, 2 * radius), float(np.arctan2(across, -down)))


def followed_region(person: Person, names: Sequence[str], turning: bool) -> Region | None:
    """Where the person of the last frame will be in the next; None where too few joints are sure.

    turning: as BlazePose wants it; needs hips and shoulders.
    """
    if turning:
        joints = {name: person.keypoints[list(names).index(name), :2].astype("float64") for name in _TRUNK}
        hips = (joints["left_hip"] + joints["right_hip"]) / 2
        shoulders = (joints["left_shoulder"] + joints["right_shoulder"]) / 2
        farthest = float(np.linalg.norm(person.keypoints[:, :2] - hips, axis=1).max())
        radius = max(TRUNK_TO_RADIUS * float(np.linalg.norm(shoulders - hips)), farthest)
        return circle_region(hips, shoulders, radius)
    box = joints_box(person.keypoints)
    return None if box is None else Region(grown(box, MARGIN))


_TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")


def joints_box(keypoints: np.ndarray, sure: float = SURE_SCORE) -> Box | None:
    """The box around the joints that are sure; None where there are not two of them, in both directions apart."""
    joints = keypoints[keypoints[:, 2] >= sure, :2].astype("float64")
    sides = np.ptp(joints, axis=0) if len(joints) else np.zeros(2)
    if not sides.min() > 0:
        return None
    x, y = joints.min(axis=0) + 0.5
    return float(x), float(y), float(sides[0]), float(sides[1])


def grown(box: Box, factor: float) -> Box:
    """About its centre."""
    x, y, width, height = box
    return x - (factor - 1) * width / 2, y - (factor - 1) * height / 2, factor * width, factor * height


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(np.add(a[:2], a[2:]), np.add(b[:2], b[2:]))
    shared = float(np.clip(high - low, 0, None).prod())
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0.0
