"""Annotated people, read."""

import json
from pathlib import Path

import numpy as np
import pytest

from tvmpose.accuracy.dataset import Dataset, common_keypoints, read_dataset
from tvmpose.errors import InputError


def test_read_dataset__people__are_in_their_pictures_and_crowds_left_out(dataset: Dataset):
    assert [len(picture.people) for picture in dataset.pictures] == [2, 1]
    assert dataset.pictures[0].people[1].box == (70, 5, 40, 90)
    assert dataset.pictures[1].people[0].keypoints.shape == (17, 3)
    assert [pixels.shape for _, pixels in dataset.read()] == [(100, 120, 3)] * 2


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"images": [], "annotations": [], "categories": []}'])
def test_read_dataset__no_annotations__is_one_line(tmp_path: Path, text: str | None):
    path = tmp_path / "people.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"--annotations .*people\.json") as caught:
        read_dataset(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_read_dataset__nobody_labelled__is_one_line(annotations: Path):
    table = json.loads(annotations.read_text())
    table["annotations"] = [entry | {"num_keypoints": 0} for entry in table["annotations"]]
    annotations.write_text(json.dumps(table))
    with pytest.raises(InputError, match="nobody"):
        read_dataset(annotations, annotations.parent)


def test_read__picture_is_missing__is_named(dataset: Dataset):
    (dataset.folder / "2.png").unlink()
    with pytest.raises(InputError, match=r"2\.png"):
        list(dataset.read())


def test_common_keypoints__another_order__finds_both_places(dataset: Dataset):
    rows, columns = common_keypoints(("neck", "right_ankle", "nose"), dataset)
    assert (rows, columns) == ([2, 1], [0, 16])
    with pytest.raises(InputError, match="no keypoint"):
        common_keypoints(("tail",), dataset)


def test_read__rotated_by_exif__stays_as_stored(dataset: Dataset):
    """COCO's annotations count the pixels that the file holds."""
    import cv2

    _, jpeg = cv2.imencode(".jpg", np.zeros((100, 120, 3), np.uint8))
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)  # Orientation = 6
    segment, data = b"Exif\0\0" + tiff, jpeg.tobytes()
    rotated = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    (dataset.folder / "1.png").write_bytes(rotated)
    assert next(pixels for _, pixels in dataset.read()).shape == (100, 120, 3)
