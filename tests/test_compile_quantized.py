"""Quantized models through the command: their arithmetic, their judge, and what the gate makes of them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import Compile
from tests.sabotage import relu_becomes_tanh
from tests.tiny import Tiny, write_tiny_quantized
from tvmpose.cli.main import main
from tvmpose.codegen.bundle import MANIFEST
from tvmpose.kernels.requantize import Rounding
from tvmpose.runtime.pose import main as check_main

ROOT = Path(__file__).parents[1]
POSENET = "posenet_mobilenet_v1_075_353_481_quant.tflite"
MOVENET = "movenet_single_pose_lightning_ptq.tflite"


@pytest.fixture
def quantized(tmp_path: Path) -> Tiny:
    return write_tiny_quantized(tmp_path / "quantized")


def manifest(bundle: Path) -> dict:
    return json.loads((bundle / MANIFEST).read_text())


def plain_arguments(tiny: Tiny, output: Path) -> list[str]:
    """Without the card."""
    return [part for part in tiny.arguments(output) if part not in ("--card", str(tiny.card))]


# What is written


@pytest.mark.parametrize("options", [[], ["--rounding", "ort"], ["--rounding", "xnnpack"]])
def test_compile__quantized_onnx__verified_in_keypoints_against_a_graph_that_was_not_optimized(
    quantized: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str]
):
    output = tmp_path / "bundle"
    assert main([*quantized.arguments(output), *options]) == 0
    out, err = capfd.readouterr()
    rounding = options[1] if options else "ort"
    assert err == "" and f"onnx, 1 in, 1 out; quantized, rounding as {rounding}" in out
    written = manifest(output)
    verification = written["libraries"][0]["verification"]
    assert written["rounding"] == rounding and verification["status"] == "verified"
    assert verification["judge"].endswith("no graph optimizations") and verification["joints"] > 0
    assert verification["median_px"] <= 0.05 and verification["tensors_within_step"] >= 0.99
    assert check_main(["--check", str(output)]) == 0


def test_compile__quantized_without_card__verified_in_steps(
    quantized: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    assert main(plain_arguments(quantized, tmp_path / "bundle")) == 0
    assert "% of the values within one" in capfd.readouterr().out
    verification = manifest(tmp_path / "bundle")["libraries"][0]["verification"]
    assert verification["joints"] == 0 and verification["tensors_max_steps"] <= 1.001
    assert check_main(["--check", str(tmp_path / "bundle")]) == 0


def test_compile__float_model__has_no_rounding(tiny: Tiny, tmp_path: Path):
    assert main([*tiny.arguments(tmp_path / "bundle"), "--no-verify"]) == 0
    assert manifest(tmp_path / "bundle")["rounding"] is None


# What is refused


@pytest.mark.parametrize("card", [True, False])
def test_compile__quantized_and_wrong__exit_5_the_tensor_and_nothing_left(
    quantized: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], card: bool
):
    relu_becomes_tanh(monkeypatch)
    output = tmp_path / "bundle"
    assert main(quantized.arguments(output) if card else plain_arguments(quantized, output)) == 5
    error = capfd.readouterr().err
    assert error.startswith("tvmpose: error: the library disagrees with onnxruntime") and error.count("\n") == 1
    assert "the first tensor that diverges is relu" in error and "of it by more than a step, up to" in error
    assert not output.exists()


def test_compile__card_for_outputs_that_are_integers__refused(
    quantized: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    model = onnx.load(quantized.model)
    del model.graph.node[-1], model.graph.output[:]
    shape = (1, 17, 24, 32)
    model.graph.output.append(onnx.helper.make_tensor_value_info("sums_bytes", onnx.TensorProto.UINT8, shape))
    onnx.save(model, quantized.model)
    assert main(quantized.arguments(tmp_path / "bundle")) == 4
    error = capfd.readouterr().err
    assert "card tiny reads floats, output 0 is uint8" in error and error.count("\n") == 1
    assert main(plain_arguments(quantized, tmp_path / "bundle")) == 0


def test_compile__rounding_of_a_float_model__refused(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert main([*tiny.arguments(tmp_path / "bundle"), "--rounding", "xnnpack"]) == 3
    assert capfd.readouterr().err == f"tvmpose: error: --rounding xnnpack: {tiny.model} computes in floats\n"


def test_compile__rounding_that_there_is_not__the_names_that_there_are(
    quantized: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    assert main([*quantized.arguments(tmp_path / "bundle"), "--rounding", "nearest"]) == 3
    assert capfd.readouterr().err == "tvmpose: error: --rounding nearest: there are reference, xnnpack, ort, torch\n"


def test_compile__decoder_of_a_custom_operator__named_with_what_to_use_instead(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    model = data / "models" / "posenet_mobilenet_v1_075_353_481_16_quant_decoder.tflite"
    assert main(["compile", str(model), "-o", str(tmp_path / "bundle")]) == 4
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "CUSTOM PosenetDecoderOp at #37" in error
    assert "use the same network without this decoder" in error


# Documents


@pytest.mark.parametrize("rounding", Rounding)
def test_rounding__each__has_its_sentence_in_the_documents_and_its_name_in_the_help(
    rounding: Rounding, capsys: pytest.CaptureFixture[str]
):
    assert f"| `{rounding.value}` | {rounding.sentence} |" in (ROOT / "docs" / "adding-a-model.md").read_text()
    with pytest.raises(SystemExit):
        main(["compile", "--help"])
    assert rounding.value in capsys.readouterr().out


# Real files


def test_compile__posenet__each_value_within_a_step_of_litert_as_users_have_it(compiled: Compile):
    written = compiled(POSENET).report.manifest
    assert written.rounding == "xnnpack" and written.verification.status == "verified"
    assert str(written.verification.judge).startswith("LiteRT") and "kernels" not in str(written.verification.judge)
    assert written.verification.tensors_within_step is not None and written.verification.tensors_within_step >= 0.999


@pytest.mark.slow
def test_compile__movenet__known_by_its_hash_and_runs_from_pixels_to_keypoints(
    compiled: Compile, tmp_path: Path, photos: Path, capfd: pytest.CaptureFixture[str]
):
    bundle = compiled(MOVENET)
    assert bundle.card is not None and bundle.card.name == "movenet-lightning-coral"
    verification = bundle.report.manifest.verification
    assert verification.status == "verified" and verification.joints
    assert verification.median_px is not None and verification.median_px <= 0.5
    assert check_main(["--check", str(bundle.bundle)]) == 0
    capfd.readouterr()
    result = tmp_path / "keypoints.json"
    assert main(["run", str(bundle.bundle), *map(str, sorted(photos.iterdir())), "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    assert len(found) == 3 and all(np.isfinite(person["keypoints"]).all() for person in found)
