"""A small data set: two pictures, three people of COCO's seventeen joints, and a crowd."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tvmpose.accuracy.dataset import Dataset, read_dataset
from tvmpose.pose.skeletons import skeleton

NAMES = skeleton("coco17").keypoints
BOXES = ((1, (10, 12, 60, 80)), (1, (70, 5, 40, 90)), (2, (20, 20, 50, 70)))


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """people.json beside the folder pictures; every fifth joint is not labelled."""
    random = np.random.default_rng(3)
    entries = []
    for number, (image, (x, y, width, height)) in enumerate(BOXES):
        joints = np.column_stack([random.uniform((x, y), (x + width, y + height), (17, 2)), np.full(17, 2)])
        joints[number::5] = 0
        entry = {"id": number + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": [x, y, width, height]}
        entry |= {"area": width * height * 0.53, "num_keypoints": int((joints[:, 2] > 0).sum())}
        entries.append(entry | {"keypoints": joints.reshape(-1).tolist()})
    entries.append(entries[0] | {"id": 9, "iscrowd": 1, "bbox": [0, 0, 5, 5]})
    (tmp_path / "pictures").mkdir()
    images = [{"id": number, "file_name": f"{number}.png", "width": 120, "height": 100} for number in (1, 2)]
    for image in images:
        cv2.imwrite(
            str(tmp_path / "pictures" / image["file_name"]), random.integers(0, 256, (100, 120, 3)).astype(np.uint8)
        )
    categories = [{"id": 1, "name": "person", "keypoints": list(NAMES)}]
    table = {"images": images, "annotations": entries, "categories": categories}
    path = tmp_path / "people.json"
    path.write_text(json.dumps(table))
    return path


@pytest.fixture
def dataset(annotations: Path) -> Dataset:
    return read_dataset(annotations, annotations.parent / "pictures")
