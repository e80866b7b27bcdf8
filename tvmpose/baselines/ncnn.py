"""ncnn, CPU, float32. Its models are NAME.param with NAME.bin beside it; pnnx makes both."""

from collections.abc import Sequence
from pathlib import Path

import ncnn
import numpy as np

from tvmpose.errors import ModelError


def open_model(path: str | Path, *, threads: int = 1) -> "Ncnn":
    """Load a .param file."""
    return Ncnn(Path(path), threads)


class Ncnn:
    """A model in ncnn; see tvmpose.baselines.peers.Runtime. Tensors lose their batch dimension of 1 inside."""

    def __init__(self, path: Path, threads: int) -> None:
        self.name = f"ncnn {ncnn.__version__}"
        self.net = ncnn.Net()
        self.net.opt.num_threads = threads
        for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(self.net.opt, f"use_{half}", False)
        if self.net.load_param(str(path)) or self.net.load_model(str(path.with_suffix(".bin"))):
            raise ModelError(f"{path}: {self.name} refuses it")

    @property
    def settings(self) -> str:
        return "f32"

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        extractor = self.net.create_extractor()
        for name, array in zip(self.net.input_names(), inputs, strict=True):
            extractor.input(name, ncnn.Mat(array[0]))
        return [np.array(extractor.extract(name)[1])[None] for name in self.net.output_names()]
