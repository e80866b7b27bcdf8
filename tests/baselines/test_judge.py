"""The judges: what they say about a model, and what happens without their packages."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest

from tvmpose.baselines.judge import open_judge
from tvmpose.errors import ModelError, SetupError

DATA = os.environ.get("TVMPOSE_DATA")
MODELS = Path(DATA or ".") / "models"


@pytest.mark.parametrize(
    ("source_format", "message"),
    [("onnx", r"tvmpose\[verify\]"), ("tflite", r"tvmpose\[verify\]"), ("torch", r"tvmpose\[torch\]")],
)
def test_open_judge__runtime_not_installed__names_the_extra(monkeypatch, source_format, message):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SetupError, match=message):
        open_judge("model", source_format)


@pytest.mark.parametrize("rounding", ["reference", "xnnpack", "ort"])
def test_open_judge__quantized_onnx__no_graph_optimizations(rounding, tiny):
    plain, exact = (open_judge(tiny.model, "onnx", rounding=each) for each in (None, rounding))
    assert "all optimizations" in plain.settings and "optimizations" not in plain.name
    assert "no optimizations" in exact.settings and exact.name.endswith(", no graph optimizations")


@pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")
@pytest.mark.parametrize(("rounding", "xnnpack"), [("reference", False), ("xnnpack", True), ("ort", True)])
def test_open_judge__quantized_tflite__kernels_of_that_arithmetic(rounding, xnnpack):
    judge = open_judge(MODELS / "movenet_single_pose_lightning_ptq.tflite", "tflite", rounding=rounding)
    assert ("XNNPACK on" in judge.settings) == xnnpack
    assert judge.name.endswith(", reference kernels") != xnnpack


@pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")
@pytest.mark.parametrize("file", ["edvardhua_cpm_192.tflite", "movenet-lightning.onnx"])
def test_judge__outputs_asked_for_by_name__are_the_outputs(file):
    judge = open_judge(MODELS / file, Path(file).suffix[1:], threads=2)
    (image,) = judge.inputs
    inputs = [np.random.default_rng(0).integers(0, 256, image.shape).astype(image.dtype)]
    plain, named = judge.run(inputs), judge.run(inputs, [output.name for output in judge.outputs])
    for output, one, other in zip(judge.outputs, plain, named, strict=True):
        assert (one.shape, one.dtype.name) == (output.shape, output.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    with pytest.raises(ModelError, match="no tensor nonsense"):
        judge.run(inputs, ["nonsense"])
