"""``tvmpose eval``: on a bundle whose keypoints are known beforehand, and on real models beside their own runtimes."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.coco_part import part_of
from tests.conftest import Compile, FakeBundle
from tvmpose.cards import load_card
from tvmpose.cli.main import main

MEASURED = 10  # pictures; docs/accuracy.md has all hundred


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """One picture, one person whose joints are where fake_bundle.c finds them: corner, middle and end of the box."""
    cv2.imwrite(str(tmp_path / "1.png"), np.full((60, 80, 3), 90, np.uint8))
    keypoints = [*(8, 4, 2), *(13, 14, 2), *(18, 24, 1)]
    entry = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [8, 4, 10, 20], "area": 100}
    table = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "annotations": [entry | {"num_keypoints": 3, "keypoints": keypoints}],
        "categories": [{"id": 1, "keypoints": ["left_eye", "right_eye", "nose"]}],
    }
    (tmp_path / "people.json").write_text(json.dumps(table))
    return tmp_path


def _eval(people: Path, *arguments: object) -> int:
    where = ["--annotations", str(people / "people.json"), "--images", str(people)]
    return main(["eval", *map(str, arguments), *where])


def test_eval__a_bundle_that_is_right__all_measures_are_full(fake_bundle: FakeBundle, people: Path, capsys):
    out, document = people / "out" / "r.json", people / "t.md"
    assert _eval(people, fake_bundle(), "--robustness", "--json", out, "--markdown", document) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["pictures"] for row in rows][:2] == ["as they are", "occlusion"] and len(rows) == 6
    assert rows[0]["precision"]["ap"] == pytest.approx(1) and rows[0]["errors"]["pck"] == 1
    assert rows[0]["errors"]["pckh"] is None  # no shoulders, no head
    assert rows[0]["timing"]["median_ms"] > 0 and rows[1]["timing"] is None
    text = capsys.readouterr().out
    assert "1 people in 1 pictures" in text and "right_eye" in text
    assert document.read_text().startswith("| system | runtime | pictures | AP |")


def test_eval__one_metric__only_its_columns(fake_bundle: FakeBundle, people: Path, capsys):
    assert _eval(people, fake_bundle(), "--metric", "pck") == 0
    text = capsys.readouterr().out
    assert "PCK@0.2" in text and "PCKh" not in text and " AP50" not in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--metric", "iou"], 3, "--metric iou: there are oks, pck, pckh"),
        (["--metric", ","], 3, "--metric names none"),
        (["--threads", "0"], 3, "--threads 0"),
        (["nowhere.tflite"], 3, "nowhere.tflite: no such file"),
    ],
)
def test_eval__what_cannot_be__is_one_line(fake_bundle: FakeBundle, people: Path, capsys, arguments, code, message):
    assert _eval(people, fake_bundle(), *arguments) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_eval__bundle_without_a_card__is_refused(fake_bundle: FakeBundle, people: Path, capsys):
    assert _eval(people, fake_bundle("FAKE_NO_CARD", card=None, keypoints=None)) == 3
    assert "without a model card" in capsys.readouterr().err


def test_eval__detector__people_are_found_before_the_others_look(fake_bundle: FakeBundle, people: Path, capsys):
    """The false detector finds one person, in the whole picture, whose joints are then its corners and its middle."""
    table = json.loads((people / "people.json").read_text())
    keypoints = [*(0, 0, 2), *(40, 30, 2), *(80, 60, 2)]
    table["annotations"][0] |= {"keypoints": keypoints, "bbox": [1, 1, 2, 2], "area": 2000}
    (people / "people.json").write_text(json.dumps(table))
    out = people / "r.json"
    assert _eval(people, fake_bundle(), "--detector", fake_bundle(name="detector"), "--json", out) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["precision"]["ap"] == pytest.approx(1) and row["errors"] is None
    assert "from pixels" in row["runtime"] and "from pixels" in capsys.readouterr().out


def test_eval__same_crops__need_the_card_of_the_bundle(fake_bundle: FakeBundle, people: Path, capsys):
    assert _eval(people, fake_bundle(), "--same-crops") == 3
    assert "no model card is called 'fake'" in capsys.readouterr().err


def test_eval__pycocotools_is_missing__names_the_extra(fake_bundle: FakeBundle, people: Path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    assert _eval(people, fake_bundle()) == 6
    assert "tvmpose[eval]" in capsys.readouterr().err


def by_hand(model: Path, name: str, folder: Path, people: list[dict]) -> list[dict]:
    """The source model in its runtime, pictures by OpenCV, as COCO results: the crop that $TVMPOSE_DATA describes."""
    card = load_card(name)
    side, is_blazepose = card.input.width, card.skeleton == "blazepose33"
    if model.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        network = lambda pixels: session.run(None, {given.name: pixels.astype(np.int32)})[0]  # noqa: E731
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(model))
        interpreter.allocate_tensors()
        given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]

        def network(pixels: np.ndarray) -> np.ndarray:
            tensor = pixels / np.float32(255) if is_blazepose else pixels
            interpreter.set_tensor(given["index"], tensor.astype(given["dtype"]))
            interpreter.invoke()
            return interpreter.get_tensor(wanted)

    coco = [card.keypoints.keypoints.index(joint) for joint in load_card("movenet-lightning").keypoints.keypoints]
    results = []
    for person in people:
        picture = cv2.imread(str(folder / f"{person['image_id']:012d}.jpg"))
        x, y, width, height = person["bbox"]
        scale = max(width, height) * 1.25 / side
        corner = np.array([x + width / 2, y + height / 2]) - scale * side / 2
        there = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        crop = cv2.warpAffine(picture, there, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        output = network(crop[None, :, :, ::-1])
        if is_blazepose:
            rows = output.reshape(39, 5)[coco]
            joints = np.column_stack([rows[:, :2], 1 / (1 + np.exp(-rows[:, 3]))])
        else:
            joints = output.reshape(17, 3)[:, [1, 0, 2]] * [side, side, 1]
        joints[:, :2] = joints[:, :2] * scale + corner
        entry = {"image_id": person["image_id"], "category_id": 1, "score": float(joints[:, 2].mean())}
        results.append(entry | {"keypoints": joints.reshape(-1).tolist()})
    return results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "card", "options"),
    [
        ("movenet-lightning.onnx", "movenet-lightning", []),
        # One byte in ten thousand that is off by one moves its AP by more than half a point.
        ("movenet_single_pose_lightning_ptq.tflite", "movenet-lightning-coral", ["--same-crops"]),
    ],
)
def test_eval__real_model__bundle_source_and_a_program_by_hand_agree(
    file: str, card: str, options: list[str], data: Path, compiled: Compile, tmp_path: Path
):
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    whole = ("val2017", "person_keypoints_val2017_dev100.json")
    folder, annotations = part_of(data / "coco", *whole, MEASURED, tmp_path)
    bundle, out = compiled(file, card).bundle, tmp_path / "r.json"
    asked = ["--annotations", str(annotations), "--images", str(folder), "--card", card, "--json", str(out), *options]
    assert main(["eval", str(bundle), str(data / "models" / file), *asked]) == 0
    ours, source = (row["precision"]["ap"] for row in json.loads(out.read_text())["rows"])
    truth = coco.COCO(str(annotations))
    people = [entry for entry in truth.anns.values() if not entry["iscrowd"] and entry["num_keypoints"]]
    results = by_hand(data / "models" / file, card, folder, people)
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    by_program = evaluation.stats[0]
    print(f"{card}: AP {ours:.4f} ours, {source:.4f} source, {by_program:.4f} by hand")
    assert abs(ours - source) <= 0.002
    # OpenCV's crops differ by a few bytes: of so few people that is some points of a quantized network's AP.
    assert abs(ours - by_program) <= (0.06 if options else 0.005)
