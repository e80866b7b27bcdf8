"""People cut out of photos: the largest of each, in the order of their sizes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.people import cut_out, write_people


def test_write_people__two_photos__the_largest_person_of_the_larger_one(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), random.integers(0, 256, (60, 80, 3), "uint8"))
    boxes = [(1, [4, 4, 10, 10]), (2, [0, 0, 5, 5]), (2, [20, 10, 40, 20])]
    people = [{"image_id": image, "bbox": box, "num_keypoints": 3, "iscrowd": 0} for image, box in boxes]
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    (tmp_path / "people.json").write_text(json.dumps({"images": images, "annotations": people}))
    (written,) = write_people(tmp_path / "people.json", tmp_path, tmp_path / "cut", 1).iterdir()
    expected = cv2.imread(str(tmp_path / "b.png"))[7:33, 15:65]
    assert written.name == "b.png"
    np.testing.assert_array_equal(cv2.imread(str(written)), expected)


@pytest.mark.parametrize(("box", "shape"), [([0.0, 0.0, 8.0, 8.0], (9, 9)), ([74.0, 50.0, 8.0, 12.0], (12, 7))])
def test_cut_out__person_at_the_edge__ends_with_the_picture(box: list[float], shape: tuple[int, int]) -> None:
    assert cut_out(np.zeros((60, 80, 3), "uint8"), box).shape[:2] == shape
