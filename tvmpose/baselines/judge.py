"""The source runtime as a judge: the same raw tensors through the source model, to compare ours with."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tvmpose.errors import SetupError
from tvmpose.modelspec import TensorSpec

# source format: module of the adapter, the package it needs, the extra that brings it
ADAPTERS = {
    "tflite": ("tvmpose.baselines.litert", "ai_edge_litert", "tvmpose[verify]"),
    "onnx": ("tvmpose.baselines.onnxruntime", "onnxruntime", "tvmpose[verify]"),
    "torch": ("tvmpose.baselines.torch", "torch", "tvmpose[torch]"),
}

# (source format, name of a tvmpose.kernels.requantize.Rounding): how its runtime is set up to compute in just that.
ARITHMETIC: dict[tuple[str, str], dict[str, Any]] = {
    ("tflite", "reference"): {"kernels": "reference"},
    **{("onnx", rounding): {"optimizations": False} for rounding in ("reference", "xnnpack", "ort", "torch")},
}


class Judge(Protocol):
    """A model loaded into the runtime of its source."""

    name: str  # runtime and version, as "onnxruntime 1.31.1"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, inputs: Sequence[np.ndarray], tensors: Sequence[str] | None = None) -> list[np.ndarray]:
        """The model's outputs, or the named intermediate tensors; inputs as ``self.inputs`` says, in its order.

        Raises ModelError for a name that the model does not compute.
        """
        ...


def open_judge(source: str | Path | Any, source_format: str, *, threads: int = 1, rounding: str | None = None) -> Judge:
    """Load a model file into the runtime of its format: "tflite", "onnx" or "torch".

    rounding: of a quantized model, a Rounding's name: the runtime computes in that arithmetic, or the nearest it has.
    For torch ``source`` may also be a torch.export.ExportedProgram. Raises SetupError where the runtime is missing.
    """
    adapter, package, extra = ADAPTERS[source_format]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise SetupError(f"{package} is needed to check a {source_format} model: pip install '{extra}'") from error
    settings = ARITHMETIC.get((source_format, rounding), {}) if rounding else {}
    return importlib.import_module(adapter).open_model(source, threads=threads, **settings)
