"""``tvmpose run`` on videos: on a bundle that reports what it was given, and on real ones."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import Compile, FakeBundle
from tests.video.conftest import FRAMES, write_clip
from tvmpose.cli.main import main


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.avi")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def frame_count(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def test_run__a_video__follows_the_person_into_every_output(
    fake_bundle: FakeBundle, clip: Path, tmp_path: Path, capsys
):
    out, drawn = tmp_path / "r.jsonl", tmp_path / "o.mp4"
    asked = ["--box", "8,4,30,20", "--min-score", "0", "--json", str(out), "--draw", str(drawn)]
    assert main(["run", str(fake_bundle()), str(clip), *asked]) == 0
    found = lines(out)
    assert [entry["frame"] for entry in found] == list(range(FRAMES))
    assert found[0]["people"][0]["box"] == [8, 4, 30, 20]
    assert {person["id"] for entry in found for person in entry["people"]} == {0}
    assert frame_count(drawn) == FRAMES
    summary, *paths = capsys.readouterr().out.splitlines()
    assert summary.startswith(f"{FRAMES} frames, ") and "0 dropped, 1 person" in summary
    assert paths == [str(out), str(drawn)]


def test_run__json_to_stdout__is_lines_and_nothing_else(fake_bundle: FakeBundle, clip: Path, capsys):
    assert main(["run", str(fake_bundle()), str(clip), "--json", "-"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == FRAMES


def test_run__live__says_how_many_frames_were_dropped(fake_bundle: FakeBundle, clip: Path, tmp_path: Path, capsys):
    out = tmp_path / "r.jsonl"
    assert main(["run", str(fake_bundle()), str(clip), "--live", "--json", str(out)]) == 0
    dropped = int(capsys.readouterr().out.split(" dropped")[0].split()[-1])
    assert len(lines(out)) + dropped == FRAMES


def test_run__interrupted__ends_with_130_and_whole_files(fake_bundle: FakeBundle, tmp_path: Path):
    long = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(long), cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    for _ in range(1200):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    out, drawn = tmp_path / "out" / "r.jsonl", tmp_path / "out" / "o.avi"
    command = [sys.executable, "-m", "tvmpose", "run", fake_bundle(), long, "--live", "--json", out, "--draw", drawn]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:  # until a frame was written, and a second one is due
        if any(path.stat().st_size > 200 for path in (tmp_path / "out").glob("*.jsonl")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert sorted(path.name for path in out.parent.iterdir()) == ["o.avi", "r.jsonl"]
    found = lines(out)
    assert 1 <= len(found) < 1200 and frame_count(drawn) == len(found)
    assert printed.startswith(f"{len(found)} frames, ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["clip.avi", "other.png"], 3, "one is a video"),
        (["missing.mp4"], 3, "missing.mp4: not a video"),
        (["clip.avi", "--draw", "o.png"], 3, "--draw o.png: of a video"),
        (["clip.avi", "--draw", "clip.avi"], 3, "would overwrite"),
        (["clip.avi", "--every", "0"], 3, "at least 1"),
        (["clip.avi", "--box", "1,2,3,4", "--detector", "x"], 3, "one of the two"),
        (["clip.avi", "--detector", "nowhere"], 3, "not a bundle"),
        (["a.png", "--live"], 3, "for videos"),
    ],
)
def test_run__what_cannot_be__is_one_line(fake_bundle, clip, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(clip.parent)
    before = clip.read_bytes()
    assert main(["run", str(fake_bundle()), *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert clip.read_bytes() == before and not list(clip.parent.glob(".tvmpose*"))


def test_run__a_stream__is_asked_for_as_it_was_typed(fake_bundle: FakeBundle, monkeypatch, capsys):
    class Closed:
        def __init__(self, source: str) -> None:
            asked.append(source)

        def isOpened(self) -> bool:
            return False

        def release(self) -> None:
            pass

    asked: list[str] = []
    monkeypatch.setattr(cv2, "VideoCapture", Closed)
    assert main(["run", str(fake_bundle()), "rtsp://host:554/a"]) == 3
    assert asked == ["rtsp://host:554/a"]


def jitter(joints: np.ndarray) -> float:
    """Of (frames, K, 2): the mean second difference."""
    return float(np.linalg.norm(np.diff(joints, 2, axis=0), axis=2).mean())


def lag(plain: np.ndarray, steady: np.ndarray) -> float:
    """In frames: the delay of the plain joints at which they are nearest to the smoothed ones."""
    frames = np.arange(len(plain))
    flat, smooth = plain.reshape(len(plain), -1), steady.reshape(len(plain), -1)
    delays = np.arange(0, 4, 0.05)
    late = [np.stack([np.interp(frames - delay, frames, column) for column in flat.T], 1) for delay in delays]
    return float(delays[np.argmin([np.abs(each - smooth)[8:].mean() for each in late])])


@pytest.mark.slow
def test_run__a_real_video__one_person_steady_and_not_late(data: Path, compiled: Compile, tmp_path: Path, capsys):
    bundle = compiled("pose_landmark_lite.tflite", "blazepose-lite").bundle
    detector = compiled("pose_detection.tflite", "blazepose-detector").bundle
    video = str(data / "video" / "one_person_25fps.mp4")
    joints = {}
    for smoothing in ("none", "one-euro", "kalman", "average"):
        out = tmp_path / f"{smoothing}.jsonl"
        asked = ["--detector", str(detector), "--smooth", smoothing, "--json", str(out)]
        assert main(["run", str(bundle), video, *asked]) == 0
        found = lines(out)
        assert len(found) == 140 and all([p["id"] for p in entry["people"]] == [0] for entry in found)
        joints[smoothing] = np.array([entry["people"][0]["keypoints"] for entry in found]).reshape(140, 33, 3)[..., :2]
    plain = joints.pop("none")
    for smoothing, steady in joints.items():
        less, late = 1 - jitter(steady) / jitter(plain), lag(plain, steady)
        print(f"{smoothing}: jitter {less:.0%} lower, {late:.2f} frames late")
        assert less >= 0.4 and late <= 1
