"""Changed pictures."""

import numpy as np
import pytest

from tvmpose.accuracy.dataset import Dataset
from tvmpose.accuracy.robustness import CHANGES


@pytest.mark.parametrize("name", CHANGES)
def test_change__a_picture__keeps_its_size_and_is_the_same_every_time(name: str, dataset: Dataset):
    picture, pixels = next(dataset.read())
    before = pixels.copy()
    first, second = (CHANGES[name](pixels, picture) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(pixels, before)
    assert (first.shape, first.dtype) == (pixels.shape, np.uint8) and not np.array_equal(first, pixels)


def test_occlusion__people__a_quarter_of_each_box_is_grey(dataset: Dataset):
    _, (picture, pixels) = dataset.read()
    pixels[:] = 0
    changed = CHANGES["occlusion"](pixels, picture)
    x, y, width, height = map(int, picture.people[0].box)
    hidden = (changed[y : y + height, x : x + width] == 127).all(axis=2).mean()
    assert hidden == pytest.approx(0.25, abs=0.03)
    assert (changed != 0).all(axis=2).sum() == pytest.approx(0.25 * width * height, rel=0.1)


def test_brightness__factors__scale_and_saturate(dataset: Dataset):
    picture, pixels = next(dataset.read())
    for factor in ("0.3", "2"):
        expected = np.minimum(np.round(pixels * float(factor)), 255)
        np.testing.assert_array_equal(CHANGES[f"brightness × {factor}"](pixels, picture), expected)


def test_blur__a_point__becomes_a_line_of_the_same_light(dataset: Dataset):
    picture, _ = next(dataset.read())
    point = np.zeros((400, 400, 3), np.uint8)
    point[200, 200] = 255
    ys, xs = np.nonzero(CHANGES["motion blur"](point, picture)[..., 0])
    assert np.hypot(np.ptp(xs), np.ptp(ys)) == pytest.approx(12, abs=1.5)  # 13 pixels: 3 % of 400, odd
    off_the_line = (xs[-1] - xs[0]) * (ys - ys[0]) - (ys[-1] - ys[0]) * (xs - xs[0])
    assert np.abs(off_the_line).max() <= 13  # times the length: one pixel


def test_jpeg__noise__loses_detail(dataset: Dataset):
    picture, pixels = next(dataset.read())
    changed = CHANGES["JPEG, quality 10"](pixels, picture)
    assert 10 < np.abs(changed.astype(int) - pixels).mean() < 100
