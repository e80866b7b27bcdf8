"""Frames of files and of what plays at its own rate."""

import time
from pathlib import Path

import pytest

from tests.video.conftest import FRAMES, RATE, SIZE
from tvmpose.errors import InputError, SetupError
from tvmpose.video.frames import Video, is_video


@pytest.mark.parametrize(
    ("source", "expected"),
    [("a.mp4", True), ("A.MOV", True), ("camera:0", True), ("rtsp://host/x", True), ("a.png", False), ("mp4", False)],
)
def test_is_video__sources__by_their_form(source: str, expected: bool):
    assert is_video(source) is expected


def brightness(frame) -> int:
    return round(float(frame.pixels.mean()) / 12)


def test_video__a_file__gives_every_frame_with_its_time(clip: Path):
    with Video(str(clip)) as video:
        frames = list(video)
    assert (video.rate, video.dropped) == (RATE, 0)
    assert [brightness(frame) for frame in frames] == [frame.number for frame in frames] == list(range(FRAMES))
    assert frames[5].seconds == pytest.approx(5 / RATE) and frames[0].pixels.shape == (SIZE[1], SIZE[0], 3)


def test_video__live_and_slow__sees_the_present_and_counts_what_it_missed(clip: Path):
    numbers = []
    with Video(str(clip), live=True) as video:
        for frame in video:
            assert brightness(frame) == frame.number
            numbers.append(frame.number)
            time.sleep(0.13)
    assert numbers == sorted(set(numbers)) and numbers[-1] == FRAMES - 1
    assert len(numbers) + video.dropped == FRAMES and video.dropped > 0


@pytest.mark.parametrize("live", [False, True])
def test_stop__in_the_middle__ends_the_iteration(clip: Path, live: bool):
    seen = 0
    with Video(str(clip), live) as video:
        for _ in video:
            seen += 1
            video.stop()
    assert seen == 1


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        ("nowhere.mp4", InputError, "not a video"),
        ("camera:front", InputError, "camera:0"),
        ("camera:97", SetupError, "no such camera"),
    ],
)
def test_video__what_cannot_be_opened__is_one_line(source: str, kind: type[Exception], says: str, capfd):
    with pytest.raises(kind, match=says):
        Video(source)
    assert capfd.readouterr().out == ""
