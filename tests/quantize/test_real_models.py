"""Our own quantization of real networks: average precision beside the float bundle's, and what the weights take."""

import json
from pathlib import Path

import pytest

from benchmarks.quantized_accuracy import PARAMETERS
from tests.coco_part import part_of
from tvmpose.accuracy.dataset import read_dataset
from tvmpose.accuracy.evaluate import boxed_precision
from tvmpose.cli.main import main
from tvmpose.codegen.bundle import MANIFEST
from tvmpose.runtime import load

pytestmark = pytest.mark.slow
MODELS = {"movenet-lightning": "movenet-lightning.onnx", "blazepose-full": "pose_landmark_full.tflite"}
CALIBRATED, MEASURED = 6, 20  # pictures; the whole is benchmarks.quantized_accuracy


@pytest.mark.parametrize("name", MODELS)
def test_compile__int8_of_a_real_model__precision_and_size(name: str, data: Path, tmp_path: Path):
    coco, model = data / "coco", data / "models" / MODELS[name]
    calibration = "train2017", "person_keypoints_train2017_calib64.json", CALIBRATED
    photos, boxes = part_of(coco, *calibration, tmp_path)
    plain = ["compile", str(model), "--card", name, "--no-verify"]
    assert main([*plain, "-o", str(tmp_path / "float")]) == 0
    asked = ["--precision", "int8", "--calibrate", str(photos), "--boxes", str(boxes), "--budget", "none"]
    assert main([*plain, "-o", str(tmp_path / "int8"), *asked]) == 0
    pictures, annotations = part_of(coco, "val2017", "person_keypoints_val2017_dev100.json", MEASURED, tmp_path)
    dataset, found = read_dataset(annotations, pictures), []
    for bundle in ("float", "int8"):
        with load(tmp_path / bundle) as pose:
            estimate = lambda picture, box, pose=pose: pose(picture, [box], format="bgr")[0].keypoints  # noqa: E731
            found.append(boxed_precision(estimate, pose.keypoint_names, dataset).ap)
    manifest = json.loads((tmp_path / "int8" / MANIFEST).read_text())
    share = manifest["libraries"][0]["memory"]["weight_bytes"] / (4 * PARAMETERS[name])
    print(f"{name}: AP {found[0]:.3f} float, {found[1]:.3f} int8; weights {share:.1%} of float32's")
    assert found[1] >= found[0] - 0.03
    assert share <= 0.30 and manifest["quantized"]["integer_share"] >= 0.9
