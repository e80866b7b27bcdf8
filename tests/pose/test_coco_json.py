"""COCO results: the ids, the order, and numbers that JSON can hold."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tvmpose.pose.coco_json import coco_results
from tvmpose.runtime import Person


@pytest.mark.parametrize(
    ("file_name", "image_id"),
    [
        ("000000000139.jpg", 139),
        ("astronaut.png", "astronaut"),
        ("a/b/12.x.jpg", "12.x"),
        ("²³.png", "²³"),
        ("-1.jpg", "-1"),
    ],
)
def test_coco_results__image_id__is_the_number_in_the_name_or_the_name(file_name, image_id):
    (result,) = coco_results(file_name, [Person(1.0, (0, 0, 1, 1), np.zeros((1, 3), np.float32))])
    assert result["image_id"] == image_id


@given(arrays(np.float32, (5, 3)), st.floats(width=32))
def test_coco_results__any_numbers__strict_json_close_to_them(keypoints, score):
    (result,) = coco_results("1.jpg", [Person(score, (1.0, 2.0, 3.0, 4.0), keypoints)])
    back = np.array(json.loads(json.dumps(result, allow_nan=False))["keypoints"]).reshape(5, 3)
    finite = np.isfinite(keypoints).all(axis=1)
    np.testing.assert_allclose(back[finite], keypoints[finite], atol=6e-4)
    assert not back[~finite].any()


def test_coco_results__several_people__keep_their_order():
    people = [Person(s, (s, 0, 1, 1), np.zeros((1, 3), np.float32)) for s in (0.25, 0.75)]
    assert [result["score"] for result in coco_results("x.jpg", people)] == [0.25, 0.75]


def test_coco_results__pycocotools__loads_them():
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    truth = coco.COCO()
    truth.dataset = {"images": [{"id": 139}], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    truth.createIndex()
    joints = np.arange(51, dtype=np.float32).reshape(17, 3)
    loaded = truth.loadRes(coco_results("000000000139.jpg", [Person(0.5, (1.0, 2.0, 3.0, 4.0), joints)]))
    (annotation,) = loaded.loadAnns(loaded.getAnnIds(imgIds=[139], catIds=[1]))
    assert (annotation["keypoints"], annotation["score"]) == (joints.ravel().tolist(), 0.5)
