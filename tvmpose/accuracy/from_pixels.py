"""Systems that find people themselves: landmarks behind a detector, and bottom-up networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvmpose.baselines.judge import Judge
from tvmpose.baselines.tvmpose import Bundle
from tvmpose.cards import Card
from tvmpose.gate import network_input
from tvmpose.modelspec import TensorSpec
from tvmpose.pose import reference
from tvmpose.pose.pipeline import Pipeline
from tvmpose.pose.reference_people import decode_all
from tvmpose.runtime import Pose


@dataclass(frozen=True)
class FromPixels:
    """A system whose every picture is a new one. find: from uint8 (H, W, 3) BGR to the keypoints (K, 3) of each."""

    name: str
    runtime: str
    keypoint_names: tuple[str, ...]
    input_specs: tuple[TensorSpec, ...]
    run: Callable[[Sequence[np.ndarray]], list[np.ndarray]]  # the network alone, of a detector's the landmarks
    find: Callable[[np.ndarray], list[np.ndarray]]


def bundle_from_pixels(path: Path, threads: int, detector: Pose | None) -> FromPixels:
    """Through a Pipeline: the detector's people, or those of the network itself."""
    bundle = Bundle(path, threads)
    pipeline = Pipeline(detector, bundle.pose) if detector else Pipeline(bundle.pose)

    def find(picture: np.ndarray) -> list[np.ndarray]:
        pipeline.reset()
        return [person.keypoints for person in pipeline(picture, 0.0)]

    runtime = f"{bundle.name}, from pixels"
    return FromPixels(path.resolve().name, runtime, bundle.pose.keypoint_names, bundle.inputs, bundle.run, find)


def source_from_pixels(name: str, card: Card, judge: Judge) -> FromPixels:
    """A bottom-up network in its own runtime, between the reference's warp and decode."""
    size, half = (card.input.width, card.input.height), card.crop.pixel_centers == "half"

    def find(picture: np.ndarray) -> list[np.ndarray]:
        matrix = reference.box_matrix(None, (picture.shape[1], picture.shape[0]), size, card.crop.padding, half)
        outputs = judge.run([network_input(card, judge.inputs[0], picture, matrix)])
        count = len(card.keypoints.keypoints)
        people = decode_all(card.head, outputs, matrix, num_keypoints=count, input_size=size, half_pixel=half)
        return [person.keypoints for person in people]

    names = card.keypoints.keypoints
    return FromPixels(name, f"{judge.name}, from pixels", names, judge.inputs, judge.run, find)
