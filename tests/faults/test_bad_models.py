"""Models that cannot be compiled: one line, a fixed exit code, nothing left behind."""

import re
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.tiny import Tiny
from tvmpose.cli.main import main

Capture = pytest.CaptureFixture[str]


def assert_refused(arguments: list[object], output: Path, code: int, says: str, capfd: Capture) -> None:
    """``tvmpose compile`` with these arguments: the exit code, and one line on standard error that matches ``says``."""
    capfd.readouterr()
    assert main(["compile", *map(str, arguments), "-o", str(output)]) == code
    error = capfd.readouterr().err
    assert error.startswith("tvmpose: error: ") and error.count("\n") == 1
    assert re.search(says, error), error
    assert not output.exists() and not [path for path in output.parent.iterdir() if path.name.endswith(".tmp")]


# Not a model


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".pt2"])
@pytest.mark.parametrize(
    "content", [b"", b"hello", bytes(4096), b"\xff" * 4096], ids=["empty", "text", "zeros", "ones"]
)
def test_compile__not_a_model__named_with_its_format(
    tiny: Tiny, tmp_path: Path, capfd: Capture, suffix: str, content: bytes
):
    if suffix == ".pt2":
        pytest.importorskip("torch", reason="torch is not installed")
    model = tmp_path / f"model{suffix}"
    model.write_bytes(content)
    assert_refused([model, "--samples", tiny.samples], tmp_path / "out", 4, rf"model{suffix}", capfd)


def test_compile__no_such_file_or_other_format__says_which(tiny: Tiny, tmp_path: Path, capfd: Capture):
    picture = next(tiny.samples.iterdir())
    assert_refused([tmp_path / "nowhere.onnx"], tmp_path / "out", 3, r"nowhere\.onnx: no such file", capfd)
    assert_refused([picture], tmp_path / "out", 4, r"not a model: the formats are \.tflite", capfd)
    assert_refused([tiny.samples], tmp_path / "out", 3, "no such file", capfd)


@pytest.mark.parametrize("file", ["pose_landmark_lite.tflite", "movenet-lightning.onnx"])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_compile__truncated_model__says_so(
    data: Path, tiny: Tiny, tmp_path: Path, capfd: Capture, file: str, share: float
):
    content = (data / "models" / file).read_bytes()
    model = tmp_path / file
    model.write_bytes(content[: int(len(content) * share)])
    assert_refused([model, "--samples", tiny.samples], tmp_path / "out", 4, "truncated", capfd)


# Models that we cannot compile yet


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("posenet_mobilenet_v1_075_353_481_16_quant_decoder.tflite", r"PosenetDecoderOp at #37 -> poses"),
    ],
)
def test_compile__unsupported_model__names_what_and_where(
    data: Path, tiny: Tiny, tmp_path: Path, capfd: Capture, file: str, says: str
):
    assert_refused([data / "models" / file, "--samples", tiny.samples], tmp_path / "out", 4, says, capfd)


def test_compile__onnx_operator_we_lack__named(tiny: Tiny, tmp_path: Path, capfd: Capture):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 24, 32)) for name in ("image", "out")]
    graph = helper.make_graph(
        [helper.make_node("Det", ["image"], ["out"], name="odd_one")], "g", values[:1], values[1:]
    )
    model = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), model)
    assert_refused([model, "--samples", tiny.samples], tmp_path / "out", 4, "Det", capfd)


def test_compile__convolution_that_a_pass_refuses__its_reason_comes_through_tvm(
    tiny: Tiny, tmp_path: Path, capfd: Capture
):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 4, 24, 32)) for name in ("image", "out")]
    weights = helper.make_tensor("w", TensorProto.FLOAT, (4, 1, 1, 1), [1.0] * 4)
    node = helper.make_node("Conv", ["image", "w"], ["out"], group=4)
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weights])
    model = tmp_path / "batch.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), model)
    assert main(["compile", str(model), "--no-verify", "-o", str(tmp_path / "out")]) == 4
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("tvmpose: error: ") and "a convolution in groups, of a batch of 2, is not supported" in line
    assert not (tmp_path / "out").exists()


# Wrong cards, targets, photos


@pytest.mark.parametrize(
    ("option", "code", "says"),
    [
        (["--card", "movenet-lightning"], 4, r"expects an input of \(192, 192\) pixels"),
        (["--card", "blazepose-light"], 3, "did you mean blazepose-lite"),
        (["--card", "nowhere.toml"], 3, r"nowhere\.toml"),
        (["--target", "x86-64-v9"], 3, "did you mean x86-64-v4"),
        (["--target", "nowhere.toml"], 3, r"nowhere\.toml"),
        (["--samples", "nowhere"], 3, "nowhere: not a folder"),
    ],
)
def test_compile__option_that_does_not_fit__one_line(
    tiny: Tiny, tmp_path: Path, capfd: Capture, option: list[str], code: int, says: str
):
    assert_refused([tiny.model, "--samples", tiny.samples, *option], tmp_path / "out", code, says, capfd)


@pytest.mark.parametrize(
    ("content", "says"), [(None, "holds no pictures"), (b"\x89PNG\r\n\x1a\n", "cannot be decoded")]
)
def test_compile__samples_without_a_picture__one_line(
    tiny: Tiny, tmp_path: Path, capfd: Capture, content: bytes | None, says: str
):
    photo = next(tiny.samples.iterdir())
    photo.unlink()
    if content is not None:
        photo.write_bytes(content)
    assert_refused([tiny.model, "--samples", tiny.samples], tmp_path / "out", 3, says, capfd)


@pytest.mark.parametrize(("change", "says"), [
    ("color = 'rgb'\n[input]", "unknown key 'color'"),
    ("[input]\nwidth = 1", "line 13"),
    ("[input", "tiny.toml"),
])  # fmt: skip
def test_compile__faulty_card__names_the_place(tiny: Tiny, tmp_path: Path, capfd: Capture, change: str, says: str):
    tiny.card.write_text(tiny.card.read_text().replace("[input]", change, 1))
    assert_refused([tiny.model, "--card", tiny.card, "--samples", tiny.samples], tmp_path / "out", 3, says, capfd)


@pytest.mark.parametrize(
    ("triple", "cpu", "says"),
    [
        ("x86_64-linux-gnu", "skylak", "LLVM knows no cpu 'skylak'"),
        ("z80-linux-gnu", "z80", "triple 'z80-linux-gnu' is of no architecture"),
    ],
)
def test_compile__target_that_llvm_does_not_know__one_line(
    tiny: Tiny, tmp_path: Path, capfd: Capture, triple: str, cpu: str, says: str
):
    target = tmp_path / "odd.toml"
    target.write_text(f'title = "odd"\ntriple = "{triple}"\ncpu = "{cpu}"\n')
    assert_refused([tiny.model, "--target", target, "--no-verify"], tmp_path / "out", 3, says, capfd)
