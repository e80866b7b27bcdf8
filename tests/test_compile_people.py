"""A network that finds people itself, from pixels to people: BlazePose's detector."""

import cv2
import numpy as np
import pytest

from tests.conftest import Compile, Compiled
from tvmpose.baselines.judge import open_judge
from tvmpose.gate import network_input
from tvmpose.pose import reference
from tvmpose.pose.reference_people import FoundPerson, decode_people
from tvmpose.runtime import UsageError, load

pytestmark = pytest.mark.slow  # its network alone takes ten seconds to compile


@pytest.fixture(scope="module")
def detector(compiled: Compile) -> Compiled:
    return compiled("pose_detection.tflite", "blazepose-detector")


def judged(detector: Compiled, path, picture: np.ndarray, box=None) -> list[FoundPerson]:
    """LiteRT's outputs, fed and decoded in float64."""
    card, spec = detector.card, detector.report.manifest.model.inputs[0]
    size = (card.input.width, card.input.height)
    matrix = reference.box_matrix(box, picture.shape[1::-1], size, card.crop.padding, half_pixel=True)
    outputs = open_judge(path, "tflite").run([network_input(card, spec, picture, matrix)])
    count = len(card.keypoints.keypoints)
    return decode_people(card.head, outputs, matrix, num_keypoints=count, input_size=size, half_pixel=True)


def test_compile__detector__the_people_litert_finds_in_pictures_and_boxes(detector, data, photos) -> None:
    path, found = data / "models" / "pose_detection.tflite", 0
    with load(detector.bundle) as network:
        for photo in sorted(photos.iterdir()):
            picture = cv2.imread(str(photo))
            height, width = picture.shape[:2]
            boxes = [(0, 0, width, height), (width / 4, 0, width / 2, height), (0, 0, 9, 9)]
            in_boxes = [person for box in boxes for person in judged(detector, path, picture, box)]
            for people, expected in (
                (network(picture), judged(detector, path, picture)),
                (network(picture, boxes), in_boxes),
            ):
                assert len(people) == len(expected)
                found += len(people)
                for ours, judge in zip(people, expected, strict=True):
                    np.testing.assert_allclose(ours.keypoints, judge.keypoints, rtol=1e-4, atol=0.02)
                    np.testing.assert_allclose(ours.box, judge.box, rtol=1e-4, atol=0.02)
                    assert ours.score == pytest.approx(judge.score, abs=1e-4)
    assert found >= 6
    assert detector.report.findings.max_px < 0.1


def test_compile__detector_sees_nobody__no_people(detector) -> None:
    with load(detector.bundle) as network:
        assert network(np.zeros((48, 64, 3), np.uint8)) == []
        with pytest.raises(UsageError, match="max_people"):
            network(np.zeros((48, 64, 3), np.uint8), [(0, 0, 9, 9)] * 17)
