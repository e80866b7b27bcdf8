"""Overlays: what is drawn where, in which colour, and what is left out."""

import numpy as np
import pytest

from tvmpose.pose.draw import COLOURS, draw
from tvmpose.runtime import Person

NAMES = ("left_hip", "left_knee", "right_hip", "nose")
EDGES = ((0, 1), (0, 2), (2, 3))


def _person(*joints: tuple[float, float, float], box=(40.0, 40.0, 300.0, 400.0)) -> Person:
    return Person(0.9, box, np.array(joints, np.float32))


@pytest.mark.parametrize("size", [(512, 512), (2160, 3840)])
def test_draw__limbs__lie_between_their_joints_in_the_colour_of_their_side(size):
    image = np.zeros((*size, 3), np.uint8)
    scale = size[0] / 512
    corners = [(100, 100, 1), (100, 300, 1), (300, 100, 1), (300, 300, 1)]
    person = _person(*((x * scale, y * scale, s) for x, y, s in corners), box=(0, 0, 400 * scale, 400 * scale))
    canvas = draw(image, [person], EDGES, NAMES)
    for (x, y), side in {(100, 200): "left", (200, 100): "centre", (300, 200): "right"}.items():
        assert tuple(canvas[round(y * scale), round(x * scale)]) == COLOURS[side]
    assert not image.any()


def test_draw__uncertain_joint__is_left_out_with_its_limbs():
    image = np.zeros((512, 512, 3), np.uint8)
    sure, unsure = (100, 100, 0.9), (100, 300, 0.2)
    canvas = draw(image, [_person(sure, unsure, unsure, unsure)], EDGES, NAMES)
    assert canvas[100, 100].any() and not canvas[200, 100].any() and not canvas[300, 100].any()


def test_draw__joint_that_is_not_a_number_or_absurd__is_left_out():
    image = np.zeros((64, 64, 3), np.uint8)
    strange = [(np.nan, 1, 1), (np.inf, 1, 1), (1e30, 1, 1), (1, 1, np.nan)]
    whole = _person(*strange, box=(0.0, 0.0, 64.0, 64.0))
    assert not draw(image, [whole], EDGES, NAMES).any()


def test_draw__joints_outside_the_picture__limb_is_cut_at_its_edge():
    image = np.zeros((64, 64, 3), np.uint8)
    crossing = _person((-1000, 32, 1), (1000, 32, 1), (0, 0, 0), (0, 0, 0))
    assert tuple(draw(image, [crossing], EDGES, NAMES)[32, 32]) == COLOURS["left"]


def test_draw__no_names_no_people__plain_copy_or_one_colour():
    image = np.full((64, 64, 3), 7, np.uint8)
    assert np.array_equal(draw(image, [], EDGES), image)
    line = _person((10, 32, 1), (50, 32, 1), box=(0.0, 0.0, 64.0, 64.0))
    assert tuple(draw(image, [line], ((0, 1),))[32, 30]) == COLOURS["centre"]
