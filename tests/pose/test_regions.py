"""Where to look for people."""

import numpy as np
import pytest

from tvmpose.pose.regions import circle_region, detected_region, followed_region, grown, joints_box, overlap
from tvmpose.pose.skeletons import skeleton
from tvmpose.runtime import Person

BLAZEPOSE = skeleton("blazepose33").keypoints


@pytest.mark.parametrize(("end", "degrees"), [((50, 10), 0), ((90, 50), 90), ((50, 90), 180), ((10, 50), -90)])
def test_circle_region__where_up_is__is_the_angle_by_which_people_lean(end, degrees):
    """MediaPipe: rotation = 90 degrees - atan2(-dy, dx), and the square about the circle."""
    region = circle_region(np.array([50.0, 50.0]), np.array(end, float))
    assert region.box == (10.5, 10.5, 80, 80)
    assert np.degrees(region.angle) == pytest.approx(degrees)
    dx, dy = end[0] - 50, end[1] - 50
    assert np.cos(region.angle) == pytest.approx(np.cos(np.pi / 2 - np.arctan2(-dy, dx)))


def test_detected_region__a_plain_detector__is_its_box():
    person = Person(0.9, (1, 2, 3, 4), np.zeros((2, 3), np.float32))
    region = detected_region(person, ("a", "b"))
    assert (region.box, region.angle) == ((1, 2, 3, 4), 0)


def test_followed_region__blazepose__is_the_circle_that_a_standing_person_has():
    joints = np.zeros((33, 3), np.float32)
    joints[:] = (100, 100, 1)
    for name, place in {"left_hip": (90, 100), "right_hip": (110, 100), "nose": (100, 10)}.items():
        joints[BLAZEPOSE.index(name), :2] = place
    for name, place in {"left_shoulder": (85, 50), "right_shoulder": (115, 50)}.items():
        joints[BLAZEPOSE.index(name), :2] = place
    region = followed_region(Person(1, (0, 0, 1, 1), joints), BLAZEPOSE, True)
    assert region and region.angle == 0 and region.box == (10.5, 10.5, 180, 180)  # 1.8 trunks of 50
    joints[BLAZEPOSE.index("nose"), 1] = -20
    region = followed_region(Person(1, (0, 0, 1, 1), joints), BLAZEPOSE, True)
    assert region and region.box[2] == 240  # as far as the farthest landmark


def test_followed_region__sure_joints__are_within_and_others_do_not_count():
    joints = np.array([(10, 20, 0.9), (30, 60, 0.5), (500, 500, 0.1)], np.float32)
    assert joints_box(joints) == (10.5, 20.5, 20, 40)
    region = followed_region(Person(1, (0, 0, 1, 1), joints), ("a", "b", "c"), False)
    assert region and region.box == pytest.approx((9.5, 18.5, 22, 44))
    assert followed_region(Person(1, (0, 0, 1, 1), joints[2:]), ("c",), False) is None


def test_overlap__boxes__counted_pixel_by_pixel():
    random = np.random.default_rng(0)
    for _ in range(50):
        a, b = (tuple(map(float, random.integers(1, 12, 4))) for _ in range(2))
        masks = np.zeros((2, 30, 30), bool)
        for mask, (x, y, width, height) in zip(masks, (a, b), strict=True):
            mask[int(y) : int(y + height), int(x) : int(x + width)] = True
        assert overlap(a, b) == pytest.approx(np.logical_and(*masks).sum() / np.logical_or(*masks).sum())
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_grown__a_box__keeps_its_centre():
    assert grown((10, 20, 4, 8), 1.5) == (9, 18, 6, 12)
