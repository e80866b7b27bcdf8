"""--precision float16 and bfloat16: weights in half the space, against ONNX Runtime on the same rounded weights."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.tiny import Tiny, write_tiny_quantized
from tvmpose.cli.main import main
from tvmpose.codegen.bundle import MANIFEST
from tvmpose.runtime import load

TORCH = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("precision", TORCH)
def test_compile__half_precision__computes_with_the_rounded_weights(
    tiny: Tiny, tmp_path: Path, precision: str, capfd: pytest.CaptureFixture[str]
):
    assert main([*tiny.arguments(tmp_path / "bundle"), "--precision", precision]) == 0
    assert f"{precision}  weights of convolutions" in capfd.readouterr().out
    manifest = json.loads((tmp_path / "bundle" / MANIFEST).read_text())
    verification = manifest["libraries"][0]["verification"]
    assert manifest["precision"] == precision and manifest["quantized"] is None and verification["similarity"] > 0.9
    model = onnx.load(tiny.model)
    for tensor in model.graph.initializer:
        weight = torch.from_numpy(onnx.numpy_helper.to_array(tensor)).to(TORCH[precision]).float().numpy()
        tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).uniform(0, 1, (1, 3, 24, 32)).astype("float32")
    with load(tmp_path / "bundle") as network:
        (found,) = network.run_tensors([image])
    (expected,) = session.run(None, {"image": image})
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


def test_compile__half_precision_of_integers__refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    tiny = write_tiny_quantized(tmp_path / "quantized")
    assert main([*tiny.arguments(tmp_path / "bundle"), "--precision", "float16"]) == 3
    assert "--precision float16:" in capfd.readouterr().err
