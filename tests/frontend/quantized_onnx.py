"""Quantized ONNX files from text, and the comparison with ONNX Runtime on them, its graph not optimized."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime

from tests.frontend.virtual_machine import assert_qdq_form, run
from tvmpose.frontend.onnx import load


def parse(graph: str, opset: int = 13) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1]>\n{graph}')


def write(folder: Path, graph: str, opset: int = 13) -> Path:
    path = folder / "model.onnx"
    onnx.save(parse(graph, opset), path)
    return path


def judge(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """What ONNX Runtime computes, each node as it stands in the file."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {spec.name: array for spec, array in zip(session.get_inputs(), inputs, strict=True)})


def assert_within_a_step(path: Path, *inputs: np.ndarray, share: float = 0.02) -> None:
    """Every integer at most one off, and no more than ``share`` of them."""
    module, _ = load(path)
    assert_qdq_form(module)
    for ours, theirs in zip(run(module, *inputs), judge(path, *inputs), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.ptp(theirs.astype("int32")) > 50, "the case says nothing"
        difference = np.abs(ours.astype("int32") - theirs.astype("int32"))
        assert difference.max() <= 1
        assert (difference > 0).mean() <= share


def integers(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    """Any that the type has, but 7 bits of int8: with 8, ONNX Runtime saturates sums on CPUs without dot products."""
    limits = np.iinfo(dtype)
    low, high = (-64, 63) if dtype == "int8" else (limits.min, limits.max)
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(dtype)


def listed(array: np.ndarray) -> str:
    return ", ".join(map(str, array.reshape(-1).tolist()))
