"""Frames of a video in, people with numbers out: a detector now and then, landmarks in every frame."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tvmpose.errors import InputError
from tvmpose.pose.regions import Box, Region, detected_region, followed_region, is_turning, overlap
from tvmpose.pose.similarity import keypoint_similarity
from tvmpose.pose.tracking import Measure, Tracker
from tvmpose.runtime import Person
from tvmpose.runtime.smooth import Smoother

SAME_REGION = 0.5  # intersection over union of a detection and someone who is followed already
SAME_PERSON = 0.7  # object keypoint similarity of two results that are one person, whom two regions have found


class Network(Protocol):
    """Of runtime.Pose, what the pipeline needs."""

    @property
    def keypoint_names(self) -> tuple[str, ...]: ...

    def __call__(
        self,
        frame: np.ndarray,
        boxes: Sequence[Sequence[float]] | None = None,
        *,
        angles: Sequence[float] | None = None,
        format: str = "bgr",
    ) -> list[Person]: ...


class GivenBoxes:
    """In place of a detector: these boxes, or the whole frame, whenever it is asked."""

    keypoint_names: tuple[str, ...] = ()

    def __init__(self, boxes: Sequence[Box] = ()) -> None:
        self.boxes = tuple(boxes)

    def __call__(
        self,
        frame: np.ndarray,
        boxes: Sequence[Sequence[float]] | None = None,
        *,
        angles: Sequence[float] | None = None,
        format: str = "bgr",
    ) -> list[Person]:
        height = frame.shape[0] * 2 // 3 if format == "nv12" else frame.shape[0]
        whole = (0.0, 0.0, float(frame.shape[1]), float(height))
        return [Person(1.0, box, np.zeros((0, 3), np.float32)) for box in self.boxes or (whole,)]


@dataclass(frozen=True)
class TrackedPerson(Person):
    """``id`` is the same in every frame in which this person is found again."""

    id: int


class Pipeline:
    """Finds people, follows them, and gives each a number.

    detector: a network that finds people itself, with boxes or, as BlazePose's does, with the points that say where and
    how turned they are. landmark: a network that finds the keypoints of one person in a box. The detector looks at
    every ``every``-th frame (None: at none), and wherever nobody is followed; in between a person is looked for around
    their last keypoints, as MediaPipe and MoveNet do. Without ``landmark`` the detector's own keypoints are the result,
    of every frame: bottom-up networks.

    least_score: people below it are dropped, and lost. most_people: opened networks have a ``max_people`` of their own,
    which must not be smaller. smoother: makes one for each person, as runtime.smooth.OneEuro does; people are followed
    by their unsmoothed keypoints.
    """

    def __init__(
        self,
        detector: Network,
        landmark: Network | None = None,
        *,
        every: int | None = 10,
        least_score: float = 0.3,
        most_people: int = 16,
        measure: Measure = "iou",
        smoother: Callable[[], Smoother] | None = None,
    ) -> None:
        if (every is not None and every < 1) or most_people < 1:
            raise InputError(f"every is {every} and most_people {most_people}: both must be at least 1")
        self.detector, self.landmark = detector, landmark
        self.every, self.least_score, self.most_people = every, least_score, most_people
        self.keypoint_names = (landmark or detector).keypoint_names
        self._turning = landmark is not None and is_turning(detector.keypoint_names)
        self._tracker = Tracker(self.keypoint_names, measure)
        self._make_smoother = smoother
        self.reset()

    def reset(self) -> None:
        """Forgets everyone, as before the first frame of another video."""
        self._tracker.reset()
        self._smoothers: dict[int, Smoother] = {}
        self._followed: list[Region] = []
        self._frame = 0

    def __call__(self, frame: np.ndarray, seconds: float | None = None, *, format: str = "bgr") -> list[TrackedPerson]:
        """The people in the next frame; ``frame`` and ``format`` are those of runtime.Pose.

        seconds: the frame's time, for the smoother; without, that of the call. Raises what the networks raise.
        """
        people = self._look(frame, format)
        self._frame += 1
        ids = self._tracker.update(people)
        found = [TrackedPerson(p.score, p.box, p.keypoints, i) for p, i in zip(people, ids, strict=True)]
        return self._smoothed(found, time.monotonic() if seconds is None else seconds)

    def _look(self, frame: np.ndarray, format: str) -> list[Person]:
        if self.landmark is None:
            people = self.detector(frame, format=format)
            return self._distinct(people)
        regions = self._regions(frame, format)
        if not regions:
            self._followed = []
            return []
        boxes, angles = [region.box for region in regions], [region.angle for region in regions]
        turns = angles if self._turning else None
        people = self._distinct(self.landmark(frame, boxes, angles=turns, format=format))
        following = (followed_region(person, self.keypoint_names, self._turning) for person in people)
        self._followed = [region for region in following if region]
        return people

    def _regions(self, frame: np.ndarray, format: str) -> list[Region]:
        """Of those who are followed, and of those whom the detector finds beside them."""
        width, height = frame.shape[1], frame.shape[0] * 2 // 3 if format == "nv12" else frame.shape[0]
        regions = list(self._followed)
        if not regions or (self.every and self._frame % self.every == 0):
            for person in self.detector(frame, format=format):
                region = detected_region(person, self.detector.keypoint_names)
                if all(overlap(region.box, other.box) < SAME_REGION for other in self._followed):
                    regions.append(region)
        return [region for region in regions if region.meets(width, height)][: self.most_people]

    def _distinct(self, people: Sequence[Person]) -> list[Person]:
        """Those who are sure enough, each once: the surest."""
        kept: list[Person] = []
        for person in sorted(people, key=lambda person: -person.score):
            if person.score >= self.least_score and not any(self._are_one(person, other) for other in kept):
                kept.append(person)
        return kept[: self.most_people]

    def _are_one(self, a: Person, b: Person) -> bool:
        return keypoint_similarity(a.keypoints, b.keypoints, self.keypoint_names) > SAME_PERSON

    def _smoothed(self, people: list[TrackedPerson], seconds: float) -> list[TrackedPerson]:
        if self._make_smoother is None:
            return people
        known = self._tracker.known
        self._smoothers = {key: smoother for key, smoother in self._smoothers.items() if key in known}
        steady = []
        for person in people:
            smoother = self._smoothers.setdefault(person.id, self._make_smoother())
            keypoints = smoother(person.keypoints, seconds, max(person.box[2:]))
            steady.append(replace(person, keypoints=keypoints))
        return steady
