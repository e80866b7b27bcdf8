"""Average precision, against pycocotools driven by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from tvmpose.accuracy.coco_ap import Detection, average_precision
from tvmpose.accuracy.dataset import Dataset

ALL = list(range(17))


def noisy(dataset: Dataset, pixels: float) -> list[Detection]:
    random = np.random.default_rng(0)
    people = [person for picture in dataset.pictures for person in picture.people]
    return [
        Detection(person.image_id, person.keypoints + random.normal(0, pixels, (17, 3)), float(random.random()))
        for person in people
    ]


def test_average_precision__the_truth__is_1_and_nothing_found_is_0(dataset: Dataset):
    found = average_precision(noisy(dataset, 0), dataset, ALL)
    assert (found.ap, found.ap50, found.ar) == (1, 1, 1)
    assert average_precision([], dataset, ALL).ap == 0


def test_average_precision__noise__is_what_pycocotools_says(dataset: Dataset, annotations: Path):
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    detections = noisy(dataset, 4)
    truth = coco.COCO(str(annotations))
    results = [
        {"image_id": d.image_id, "category_id": 1, "score": d.score, "keypoints": d.keypoints.reshape(-1).tolist()}
        for d in detections
    ]
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    found = average_precision(detections, dataset, ALL)
    assert 0 < found.ap < 1
    np.testing.assert_array_equal([found.ap, found.ap50, found.ap75, found.ar], evaluation.stats[[0, 1, 2, 5]])


def test_average_precision__some_joints_only__others_do_not_count(dataset: Dataset):
    columns = [16, 0, 5, 11]
    wrong = [Detection(d.image_id, d.keypoints[columns], d.score) for d in noisy(dataset, 0)]
    assert average_precision(wrong, dataset, columns).ap == 1
    others = noisy(dataset, 0)
    for detection in others:
        detection.keypoints[[i for i in ALL if i not in columns], :2] += 500
    assert average_precision(others, dataset, ALL).ap < 0.1
    kept = [Detection(d.image_id, d.keypoints[columns], d.score) for d in others]
    assert average_precision(kept, dataset, columns).ap == 1


def test_average_precision__table__stays_as_it_was(dataset: Dataset):
    before = json.dumps(dataset.table)
    average_precision(noisy(dataset, 1), dataset, ALL)
    assert json.dumps(dataset.table) == before
