"""What is evaluated: a bundle through its binding, or a network alone, behind the float64 reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tvmpose.accuracy.from_pixels import FromPixels, bundle_from_pixels, source_from_pixels
from tvmpose.baselines.judge import Judge
from tvmpose.baselines.tvmpose import Bundle
from tvmpose.benchmark.facts import finds_people, read_facts
from tvmpose.cards import Card, load_card
from tvmpose.errors import InputError
from tvmpose.flip_test import flip_tested
from tvmpose.gate import network_input
from tvmpose.modelspec import TensorSpec
from tvmpose.pose import reference
from tvmpose.runtime import Pose
from tvmpose.runtime.pose import MANIFEST


class System(Protocol):
    """A network with all that is around it."""

    name: str  # of the file or folder
    runtime: str
    keypoint_names: tuple[str, ...]
    input_specs: tuple[TensorSpec, ...]

    def estimate(self, picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
        """From uint8 (H, W, 3) BGR and a box (x, y, width, height) to keypoints (K, 3) in pixels of the picture."""
        ...

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The network alone, on tensors of input_specs."""
        ...


def open_system(
    path: str,
    card: str | None,
    threads: int,
    same_crops: bool = False,
    detector: Pose | None = None,
    flip_test: bool = False,
) -> System | FromPixels:
    """A bundle's folder, or a model file or card's name as `tvmpose compile` takes it.

    same_crops: a bundle's network stands between the reference's warp and decode, as those of sources always do. Bytes
    that round to another side move the joints of quantized networks: so the networks alone can be compared.
    detector: finds the people whom bundles look at, in place of the data set's boxes. Networks that find people
    themselves do so. flip_test: of model files; a bundle has it where it was compiled so.
    Raises InputError for what has no keypoints, and what loading either of them raises.
    """
    if (Path(path) / MANIFEST).is_file() or Path(path).is_dir():
        if detector or finds_people(Path(path)):
            return bundle_from_pixels(Path(path), threads, detector)
        whole = BundleSystem(Path(path), threads)
        if not same_crops:
            return whole
        facts = read_facts(Path(path))
        return TensorSystem(whole.name, load_card(card or _card_of(path)), whole.bundle, facts.flip_test)
    from tvmpose.compile import resolve  # for models alone: a bundle needs nothing of the compiler
    from tvmpose.targets import host_target

    options = resolve(path, card=card, target=host_target(), output=None)
    if options.card is None:
        raise InputError(f"{path}: evaluating keypoints needs a card, which says where they are (--card)")
    judge: Judge = options.source.judge(threads=threads)
    if flip_test:
        judge = flip_tested(judge, options.source.format, options.card)
    if options.card.task == "multi-person":
        return source_from_pixels(options.source.path.name, options.card, judge)
    return TensorSystem(options.source.path.name, options.card, judge, flip_test)


class BundleSystem:
    """From pixels to keypoints in the bundle's own kernels."""

    def __init__(self, path: Path, threads: int) -> None:
        self.bundle = Bundle(path, threads)
        self.name, self.runtime = path.resolve().name, _runtime_of(self.bundle, read_facts(path).flip_test)
        self.keypoint_names = self.bundle.pose.keypoint_names
        if not self.keypoint_names:
            raise InputError(f"{path}: compiled without a model card, so it has no keypoints to evaluate")
        self.input_specs = self.bundle.inputs

    def estimate(self, picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
        return self.bundle.pose(picture, [box])[0].keypoints

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.bundle.run(inputs)


class TensorSystem:
    """A runtime that takes tensors, between the reference's warp and decode."""

    def __init__(self, name: str, card: Card, runtime: Judge | Bundle, flip_test: bool = False) -> None:
        self.name, self.runtime = name, _runtime_of(runtime, flip_test)
        self.card, self.network = card, runtime
        self.keypoint_names = card.keypoints.keypoints
        self.input_specs = runtime.inputs

    def estimate(self, picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
        card, spec = self.card, self.input_specs[0]
        size, half = (card.input.width, card.input.height), card.crop.pixel_centers == "half"
        matrix = reference.box_matrix(box, (picture.shape[1], picture.shape[0]), size, card.crop.padding, half)
        outputs = self.network.run([network_input(card, spec, picture, matrix)])
        count = len(self.keypoint_names)
        found, _ = reference.decode(card.head, outputs, matrix, num_keypoints=count, input_size=size, half_pixel=half)
        return found

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.network.run(inputs)


def _runtime_of(system: Judge | Bundle, flip_test: bool) -> str:
    return f"{system.name}, flip test" if flip_test else system.name


def _card_of(bundle: str) -> str:
    card = read_facts(Path(bundle)).card
    if card is None:
        raise InputError(f"{bundle}: compiled without a model card, so it has no keypoints to evaluate")
    return card
