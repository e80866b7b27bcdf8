"""Calibration samples: whose boxes they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import Tiny
from tvmpose.cards import load_card
from tvmpose.errors import InputError
from tvmpose.modelspec import TensorSpec
from tvmpose.quantize.pictures import people, read_calibration

SPEC = TensorSpec("image", (1, 3, 24, 32), "float32")


def annotations(folder: Path, *entries: dict) -> Path:
    table = {"images": [{"id": 7, "file_name": "blobs.png"}], "annotations": [{"image_id": 7, **e} for e in entries]}
    (folder / "people.json").write_text(json.dumps(table))
    return folder / "people.json"


def test_people__crowds_and_people_without_joints__are_left_out(tmp_path: Path):
    path = annotations(
        tmp_path,
        {"bbox": [1, 2, 3, 4], "iscrowd": 0, "num_keypoints": 5},
        {"bbox": [1, 2, 30, 40], "iscrowd": 1, "num_keypoints": 5},
        {"bbox": [1, 2, 3, 5], "iscrowd": 0, "num_keypoints": 0},
    )
    assert people(path) == {"blobs.png": [{"image_id": 7, "bbox": [1, 2, 3, 4], "iscrowd": 0, "num_keypoints": 5}]}


def test_read_calibration__boxes__a_sample_each_and_each_another(tiny: Tiny, tmp_path: Path):
    path = annotations(tmp_path, {"bbox": [5, 5, 20, 20]}, {"bbox": [40, 10, 20, 30]})
    card = load_card(tiny.card)
    found = read_calibration(tiny.samples, path, card, SPEC)
    assert [sample.tensor.shape for sample in found] == [(1, 3, 24, 32)] * 2
    assert not np.array_equal(found[0].tensor, found[1].tensor)
    assert len(read_calibration(tiny.samples, None, card, SPEC)) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [], "annotations": [{"bbox": [1, 2, 3, 4], "image_id": 3}]}'])
def test_people__no_annotation_file__input_error(tmp_path: Path, text: str):
    (tmp_path / "people.json").write_text(text)
    with pytest.raises(InputError, match="not a COCO annotation file"):
        people(tmp_path / "people.json")


def test_read_calibration__boxes_of_other_pictures__input_error(tiny: Tiny, tmp_path: Path):
    path = annotations(tmp_path)
    with pytest.raises(InputError, match="has no person in any picture"):
        read_calibration(tiny.samples, path, load_card(tiny.card), SPEC)
