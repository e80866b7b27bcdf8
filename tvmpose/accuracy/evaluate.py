"""Systems over a data set: people's own boxes in, and what the field measures out, row by row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tvmpose.accuracy.coco_ap import AveragePrecision, Detection, average_precision
from tvmpose.accuracy.dataset import AnnotatedPerson, Dataset, common_keypoints
from tvmpose.accuracy.from_pixels import FromPixels
from tvmpose.accuracy.joint_errors import JointErrors, joint_errors
from tvmpose.accuracy.robustness import Change
from tvmpose.accuracy.systems import System
from tvmpose.benchmark.contestant import run_frames
from tvmpose.benchmark.timing import Timing, summarize

METRICS = ("oks", "pck", "pckh")
UNCHANGED = "as they are"
ROUNDS, SECONDS = 3, 0.3

Estimate = Callable[[np.ndarray, Sequence[float]], np.ndarray]
"""From a picture, uint8 BGR, and a box (x, y, width, height) to keypoints (K, 3) in pixels of the picture."""


@dataclass(frozen=True)
class Row:
    """One system on one kind of pictures. ``precision`` and ``errors`` are None where they were not asked for."""

    system: str
    runtime: str
    pictures: str  # UNCHANGED, or a key of robustness.CHANGES
    people: int
    keypoints: int  # that are both annotated and found
    precision: AveragePrecision | None
    errors: JointErrors | None
    timing: Timing | None  # of the network alone; with unchanged pictures only


def evaluate(
    systems: Sequence[System | FromPixels],
    dataset: Dataset,
    metrics: Sequence[str],
    changes: Mapping[str, Change],
    progress: Callable[[str], None] = lambda text: None,
) -> Iterator[Row]:
    """Every system on the pictures as they are, then changed; metrics: of METRICS."""
    timings = _throughput(systems)
    for system, timing in zip(systems, timings, strict=True):
        for name, change in {UNCHANGED: None, **changes}.items():
            progress(f"{system.name}, {system.runtime}: pictures {name}")
            rest = (name, dataset, metrics, change, None if change else timing)
            yield _row_from_pixels(system, *rest) if isinstance(system, FromPixels) else _boxed_row(system, *rest)


def _boxed_row(
    system: System,
    name: str,
    dataset: Dataset,
    metrics: Sequence[str],
    change: Change | None,
    timing: Timing | None,
) -> Row:
    people, found = find(system.estimate, dataset, change)
    rows, columns = common_keypoints(system.keypoint_names, dataset)
    joints = [keypoints[rows] for keypoints in found]
    precision = precision_of(people, joints, dataset, columns) if "oks" in metrics else None
    errors = joint_errors(people, joints, dataset.names, columns) if {"pck", "pckh"} & set(metrics) else None
    return Row(system.name, system.runtime, name, len(people), len(columns), precision, errors, timing)


def _row_from_pixels(
    system: FromPixels,
    name: str,
    dataset: Dataset,
    metrics: Sequence[str],
    change: Change | None,
    timing: Timing | None,
) -> Row:
    """Nobody's joints are anybody's: there is average precision alone."""
    rows, columns = common_keypoints(system.keypoint_names, dataset)
    detections, people = [], 0
    for picture, pixels in dataset.read():
        people += len(picture.people)
        found = (joints[rows] for joints in system.find(change(pixels, picture) if change else pixels))
        detections += [Detection(picture.image_id, joints, float(joints[:, 2].mean())) for joints in found]
    precision = average_precision(detections, dataset, columns) if "oks" in metrics else None
    return Row(system.name, system.runtime, name, people, len(columns), precision, None, timing)


def find(
    estimate: Estimate, dataset: Dataset, change: Change | None = None
) -> tuple[list[AnnotatedPerson], list[np.ndarray]]:
    """Everyone who counts, and the keypoints that are found in their box."""
    people: list[AnnotatedPerson] = []
    found: list[np.ndarray] = []
    for picture, pixels in dataset.read():
        seen = change(pixels, picture) if change else pixels
        people += picture.people
        found += [np.asarray(estimate(seen, person.box), "float64") for person in picture.people]
    return people, found


def precision_of(
    people: Sequence[AnnotatedPerson], found: Sequence[np.ndarray], dataset: Dataset, columns: Sequence[int]
) -> AveragePrecision:
    """Average precision where the score of each is the mean of the keypoints'; see average_precision."""
    detections = [
        Detection(person.image_id, joints, float(joints[:, 2].mean()))
        for person, joints in zip(people, found, strict=True)
    ]
    return average_precision(detections, dataset, columns)


def boxed_precision(estimate: Estimate, keypoint_names: Sequence[str], dataset: Dataset) -> AveragePrecision:
    """All at once: from people's own boxes, so that systems can be compared; no COCO result."""
    rows, columns = common_keypoints(keypoint_names, dataset)
    people, found = find(estimate, dataset)
    return precision_of(people, [keypoints[rows] for keypoints in found], dataset, columns)


def _throughput(systems: Sequence[System | FromPixels]) -> list[Timing]:
    """Tensors in, tensors out, of noise; in turns, so that all of them see the same machine."""
    random = np.random.default_rng(0)
    inputs = []
    for system in systems:
        noise = [(spec, random.integers(0, 128, spec.shape)) for spec in system.input_specs]
        inputs.append([(n / 255 if s.dtype.startswith("float") else n).astype(s.dtype) for s, n in noise])
    rounds: list[list[list[int]]] = [[] for _ in systems]
    for _ in range(ROUNDS):
        for system, tensors, times in zip(systems, inputs, rounds, strict=True):
            times.append(run_frames(partial(system.run, tensors), SECONDS))
    return [summarize(times) for times in rounds]
