"""The pipeline: on networks that are told where people are, and BlazePose against a program written by hand."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Compile
from tests.pose import blazepose_by_hand as by_hand
from tvmpose.accuracy.coco_ap import Detection, average_precision
from tvmpose.accuracy.dataset import common_keypoints, read_dataset
from tvmpose.errors import InputError
from tvmpose.pose import Pipeline
from tvmpose.pose.pipeline import GivenBoxes
from tvmpose.pose.skeletons import skeleton
from tvmpose.runtime import Person, load
from tvmpose.runtime.smooth import MovingAverage

NAMES = skeleton("coco17").keypoints
SHAPE = np.random.default_rng(0).uniform((0.1, 0.1), (0.9, 0.9), (17, 2))  # of everyone, in their box
BLACK = np.zeros((400, 600, 3), np.uint8)


class World:
    """Where people are, of (x, y, width, height), and the networks that see them."""

    def __init__(self, *boxes: Sequence[float]) -> None:
        self.boxes = [np.array(box, float) for box in boxes]
        self.detector, self.landmark = Detector(self), Landmark(self)


class Detector:
    keypoint_names = ("middle",)

    def __init__(self, world: World) -> None:
        self.world, self.calls = world, 0

    def __call__(self, frame, boxes=None, *, angles=None, format="bgr") -> list[Person]:
        self.calls += 1
        people = []
        for x, y, width, height in self.world.boxes:
            middle = np.array([[x + width / 2, y + height / 2, 1]], np.float32)
            people.append(Person(0.9, (x, y, width, height), middle))
        return people


class Landmark:
    """Finds whom the middle of a box lies in, and else nobody."""

    keypoint_names = NAMES

    def __init__(self, world: World) -> None:
        self.world, self.looked = world, list[list[tuple[float, ...]]]()

    def __call__(self, frame, boxes=None, *, angles=None, format="bgr") -> list[Person]:
        self.looked.append([tuple(box) for box in boxes])
        return [self.look(box) for box in boxes]

    def look(self, box) -> Person:
        middle = np.add(box[:2], np.divide(box[2:], 2))
        for person in self.world.boxes:
            if (person[:2] <= middle).all() and (middle <= person[:2] + person[2:]).all():
                joints = np.c_[person[:2] + SHAPE * person[2:], np.full(17, 0.9)]
                return Person(0.8, tuple(box), joints.astype(np.float32))
        return Person(0.05, tuple(box), np.zeros((17, 3), np.float32))


def test_pipeline__people_who_walk__keep_their_numbers_and_the_detector_rests():
    world = World((10, 20, 80, 200), (300, 100, 90, 220))
    pipeline = Pipeline(world.detector, world.landmark, every=5)
    for frame in range(20):
        people = pipeline(BLACK, frame / 25)
        assert sorted(person.id for person in people) == [0, 1]
        first = next(person for person in people if person.id == 0)
        np.testing.assert_allclose(first.keypoints[:, :2], world.boxes[0][:2] + SHAPE * (80, 200), rtol=1e-5)
        world.boxes[0] += (6, 0, 0, 0)
        world.boxes[1] -= (4, 2, 0, 0)
    assert world.detector.calls == 4
    # Between, people are looked for around their last joints, which lie within their box.
    _, _, width, height = world.landmark.looked[-1][0]
    assert 40 < width < 110 and 120 < height < 240


def test_pipeline__everyone_left__asks_the_detector_in_every_frame_until_someone_comes():
    world = World((10, 20, 80, 200))
    pipeline = Pipeline(world.detector, world.landmark, every=10)
    pipeline(BLACK, 0.0)
    there, world.boxes = world.boxes, []
    assert pipeline(BLACK, 0.1) == []  # looked around the last joints, in vain
    assert pipeline(BLACK, 0.2) == [] and pipeline(BLACK, 0.3) == []
    assert world.detector.calls == 3
    world.boxes = there
    assert [person.id for person in pipeline(BLACK, 0.4)] == [0]


def test_pipeline__never_detecting__asks_only_where_nobody_is_followed():
    world = World((10, 20, 80, 200))
    pipeline = Pipeline(GivenBoxes([(10, 20, 80, 200)]), world.landmark, every=None)
    for _ in range(30):
        (person,) = pipeline(BLACK, 0.0)
        world.boxes[0] += (9, 0, 0, 0)
        assert person.id == 0
    assert all(len(boxes) == 1 for boxes in world.landmark.looked)
    assert GivenBoxes()(BLACK)[0].box == (0, 0, 600, 400)


def test_pipeline__newcomer__is_found_by_the_next_detection_and_followed_ones_are_not_doubled():
    world = World((10, 20, 80, 200))
    pipeline = Pipeline(world.detector, world.landmark, every=3)
    pipeline(BLACK, 0.0)
    world.boxes.append(np.array([300.0, 50, 80, 200]))
    assert [[person.id for person in pipeline(BLACK, t)] for t in (0.1, 0.2, 0.3)] == [[0], [0], [0, 1]]
    assert [len(boxes) for boxes in world.landmark.looked] == [1, 1, 1, 2]


def test_pipeline__two_detections_of_one_person__are_one():
    world = World((10, 20, 80, 200), (14, 22, 80, 200))
    world.landmark.world = World((10, 20, 80, 200))
    assert len(Pipeline(world.detector, world.landmark)(BLACK, 0.0)) == 1


def test_pipeline__bottom_up__takes_the_detectors_own_people():
    world = World((10, 20, 80, 200), (300, 50, 80, 200))
    pipeline = Pipeline(world.detector)
    pipeline._tracker._least = 0  # one joint has no box
    assert pipeline.keypoint_names == ("middle",)
    assert len(pipeline(BLACK, 0.0)) == 2 and len(pipeline(BLACK, 0.1)) == 2
    assert world.detector.calls == 2


def test_pipeline__people_partly_or_wholly_outside__only_those_who_meet_the_picture():
    world = World((-60, 20, 80, 200), (700, 50, 80, 200))
    assert [person.id for person in Pipeline(world.detector, world.landmark)(BLACK, 0.0)] == [0]
    assert world.landmark.looked == [[(-60, 20, 80, 200)]]


def test_pipeline__more_people_than_asked_for__are_cut():
    world = World(*[(60 * i, 20, 50, 150) for i in range(8)])
    assert len(Pipeline(world.detector, world.landmark, most_people=3)(BLACK, 0.0)) == 3


def test_pipeline__smoother__one_for_each_person():
    world = World((0, 20, 80, 200), (300, 50, 80, 200))
    pipeline = Pipeline(world.detector, world.landmark, smoother=lambda: MovingAverage(2))
    pipeline(BLACK, 0.0)
    world.boxes[0] += (10, 0, 0, 0)
    moved, still = sorted(pipeline(BLACK, 0.04), key=lambda person: person.id)
    np.testing.assert_allclose(moved.keypoints[:, 0], 5 + SHAPE[:, 0] * 80, rtol=1e-5)
    np.testing.assert_allclose(still.keypoints[:, 0], 300 + SHAPE[:, 0] * 80, rtol=1e-5)


def test_pipeline__reset__begins_again():
    world = World((10, 20, 80, 200))
    pipeline = Pipeline(world.detector, world.landmark, every=10)
    pipeline(BLACK, 0.0)
    pipeline.reset()
    world.boxes = [np.array([300.0, 50, 80, 200])]
    assert [person.id for person in pipeline(BLACK, 0.0)] == [0]


def test_pipeline__import__needs_numpy_alone():
    program = (
        "import sys\nfrom tvmpose.pose import Pipeline\nfrom tvmpose.runtime.smooth import OneEuro\n"
        "sys.exit(bool({'cv2', 'tvm', 'onnx', 'tflite', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("options", [{"every": 0}, {"most_people": 0}])
def test_pipeline__options_that_cannot_be__are_one_line(options):
    world = World()
    with pytest.raises(InputError, match="at least 1"):
        Pipeline(world.detector, world.landmark, **options)


@pytest.mark.slow
def test_pipeline__blazepose_on_a_hundred_pictures__as_the_same_models_in_litert_by_hand(data: Path, compiled: Compile):
    dataset = read_dataset(data / "coco" / "person_keypoints_val2017_dev100.json", data / "coco" / "val2017")
    judges = [by_hand.Network(data / "models" / f"pose_{name}.tflite") for name in ("detection", "landmark_lite")]
    bundles = [
        compiled("pose_detection.tflite", "blazepose-detector").bundle,
        compiled("pose_landmark_lite.tflite", "blazepose-lite").bundle,
    ]
    detector, landmark = map(load, bundles)
    pipeline = Pipeline(detector, landmark)
    rows, columns = common_keypoints(pipeline.keypoint_names, dataset)
    detections: tuple[list[Detection], list[Detection]] = ([], [])
    distances = []
    for picture, pixels in dataset.read():
        pipeline.reset()
        ours, theirs = pipeline(pixels, 0.0), by_hand.people(*judges, pixels, pipeline.least_score)
        for found, people in zip(detections, (ours, theirs), strict=True):
            for person in people:
                joints = person.keypoints[rows]
                found.append(Detection(picture.image_id, joints, float(joints[:, 2].mean())))
        for person in theirs:
            offsets = [np.hypot(*(p.keypoints - person.keypoints)[:, :2].T) for p in ours]
            distances.append(min(offsets, key=np.mean) if offsets else np.full(33, np.inf))
    ap, expected = (average_precision(found, dataset, columns).ap for found in detections)
    within = (np.concatenate(distances) <= 0.5).mean()
    counts = [len(found) for found in detections]
    print(f"AP {ap:.4f}, by hand {expected:.4f}; {counts} people; {within:.2%} of their joints within 0.5 px")
    assert abs(ap - expected) <= 0.002 and within >= 0.95 and counts[0] == counts[1] >= 70
