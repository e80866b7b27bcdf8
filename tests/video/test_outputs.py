"""Where people in videos are written to."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tvmpose.errors import InputError, SetupError
from tvmpose.pose import TrackedPerson
from tvmpose.video.frames import Frame
from tvmpose.video.outputs import JsonLines, Overlay, OverlayFile, Window

FRAME = Frame(3, 0.12, np.full((64, 96, 3), 90, np.uint8))
SOMEONE = TrackedPerson(0.5, (8, 4, 40, 50), np.array([(10, 20, 0.9), (40, 44, np.nan)], np.float32), 7)


def overlay() -> Overlay:
    return Overlay([(0, 1)], ["left_eye", "nose"])


def test_json_lines__a_frame__is_an_object_a_line(tmp_path: Path):
    path = tmp_path / "new" / "r.jsonl"
    output = JsonLines(str(path))
    assert output.write(FRAME, [SOMEONE]) and output.write(FRAME, [])
    assert not path.exists()  # before it is whole
    output.finish()
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["frame"], first["seconds"], second["people"]) == (3, 0.12, [])
    (person,) = first["people"]
    assert (person["id"], person["box"], person["keypoints"]) == (7, [8, 4, 40, 50], [10, 20, 0.9, 40, 44, 0])
    assert [entry.name for entry in path.parent.iterdir()] == ["r.jsonl"]


def test_overlay_file__frames__are_a_video_that_can_be_read(tmp_path: Path):
    output = OverlayFile(tmp_path / "o.avi", overlay(), 25)
    for _ in range(3):
        output.write(FRAME, [SOMEONE])
    output.finish()
    capture = cv2.VideoCapture(str(tmp_path / "o.avi"))
    pictures = [capture.read()[1] for _ in range(3)]
    assert capture.get(cv2.CAP_PROP_FPS) == 25 and not capture.read()[0]
    assert all(picture.shape == (64, 96, 3) and np.ptp(picture) > 60 for picture in pictures)  # something is drawn
    assert [entry.name for entry in tmp_path.iterdir()] == ["o.avi"]


def test_abandon__anything_written__is_gone(tmp_path: Path):
    for output in (JsonLines(str(tmp_path / "r.jsonl")), OverlayFile(tmp_path / "o.mp4", overlay(), 25)):
        output.write(FRAME, [SOMEONE])
        output.abandon()
    assert not list(tmp_path.iterdir())


def test_output__that_cannot_be__is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"one of \.mp4"):
        OverlayFile(tmp_path / "o.png", overlay(), 25)
    with pytest.raises(SetupError, match="cannot write"):
        OverlayFile(tmp_path / "file" / "o.mp4", overlay(), 25)
    with pytest.raises(SetupError, match="cannot write"):
        JsonLines("/proc/r.jsonl")


def test_window__no_screen__says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: str) -> None:
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse, raising=False)
    with pytest.raises(SetupError, match="--draw"):
        Window(overlay())


def test_window__keys__q_ends_it(monkeypatch: pytest.MonkeyPatch):
    shown, keys = [], iter([255, ord("q")])
    monkeypatch.setattr(cv2, "namedWindow", lambda name: None, raising=False)
    monkeypatch.setattr(cv2, "imshow", lambda name, picture: shown.append(picture), raising=False)
    monkeypatch.setattr(cv2, "waitKey", lambda delay: next(keys), raising=False)
    monkeypatch.setattr(cv2, "destroyWindow", lambda name: None, raising=False)
    window = Window(overlay())
    assert window.write(FRAME, [SOMEONE]) and not window.write(FRAME, [])
    window.finish()
    assert [picture.shape for picture in shown] == [(64, 96, 3)] * 2
