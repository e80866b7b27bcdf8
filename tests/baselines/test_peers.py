"""The peers compute the same, and say what in them did."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import Tiny
from tvmpose.baselines.judge import open_judge
from tvmpose.baselines.peers import PEERS


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} of the extra bench")


@needs("openvino", "onnxruntime")
@pytest.mark.parametrize("threads", [1, 2])
def test_openvino__onnx_model__as_onnx_runtime_says(tiny: Tiny, threads: int):
    image = np.random.default_rng(0).random((1, 3, 24, 32), np.float32)
    peer = PEERS["openvino"].open(tiny.model, threads)
    (found,), (expected,) = peer.run([image]), open_judge(tiny.model, "onnx").run([image])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert peer.name.startswith("OpenVINO 20") and peer.settings == "latency mode, f32"


@needs("openvino")
def test_openvino__quantized_model__says_what_it_computes_in_bytes(data: Path):
    peer = PEERS["openvino"].open(data / "models" / "posenet_mobilenet_v1_075_353_481_quant.tflite", 1)
    integer, all_of_them = re.fullmatch(
        r"latency mode, f32, (\d+) of (\d+) convolutions in int8", peer.settings
    ).groups()
    assert 0 < int(integer) <= int(all_of_them)


@needs("ncnn", "torch", "pnnx")
@pytest.mark.slow
def test_ncnn__converted_network__as_torch_says(tmp_path: Path):
    from benchmarks.convert import torch_to_ncnn
    from tvmpose.cards import load_card, pull
    from tvmpose.frontend.source import Source

    torch_to_ncnn.convert("mobilenetv2-deconv", tmp_path / "net.param")
    image = np.random.default_rng(0).random((1, 3, 256, 192), np.float32)
    judge = Source(pull(load_card("mobilenetv2-deconv")), image.shape).judge()
    (found,), (expected,) = PEERS["ncnn"].open(tmp_path / "net.param", 1).run([image]), judge.run([image])
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@needs("onnxruntime")
def test_onnxruntime__settings__name_the_provider(tiny: Tiny):
    assert PEERS["onnxruntime"].open(tiny.model, 1).settings == "CPUExecutionProvider, all optimizations"


@needs("ai_edge_litert")
def test_litert__settings__tell_xnnpack_from_none(data: Path, monkeypatch: pytest.MonkeyPatch):
    from ai_edge_litert.interpreter import InterpreterWithCustomOps, OpResolverType

    from tvmpose.baselines import litert

    model = data / "models" / "edvardhua_cpm_192.tflite"
    assert PEERS["litert"].open(model, 1).settings == "XNNPACK on, computing 1 part of the graph"

    def without(*args, **options):
        kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return InterpreterWithCustomOps(model_path=args[0], experimental_op_resolver_type=kind)

    monkeypatch.setattr(litert, "Interpreter", without)
    assert PEERS["litert"].open(model, 1).settings == "XNNPACK OFF"
