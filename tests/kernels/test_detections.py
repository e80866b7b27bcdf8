"""The detections kernel against float64 NumPy."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tvmpose.cards.heads import Anchors, DetectionHead
from tvmpose.errors import ModelError
from tvmpose.pose.reference_people import FoundPerson, decode_people

tvm = pytest.importorskip("tvm", reason="needs the compiler extra")

from tvmpose.kernels.detections import detections_kernel  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"})
MATRIX = np.array([1.7, -0.3, 12.25, 0.2, 1.9, -40.5])
INPUT_SIZE = (48, 64)
JOINTS = 3
CENTRE = ("x", "y", "width", "height")

# BlazePose's detector, YOLO-pose and MoveNet MultiPose
ANCHORED = DetectionHead(
    "detections", 1, (*CENTRE, "keypoints"), ("x", "y"), "pixels", 0.5, 0.3, 4, "average", 0, "sigmoid",
    anchors=Anchors((16, 32), (2, 6)),
)  # fmt: skip
DECODED = DetectionHead(
    "detections", 0, (*CENTRE, "score", "keypoints"), ("x", "y", "score"), "pixels", 0.25, 0.5, 5,
    keypoint_activation="sigmoid",
)  # fmt: skip
CORNERS = DetectionHead(
    "detections", 0, ("keypoints", "top", "left", "bottom", "right", "score", "-"), ("y", "x", "score"), "normalized",
    0.2, 1.0, 6,
)  # fmt: skip


@functools.cache
def compiled(head: DetectionHead, shapes: tuple[tuple[int, ...], ...], half_pixel: bool) -> tvm.runtime.Module:
    kernel = detections_kernel(
        head, name="decode", shapes=shapes, num_keypoints=JOINTS, input_size=INPUT_SIZE, half_pixel_centers=half_pixel
    )
    return tvm.compile(tvm.IRModule({"decode": kernel}), target=TARGET).mod


def found(head: DetectionHead, outputs: list[NDArray[np.float32]], half_pixel: bool) -> list[FoundPerson]:
    tensors = [outputs[index] for index in head.tensors]
    most = head.max_people
    keypoints, people, boxes = (tvm.runtime.empty((n,), "float32") for n in (most * JOINTS * 3, most, most * 4))
    count = tvm.runtime.empty((1,), "int32")
    kernel = compiled(head, tuple(tensor.shape for tensor in tensors), half_pixel)
    kernel["decode"](*(tvm.runtime.tensor(t) for t in (*tensors, MATRIX)), keypoints, people, boxes, count)
    rows = zip(people.numpy(), boxes.numpy().reshape(-1, 4), keypoints.numpy().reshape(-1, JOINTS, 3), strict=True)
    return [FoundPerson(score, tuple(box), joints) for score, box, joints in rows][: count.numpy()[0]]


def check(head: DetectionHead, outputs: list[NDArray[np.float32]], half_pixel: bool) -> list[FoundPerson]:
    expected = decode_people(head, outputs, MATRIX, num_keypoints=JOINTS, input_size=INPUT_SIZE, half_pixel=half_pixel)
    actual = found(head, outputs, half_pixel)
    assert len(actual) == len(expected)
    for ours, judge in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours.score, judge.score, rtol=1e-5)
        np.testing.assert_allclose(ours.box, judge.box, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(ours.keypoints, judge.keypoints, rtol=1e-5, atol=1e-3)
    return actual


def boxes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Rows of few places and sizes, so that many overlap."""
    return np.concatenate([rng.integers(0, 6, (count, 2)) * 8, rng.integers(1, 5, (count, 2)) * 8], axis=1)


@pytest.mark.parametrize("half_pixel", [False, True])
@given(seed=st.integers(0, 2**32 - 1), likely=st.floats(-3, 2))
@settings(max_examples=25, deadline=None)
def test_detections__rows_of_every_kind__as_reference(half_pixel: bool, seed: int, likely: float) -> None:
    rng = np.random.default_rng(seed)
    rows = ANCHORED.anchors.count(INPUT_SIZE)
    places = np.concatenate([boxes(rng, rows) - [24, 24, 0, 0], rng.normal(0, 20, (rows, 6))], axis=1)
    check(ANCHORED, [rng.normal(likely, 2, (1, rows, 1)).astype("f4"), places[None].astype("f4")], half_pixel)
    decoded = np.concatenate([boxes(rng, 21), rng.random((21, 1)), rng.normal(0, 20, (21, 9))], axis=1)
    check(DECODED, [decoded.T[None].astype("f4")], half_pixel)
    corners = rng.random((1, 7, 15)).astype("f4")
    assert len(check(CORNERS, [corners], half_pixel)) == min(6, (corners[0, :, 13] >= 0.2).sum())


def test_detections__two_overlapping_rows__averaged_by_score() -> None:
    rows = np.zeros((1, ANCHORED.anchors.count(INPUT_SIZE), 10), np.float32)
    scores = np.full((1, rows.shape[1], 1), -9, np.float32)
    rows[0, 0, :4], rows[0, 1, :4] = (0, 0, 20, 20), (4, 0, 20, 20)  # anchors of the first cell: 8, 8
    scores[0, 0], scores[0, 1] = np.log(3), 0  # 0.75 and 0.5
    (person,) = check(ANCHORED, [scores, rows], False)
    x = 8 + 4 * 0.5 / 1.25
    np.testing.assert_allclose(person.keypoints[0], [*(MATRIX.reshape(2, 3) @ [x - 1.6, 8, 1]), 0.75], rtol=1e-6)
    assert person.score == pytest.approx(0.75)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_detections__scores_that_are_no_numbers__found_only_if_infinite(value: float) -> None:
    rows = np.ones((1, 14, 21), np.float32)
    rows[0, 4] = value
    with np.errstate(invalid="ignore"):
        people = found(DECODED, [rows], False)
    assert len(people) == (1 if value == np.inf else 0)


@pytest.mark.parametrize(
    ("head", "shapes", "message"),
    [
        (DECODED, [(1, 21, 13)], "no table of rows of 14"),
        (ANCHORED, [(1, 60, 10), (1, 60, 1)], "has 60 rows, for 48 anchors"),
        (ANCHORED, [(1, 48, 10), (1, 47, 1)], "not one score for each of 48 rows"),
    ],
)
def test_detections__shape_does_not_fit_head__model_error(head, shapes, message) -> None:
    with pytest.raises(ModelError, match=message):
        detections_kernel(
            head, name="d", shapes=shapes, num_keypoints=JOINTS, input_size=INPUT_SIZE, half_pixel_centers=False
        )
