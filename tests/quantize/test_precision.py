"""Average precision of calibration pictures' people, against what its definition says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmpose.errors import InputError
from tvmpose.pose.skeletons import skeleton
from tvmpose.quantize.pictures import Sample
from tvmpose.quantize.precision import Precision

NAMES = skeleton("coco17").keypoints
RIGHT = np.c_[np.random.default_rng(0).uniform(10, 90, (17, 2)), np.ones(17)]
WRONG = RIGHT + np.array([300, 300, -0.5])


def person(number: int, **changes: Any) -> dict[str, Any]:
    joints = np.c_[RIGHT[:, :2], np.full(17, 2)].reshape(-1).tolist()
    box = {"bbox": [0, 0, 100, 100], "area": 10000.0, "iscrowd": 0}
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "keypoints": joints,
        "num_keypoints": 17,
        **box,
    } | changes


def precision(folder: Path, people: list[dict[str, Any]], names: tuple[str, ...] = NAMES, others: int = 0) -> Precision:
    """others: annotated, but no samples."""
    everybody = [*people, *(person(100 + i) for i in range(others))]
    images = [{"id": entry["image_id"], "file_name": f"{entry['image_id']}.jpg"} for entry in everybody]
    categories = [{"id": 1, "name": "person", "keypoints": list(skeleton("coco17").keypoints)}]
    path = folder / "people.json"
    path.write_text(json.dumps({"images": images, "annotations": everybody, "categories": categories}))
    return Precision(path, names, [Sample(np.zeros(1), np.eye(2, 3).reshape(-1), entry) for entry in people])


@pytest.mark.parametrize(
    ("found", "points"),
    # precision is 1 up to a recall of one half: 51 of the 101 recalls that COCO asks for
    [([RIGHT, RIGHT], 100.0), ([RIGHT, WRONG], 100 * 51 / 101), ([WRONG, WRONG], 0.0)],
)
def test_points__people_found_or_not__as_coco_defines_it(tmp_path: Path, found: list[np.ndarray], points: float):
    assert precision(tmp_path, [person(1), person(2)], others=3).points(found) == pytest.approx(points, abs=1e-6)


def test_points__model_with_other_joints_between__by_name(tmp_path: Path):
    names = ("neck", *reversed(NAMES))
    found = np.concatenate([WRONG[:1], RIGHT[::-1]])
    assert precision(tmp_path, [person(1)], names).points([found]) == pytest.approx(100)


@pytest.mark.parametrize(
    ("people", "names", "says"),
    [
        ([{"bbox": [0, 0, 9, 9], "image_id": 1}], NAMES, "needs annotated keypoints"),
        ([person(1)], NAMES[:5], "needs the model's keypoints: nose, left_eye"),
    ],
)
def test_precision__nothing_to_judge_by__input_error(tmp_path: Path, people, names, says: str):
    with pytest.raises(InputError, match=says):
        precision(tmp_path, people, names)
