"""LiteRT (TensorFlow Lite) on the CPU, with the kernels that are asked for."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tvmpose.errors import ModelError
from tvmpose.modelspec import TensorSpec

# Quantized models differ from one to the other: XNNPACK rounds in its own way, the other two are within a step.
KERNELS = {
    "default": OpResolverType.AUTO,  # XNNPACK for what it can, optimized ones for the rest
    "optimized": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def open_model(path: str | Path, *, threads: int = 1, kernels: str = "default") -> "LiteRT":
    """Load a .tflite file; ``kernels`` is one of KERNELS."""
    return LiteRT(Path(path), threads, kernels)


class LiteRT:
    """A model in LiteRT; see tvmpose.baselines.judge.Judge."""

    def __init__(self, path: Path, threads: int, kernels: str = "default") -> None:
        self.name = f"LiteRT {version('ai-edge-litert')}" + (f", {kernels} kernels" if kernels != "default" else "")
        self.path, self.threads, self.kernels = path, threads, KERNELS[kernels]
        self.interpreter = self.open_interpreter(keep_all=False)
        self.inputs = tuple(map(tensor_spec, self.interpreter.get_input_details()))
        self.outputs = tuple(map(tensor_spec, self.interpreter.get_output_details()))

    @property
    def settings(self) -> str:
        """Whether XNNPACK really computes: each part of the graph that it took over is an operator DELEGATE."""
        parts = sum(operator["op_name"] == "DELEGATE" for operator in self.interpreter._get_ops_details())
        return f"XNNPACK on, computing {parts} part{'s' * (parts != 1)} of the graph" if parts else "XNNPACK OFF"

    def run(self, inputs: Sequence[np.ndarray], tensors: Sequence[str] | None = None) -> list[np.ndarray]:
        interpreter = self.interpreter if tensors is None else self.keeping_interpreter
        if tensors is None:
            wanted = [detail["index"] for detail in interpreter.get_output_details()]
        else:
            wanted = [self.index(name) for name in tensors]
        for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in wanted]

    @cached_property
    def keeping_interpreter(self) -> Interpreter:
        """A second interpreter, which keeps intermediate tensors and therefore needs more memory."""
        return self.open_interpreter(keep_all=True)

    def open_interpreter(self, *, keep_all: bool) -> Interpreter:
        options = {
            "num_threads": self.threads,
            "experimental_preserve_all_tensors": keep_all,
            "experimental_op_resolver_type": self.kernels,
        }
        try:
            with without_remarks():
                interpreter = Interpreter(str(self.path), **options)
                interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{self.path}: {self.name} refuses it: {' '.join(str(error).split())}") from error
        return interpreter

    def index(self, name: str) -> int:
        for detail in self.keeping_interpreter.get_tensor_details():
            if detail["name"] == name:
                return detail["index"]
        raise ModelError(f"{self.path}: the model computes no tensor {name}")


@contextmanager
def without_remarks() -> Iterator[None]:
    """Standard error closed to LiteRT's C++, which names its delegate there and cannot be told not to.

    What went wrong is in its exceptions too. A descriptor belongs to the process: other threads are silent as well.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def tensor_spec(detail: dict[str, Any]) -> TensorSpec:
    """An input's or output's specification."""
    return TensorSpec(detail["name"], tuple(int(extent) for extent in detail["shape"]), np.dtype(detail["dtype"]).name)
