"""A compiled bundle through the Python binding, as its users run it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvmpose import runtime
from tvmpose.modelspec import TensorSpec


def open_model(path: str | Path, *, threads: int = 1) -> "Bundle":
    """Load a bundle folder."""
    return Bundle(Path(path), threads)


class Bundle:
    """A bundle; see tvmpose.baselines.peers.Runtime."""

    def __init__(self, path: Path, threads: int) -> None:
        self.pose = runtime.load(path, threads=threads)
        self.name = f"tvmpose {self.pose.info.version}"
        self.inputs = tuple(TensorSpec(spec.name, spec.shape, spec.dtype.name) for spec in self.pose.info.inputs)

    @property
    def settings(self) -> str:
        return f"compiled for {self.pose.info.target}"

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.pose.run_tensors(inputs)

    def run_pixels(self, frame: np.ndarray, box: Sequence[float]) -> list[np.ndarray]:
        """From a frame, uint8 (H, W, 3), to the keypoints (K, 3) of the one person in the box."""
        return [person.keypoints for person in self.pose(frame, [box])]
