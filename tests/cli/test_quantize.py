"""``tvmpose quantize``, and ``compile`` with what it makes."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.tiny import Tiny
from tvmpose.cards import load_card
from tvmpose.cli.main import main
from tvmpose.runtime import load


def test_quantize__tiny_model__a_file_that_compile_takes_and_the_manifest_says_so(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file, bundle = tmp_path / "tiny.quant.json", tmp_path / "bundle"
    model = [str(tiny.model), "--card", str(tiny.card)]
    assert main(["quantize", *model, "--calibrate", str(tiny.samples), "--budget", "none", "-o", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{file}: quantized in ")
    arguments = ["--quantization", str(file), "--samples", str(tiny.samples), "-o", str(bundle)]
    assert main(["compile", *model, *arguments]) == 0
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["quantized"]["recipe"] == "balanced" and manifest["quantized"]["integer_share"] == 1
    assert manifest["rounding"] == "ort"
    found = manifest["libraries"][0]["verification"]
    assert found["status"] == "verified" and found["median_px"] <= 2 and found["similarity"] > 0.9


def test_compile__precision_int8__calibrates_and_compiles(tiny: Tiny, tmp_path: Path):
    options = ["--precision", "int8", "--calibrate", str(tiny.samples), "--recipe", "minmax", "--budget", "0.5"]
    assert main([*tiny.arguments(tmp_path / "bundle"), *options]) == 0
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["quantized"]["recipe"] == "minmax"


def test_quantize__budget_in_ap__held_on_the_people_that_are_annotated(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Annotated as the float model finds them, whose average precision is then 100."""
    card, box = load_card(tiny.card), [10.0, 8.0, 40.0, 30.0]
    assert main([*tiny.arguments(tmp_path / "bundle"), "--no-verify"]) == 0
    with load(tmp_path / "bundle") as network:
        (person,) = network(cv2.imread(str(tiny.samples / "blobs.png")), boxes=[box])
    joints = np.c_[person.keypoints[:, :2], np.full(17, 2)].reshape(-1).tolist()
    entry = {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 600.0, "num_keypoints": 17}
    table = {
        "images": [{"id": 7, "file_name": "blobs.png", "width": 72, "height": 48}],
        "annotations": [entry | {"bbox": box, "keypoints": joints}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(card.keypoints.keypoints)}],
    }
    people = tmp_path / "people.json"
    people.write_text(json.dumps(table))
    capsys.readouterr()
    asked = ["--calibrate", str(tiny.samples), "--boxes", str(people), "--budget", "20ap"]
    model = [str(tiny.model), "--card", str(tiny.card)]
    assert main(["quantize", *model, *asked, "-o", str(tmp_path / "tiny.quant.json")]) == 0
    lost = re.search(r"; (-?\d+\.\d) points of AP less", capsys.readouterr().out)
    assert lost and 0 <= float(lost[1]) <= 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8"], "needs pictures to calibrate on: --calibrate DIR"),
        (["--calibrate", "."], "add --precision int8"),
        (["--precision", "int8", "--calibrate", ".", "--recipe", "best"], "--recipe best: there are balanced, minmax"),
        (["--precision", "int8", "--calibrate", ".", "--budget", "-1"], "--budget -1: must be more than 0"),
        (
            ["--precision", "int8", "--calibrate", ".", "--budget", "x"],
            "--budget x: must be pixels, as 1.0, points",
        ),
        (["--precision", "int8", "--calibrate", ".", "--budget", "1.0ap"], "needs annotated people: --boxes JSON"),
        (["--quantization", "a.json", "--precision", "int8"], "has been calibrated"),
        (["--quantization", "a.json"], "a.json: No such file"),
    ],
)
def test_compile__options_that_do_not_fit__one_line(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
):
    assert main([*tiny.arguments(tmp_path / "bundle"), *options]) == 3
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_compile__choices_of_another_file__input_error(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "tiny.quant.json"
    model = [str(tiny.model), "--card", str(tiny.card)]
    assert main(["quantize", *model, "--calibrate", str(tiny.samples), "--budget", "none", "-o", str(file)]) == 0
    table = json.loads(file.read_text())
    file.write_text(json.dumps(table | {"source_sha256": "0" * 64}))
    assert main([*tiny.arguments(tmp_path / "bundle"), "--quantization", str(file)]) == 3
    assert "is of another model file" in capsys.readouterr().err


def test_compile__ranges_far_too_small__refused_unless_accepted(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "tiny.quant.json"
    model = [str(tiny.model), "--card", str(tiny.card)]
    assert main(["quantize", *model, "--calibrate", str(tiny.samples), "--budget", "none", "-o", str(file)]) == 0
    table = json.loads(file.read_text())
    table["bytes"] = {name: [scale / 50, zero_point] for name, (scale, zero_point) in table["bytes"].items()}
    file.write_text(json.dumps(table))
    arguments = [*tiny.arguments(tmp_path / "bundle"), "--quantization", str(file)]
    assert main(arguments) == 5
    assert "int8 costs too much" in capsys.readouterr().err and not (tmp_path / "bundle").exists()
    assert main([*arguments, "--accept-accuracy-loss"]) == 0
