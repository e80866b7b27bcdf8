"""Keypoints in the form of COCO's results files, which pycocotools' loadRes and most viewers read."""

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import TypedDict

from tvmpose.runtime import Person

PERSON_CATEGORY = 1


class CocoResult(TypedDict):
    """One person in one image; ``file_name`` is an addition of ours for images that are not COCO's."""

    image_id: int | str
    file_name: str
    category_id: int
    keypoints: list[float]  # x, y, score of each joint, in pixels with (0, 0) the first pixel's centre
    score: float
    bbox: list[float]  # x, y, width, height


def coco_results(file_name: str, people: Sequence[Person]) -> list[CocoResult]:
    """The entries for one image. COCO's image id is the file's number; other names stand for themselves.

    A joint that is not a number, which JSON cannot hold, becomes 0, 0, 0: COCO's sign for an absent one.
    """
    stem = PurePath(file_name).stem
    image_id = int(stem) if stem.isascii() and stem.isdigit() else stem
    return [
        CocoResult(
            image_id=image_id,
            file_name=PurePath(file_name).name,
            category_id=PERSON_CATEGORY,
            keypoints=[number for joint in person.keypoints.tolist() for number in _joint(joint)],
            score=round(person.score, 5) if math.isfinite(person.score) else 0.0,
            bbox=[round(side, 3) for side in person.box],
        )
        for person in people
    ]


def _joint(joint: Sequence[float]) -> tuple[float, float, float]:
    """Thousandths of a pixel: finer than any network, and a third of the text."""
    x, y, score = joint
    finite = math.isfinite(x) and math.isfinite(y) and math.isfinite(score)
    return (round(x, 3), round(y, 3), round(score, 5)) if finite else (0.0, 0.0, 0.0)
