"""Object keypoint similarity, against pycocotools."""

import numpy as np
import pytest

from tvmpose.pose.similarity import SIGMAS, keypoint_similarity
from tvmpose.pose.skeletons import skeleton

NAMES = skeleton("coco17").keypoints


def test_sigmas__of_cocos_joints__are_pycocotools():
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    expected = cocoeval.Params(iouType="keypoints").kpt_oks_sigmas
    np.testing.assert_allclose([SIGMAS[name] for name in NAMES], expected)


def test_keypoint_similarity__a_person__as_computeoks_has_it():
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    random = np.random.default_rng(0)
    expected = random.uniform(20, 220, (17, 2))
    found = expected + random.normal(0, 8, (17, 2))
    sides = np.ptp(expected, axis=0)
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 1, 1], "num_keypoints": 17}
    person |= {"area": float(sides[0] * sides[1] * 0.53)}
    truth, result = coco.COCO(), coco.COCO()
    for table, points in ((truth, expected), (result, found)):
        keypoints = np.column_stack([points, np.full(17, 2)]).reshape(-1).tolist()
        entry = {**person, "keypoints": keypoints, "score": 1.0}
        table.dataset = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [entry]}
        table.createIndex()
    evaluation = cocoeval.COCOeval(truth, result, "keypoints")
    evaluation._prepare()
    ((judged,),) = evaluation.computeOks(1, 1)
    assert keypoint_similarity(found, expected, NAMES) == pytest.approx(judged, abs=1e-9)


def test_keypoint_similarity__the_same__is_1():
    points = np.random.default_rng(0).uniform(0, 100, (17, 3))
    assert keypoint_similarity(points, points, NAMES) == 1.0
