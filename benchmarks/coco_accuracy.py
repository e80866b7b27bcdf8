"""Average precision of a bundle on COCO keypoints, from the people's own boxes: compares systems, is no COCO result."""

import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tvmpose.pose.skeletons import skeleton

Estimate = Callable[[np.ndarray, Sequence[float]], np.ndarray]
"""From a picture, uint8 BGR, and a box (x, y, width, height) to keypoints (K, 3) in pixels of the picture."""


def average_precision(estimate: Estimate, skeleton_name: str, annotations: Path, pictures: Path) -> float:
    """AP 0..1 over every annotated, non-crowd person; the score of each is the mean of the keypoints'."""
    with redirect_stdout(StringIO()):
        truth = COCO(str(annotations))
    rows = _rows_of_coco(skeleton_name)
    results = []
    for image in truth.loadImgs(truth.getImgIds()):
        picture = cv2.imread(str(pictures / image["file_name"]))
        for person in truth.loadAnns(truth.getAnnIds(image["id"], iscrowd=False)):
            if person["num_keypoints"]:
                keypoints = np.asarray(estimate(picture, person["bbox"]), "float64")[rows]
                entry = {"image_id": image["id"], "category_id": 1, "score": float(keypoints[:, 2].mean())}
                results.append({**entry, "keypoints": keypoints.reshape(-1).tolist()})
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def count_people(annotations: Path) -> int:
    table = json.loads(annotations.read_text())
    return sum(bool(entry["num_keypoints"]) and not entry["iscrowd"] for entry in table["annotations"])


def _rows_of_coco(skeleton_name: str) -> list[int]:
    """Where COCO's keypoints are among the skeleton's."""
    names = skeleton(skeleton_name).keypoints
    return [names.index(name) for name in skeleton("coco17").keypoints]
