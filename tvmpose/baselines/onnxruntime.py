"""ONNX Runtime, CPU."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tvmpose.errors import ModelError
from tvmpose.modelspec import TensorSpec

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def open_model(path: str | Path, *, threads: int = 1, optimizations: bool = True) -> "OnnxRuntime":
    """Load an .onnx file. Graph optimizations move quantization about, which changes its answers by steps."""
    return OnnxRuntime(Path(path), threads, optimizations)


class OnnxRuntime:
    """A model in ONNX Runtime; see tvmpose.baselines.judge.Judge. A dynamic dimension counts as 1 in the specs."""

    def __init__(self, path: Path, threads: int, optimizations: bool = True) -> None:
        self.name = f"onnxruntime {onnxruntime.__version__}" + ("" if optimizations else ", no graph optimizations")
        self.path, self.optimizations = path, optimizations
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        levels = onnxruntime.GraphOptimizationLevel
        self.options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimizations else levels.ORT_DISABLE_ALL
        self.session = self.open_session(str(path))
        self.inputs = tuple(map(tensor_spec, self.session.get_inputs()))
        self.outputs = tuple(map(tensor_spec, self.session.get_outputs()))

    @property
    def settings(self) -> str:
        return f"{', '.join(self.session.get_providers())}, {'all' if self.optimizations else 'no'} optimizations"

    def run(self, inputs: Sequence[np.ndarray], tensors: Sequence[str] | None = None) -> list[np.ndarray]:
        feeds = {spec.name: array for spec, array in zip(self.inputs, inputs, strict=True)}
        session = self.session if tensors is None else self.session_returning(tuple(tensors))
        return session.run(None if tensors is None else list(tensors), feeds)

    def open_session(self, model: str | bytes) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])

    @lru_cache(maxsize=2)  # noqa: B019 - a judge lives as long as its sessions
    def session_returning(self, tensors: tuple[str, ...]) -> onnxruntime.InferenceSession:
        """A session whose model returns these tensors too."""
        model = onnx.load(self.path)
        computed = {name for node in model.graph.node for name in node.output}
        if unknown := [name for name in tensors if name not in computed]:
            raise ModelError(f"{self.path}: the model computes no tensor {', '.join(unknown)}")
        own = {spec.name for spec in self.outputs}
        missing = [name for name in dict.fromkeys(tensors) if name not in own]
        model.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, missing))
        return self.open_session(model.SerializeToString())


def tensor_spec(value: onnxruntime.NodeArg) -> TensorSpec:
    """An input's or output's specification."""
    shape = tuple(extent if isinstance(extent, int) else 1 for extent in value.shape)
    return TensorSpec(value.name, shape, DTYPES[value.type])
