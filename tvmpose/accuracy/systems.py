"""What is evaluated: a bundle through its binding, or a source model in its runtime, behind the float64 reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tvmpose.baselines.judge import Judge
from tvmpose.baselines.tvmpose import Bundle
from tvmpose.cards import Card
from tvmpose.errors import InputError
from tvmpose.gate import network_input
from tvmpose.modelspec import TensorSpec
from tvmpose.pose import reference
from tvmpose.runtime.pose import MANIFEST


class System(Protocol):
    """A network with all that is around it."""

    name: str  # of the file or folder
    runtime: str
    keypoint_names: tuple[str, ...]
    input_specs: Sequence[TensorSpec]

    def estimate(self, picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
        """From uint8 (H, W, 3) BGR and a box (x, y, width, height) to keypoints (K, 3) in pixels of the picture."""
        ...

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The network alone, on tensors of input_specs."""
        ...


def open_system(path: str, card: str | None, threads: int) -> System:
    """A bundle's folder, or a model file or card's name as `tvmpose compile` takes it.

    Raises InputError for what has no keypoints, and what loading either of them raises.
    """
    if (Path(path) / MANIFEST).is_file() or Path(path).is_dir():
        return BundleSystem(Path(path), threads)
    from tvmpose.compile import resolve  # for models alone: a bundle needs nothing of the compiler
    from tvmpose.targets import host_target

    options = resolve(path, card=card, target=host_target(), output=None)
    if options.card is None:
        raise InputError(f"{path}: evaluating keypoints needs a card, which says where they are (--card)")
    return SourceSystem(options.source.path.name, options.card, options.source.judge(threads=threads))


class BundleSystem:
    """From pixels to keypoints in the bundle's own kernels."""

    def __init__(self, path: Path, threads: int) -> None:
        self.bundle = Bundle(path, threads)
        self.name, self.runtime = path.resolve().name, self.bundle.name
        self.keypoint_names = self.bundle.pose.keypoint_names
        if not self.keypoint_names:
            raise InputError(f"{path}: compiled without a model card, so it has no keypoints to evaluate")
        self.input_specs: Sequence[TensorSpec] = [
            TensorSpec(s.name, s.shape, s.dtype.name) for s in self.bundle.pose.info.inputs
        ]

    def estimate(self, picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
        return self.bundle.pose(picture, [box])[0].keypoints

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.bundle.run(inputs)


class SourceSystem:
    """The source runtime between the reference's warp and decode."""

    def __init__(self, name: str, card: Card, judge: Judge) -> None:
        self.name, self.runtime, self.card, self.judge = name, judge.name, card, judge
        self.keypoint_names = card.keypoints.keypoints
        self.input_specs: Sequence[TensorSpec] = judge.inputs

    def estimate(self, picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
        card, spec = self.card, self.judge.inputs[0]
        size, half = (card.input.width, card.input.height), card.crop.pixel_centers == "half"
        matrix = reference.box_matrix(box, (picture.shape[1], picture.shape[0]), size, card.crop.padding, half)
        outputs = self.judge.run([network_input(card, spec, picture, matrix)])
        count = len(self.keypoint_names)
        found, _ = reference.decode(card.head, outputs, matrix, num_keypoints=count, input_size=size, half_pixel=half)
        return found

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.judge.run(inputs)
