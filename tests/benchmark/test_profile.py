"""A profile's judgement, and how it is shown."""

import xml.etree.ElementTree as xml

import pytest

from tvmpose.benchmark.profile import FrameProfile, StepProfile, left_on_the_table, limit
from tvmpose.benchmark.profile_plot import profile_svg
from tvmpose.benchmark.profile_table import profile_lines
from tvmpose.benchmark.roofline import Roofline

LIMITS = Roofline(threads=2, multiply_adds=1e9, l2_bytes=1 << 20, l2_bandwidth=1e9, frame_bandwidth=1e9)
WARP = StepProfile("warp", 0.5, 0.6, 1.0, None, None)
HEAVY = StepProfile("heavy", 4.0, 4.5, 6.0, multiply_adds=3_000_000, bytes=1000)
WIDE = StepProfile("wide <&>", 2.0, 2.5, 4.0, multiply_adds=1000, bytes=1_000_000)
FAST = StepProfile("fast", 0.5, 0.5, 0.5, multiply_adds=0, bytes=1_000_000)
FRAME = FrameProfile(threads=2, frames=7, steps=(WARP, HEAVY, WIDE, FAST))


def test_limit__step__whatever_takes_longer():
    assert limit(WARP, LIMITS) is None
    assert (limit(HEAVY, LIMITS).bound, limit(HEAVY, LIMITS).milliseconds) == ("compute", pytest.approx(3))
    assert (limit(WIDE, LIMITS).bound, limit(WIDE, LIMITS).milliseconds) == ("memory", pytest.approx(1))


def test_left_on_the_table__faster_than_the_limit__nothing():
    assert left_on_the_table(HEAVY, LIMITS) == pytest.approx(1)
    assert left_on_the_table(FAST, LIMITS) == left_on_the_table(WARP, LIMITS) == 0


def test_profile_lines__steps__a_line_each_and_their_sum():
    header, warp, heavy, *_, last = profile_lines(FRAME, LIMITS)
    assert "balance" in header and warp.split() == ["warp", "0.5000", "0.6000", "7.1%", "100%"]
    assert heavy.split() == "heavy 4.0000 4.5000 57.1% 1.5 75% 1 0.0 0% compute 75% 75%".split()
    assert last.startswith("7.000 ms in 4 steps on 2 threads, the best of 7 frames; 2.000 ms of it (29%) are left")
    assert "most in heavy (1.000 ms), wide <&> (1.000 ms), " in last


def test_profile_lines__no_compiler__times_without_a_verdict():
    *_, last = profile_lines(FRAME, None)
    assert last.endswith("the best of 7 frames")


@pytest.mark.parametrize("limits", [LIMITS, None])
def test_profile_svg__steps__well_formed_and_drawn_to_scale(limits):
    root = xml.fromstring(profile_svg(FRAME, limits, "title <&>"))
    space = {"svg": "http://www.w3.org/2000/svg"}
    texts = [text.text for text in root.findall("svg:text", space)]
    assert "title <&>" in texts and "wide <&>" in texts and "4.000 ms" in texts
    widths = [float(r.get("width")) for r in root.findall("svg:rect", space)[4:]]
    expected = [0.5, 4, 3, 2, 1, 0.5, 0.5] if limits else [0.5, 4, 2, 0.5]
    assert widths == pytest.approx([520 * ms / 4 for ms in expected], abs=0.1)
