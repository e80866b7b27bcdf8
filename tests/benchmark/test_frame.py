"""The picture that is measured with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmpose.benchmark.frame import FrameSize, parse_frame_size
from tvmpose.errors import InputError

sides = st.integers(1, 32767)


@given(sides, sides)
def test_frame_size__any__is_read_back_and_its_box_lies_inside(width, height):
    size = FrameSize(width, height)
    assert parse_frame_size(str(size)) == size
    x, y, box_width, box_height = size.box
    assert 0 <= x < x + box_width <= width + 1e-6 and 0 <= y < y + box_height <= height + 1e-6


@pytest.mark.parametrize("text", ["", "1280", "x720", "0x720", "1280x720x3", "-1x5", "40000x2"])
def test_parse_frame_size__not_one__is_named(text):
    with pytest.raises(InputError, match="is not a frame's size"):
        parse_frame_size(text)


def test_picture__twice__is_the_same():
    assert (FrameSize(8, 4).picture() == FrameSize(8, 4).picture()).all()
    assert FrameSize(8, 4).picture().shape == (4, 8, 3)
