"""Who is who from frame to frame: a number for each person, kept as long as they are found near where they were."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from tvmpose.pose.regions import Box, joints_box, overlap
from tvmpose.pose.similarity import keypoint_similarity
from tvmpose.runtime import Person

Measure: TypeAlias = Literal["iou", "oks"]


def boxes_alike(a: np.ndarray, b: np.ndarray, names: Sequence[str]) -> float:
    """Intersection over union of the squares around the sure joints; around all where too few are.

    Squares, because who stands still with arms down is a thin box, of which a small step leaves nothing in common.
    """
    first, second = (_square(joints_box(joints) or _whole_box(joints)) for joints in (a, b))
    return overlap(first, second)


def _square(box: Box) -> Box:
    x, y, width, height = box
    side = max(width, height)
    return x + (width - side) / 2, y + (height - side) / 2, side, side


def _whole_box(keypoints: np.ndarray) -> Box:
    x, y = (float(v) for v in keypoints[:, :2].min(axis=0))
    width, height = (float(v) for v in np.ptp(keypoints[:, :2], axis=0))
    return x, y, width, height


# The measure, and how alike two people have to be in it to be one.
MEASURES: Mapping[Measure, tuple[Callable[[np.ndarray, np.ndarray, Sequence[str]], float], float]] = MappingProxyType(
    {"iou": (boxes_alike, 0.3), "oks": (keypoint_similarity, 0.3)}
)


@dataclass(frozen=True)
class _Track:
    id: int
    keypoints: np.ndarray
    seen: int  # the frame


class Tracker:
    """Numbers people from 0 on, in the order in which they appear.

    names: of the keypoints. patience: for how many frames someone who is not found keeps their number.
    """

    def __init__(self, names: Sequence[str], measure: Measure = "iou", patience: int = 25) -> None:
        self.names, self.patience = tuple(names), patience
        self._alike, self._least = MEASURES[measure]
        self.reset()

    def reset(self) -> None:
        """Forgets everyone, and counts from 0 again."""
        self._tracks: dict[int, _Track] = {}
        self._frame = self._next = 0

    def update(self, people: Sequence[Person]) -> list[int]:
        """The number of each of the people in the next frame: the most alike pairs first, newcomers last."""
        pairs = [
            (self._alike(person.keypoints, track.keypoints, self.names), i, track.id)
            for i, person in enumerate(people)
            for track in self._tracks.values()
        ]
        ids: dict[int, int] = {}
        for alike, i, track_id in sorted(pairs, key=lambda pair: -pair[0]):
            if alike >= self._least and i not in ids and track_id not in ids.values():
                ids[i] = track_id
        for i in range(len(people)):
            if i not in ids:
                ids[i], self._next = self._next, self._next + 1
        for i, person in enumerate(people):
            self._tracks[ids[i]] = _Track(ids[i], person.keypoints, self._frame)
        self._tracks = {key: track for key, track in self._tracks.items() if self._frame - track.seen <= self.patience}
        self._frame += 1
        return [ids[i] for i in range(len(people))]

    @property
    def known(self) -> frozenset[int]:
        """Everyone who has not been forgotten."""
        return frozenset(self._tracks)
