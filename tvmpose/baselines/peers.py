"""The runtimes that a user could pick instead of ours, as data: an adapter each, set up as its users would at its best.

An adapter is a module with ``open_model(path, threads=N)``. What it returns can ``run`` (see judge.py) and says, as
``settings``, how it was set up and what in it computes.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


class Runtime(Protocol):
    """A model loaded into a runtime."""

    name: str  # runtime and version, as "onnxruntime 1.31.1"

    @property
    def settings(self) -> str:
        """What its speed depends on: the delegate that really runs, mode, precision."""
        ...

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Every output of the model, for inputs in the model's order, shapes and dtypes."""
        ...


@dataclass(frozen=True)
class Peer:
    """Where a runtime's adapter is and which model files it reads, the best first."""

    title: str
    adapter: str
    package: str
    suffixes: tuple[str, ...]

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def open(self, path: Path, threads: int) -> Runtime:
        return importlib.import_module(self.adapter).open_model(path, threads=threads)


OURS = Peer("tvmpose", "tvmpose.baselines.tvmpose", "tvmpose", ("",))
"""A bundle in its own binding: a peer like the others, as far as measuring goes."""

PEERS = {
    "litert": Peer("LiteRT", "tvmpose.baselines.litert", "ai_edge_litert", (".tflite",)),
    "onnxruntime": Peer("ONNX Runtime", "tvmpose.baselines.onnxruntime", "onnxruntime", (".onnx",)),
    "openvino": Peer("OpenVINO", "tvmpose.baselines.openvino", "openvino", (".tflite", ".onnx")),
    "ncnn": Peer("ncnn", "tvmpose.baselines.ncnn", "ncnn", (".param",)),
}
