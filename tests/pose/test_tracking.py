"""Numbers that people keep."""

import numpy as np
import pytest

from tvmpose.pose.skeletons import skeleton
from tvmpose.pose.tracking import MEASURES, Tracker
from tvmpose.runtime import Person

NAMES = skeleton("coco17").keypoints


def someone(x: float, y: float, seed: int = 0) -> Person:
    joints = np.random.default_rng(seed).uniform(0, 1, (17, 3)) * [40, 100, 0] + [x, y, 0.9]
    return Person(0.9, (x, y, 40, 100), joints.astype(np.float32))


@pytest.mark.parametrize("measure", MEASURES)
def test_update__two_people_walk_past_each_other__keep_their_numbers(measure):
    tracker = Tracker(NAMES, measure)
    for step in range(60):
        left, right = someone(5 * step, 0, 1), someone(300 - 5 * step, 60, 2)
        people = [left, right] if step % 2 else [right, left]
        ids = tracker.update(people)
        assert ids == ([1, 0] if step % 2 else [0, 1])  # the first to be seen was the right one


def test_update__someone_leaves_and_comes_back__is_known_for_a_while():
    tracker = Tracker(NAMES, patience=3)
    assert tracker.update([someone(0, 0), someone(200, 0)]) == [0, 1]
    for _ in range(3):
        assert tracker.update([someone(0, 0)]) == [0]
    assert tracker.update([someone(0, 0), someone(202, 0)]) == [0, 1]
    for _ in range(4):
        tracker.update([someone(0, 0)])
    assert tracker.known == {0}
    assert tracker.update([someone(0, 0), someone(202, 0)]) == [0, 2]


def test_update__a_stranger_elsewhere__is_new():
    tracker = Tracker(NAMES)
    tracker.update([someone(0, 0)])
    assert tracker.update([someone(300, 300)]) == [1]
    tracker.reset()
    assert tracker.update([someone(300, 300)]) == [0]


def test_update__someone_thin_steps_aside__is_the_same():
    thin = [(100 + x, y, 0.9) for x, y in ((0, 0), (2, 40), (1, 100), (2, 200))]
    first = Person(0.9, (100, 0, 2, 200), np.array(thin, np.float32))
    second = Person(0.9, (100, 0, 2, 200), np.array(thin, np.float32) + np.array([25, 0, 0], np.float32))
    tracker = Tracker(("a", "b", "c", "d"))
    assert tracker.update([first]) == tracker.update([second]) == [0]


def test_update__two_beside_one_track__the_nearer_one_has_it():
    tracker = Tracker(NAMES)
    tracker.update([someone(0, 0)])
    assert tracker.update([someone(15, 0), someone(3, 0)]) == [1, 0]
