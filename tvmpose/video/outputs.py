"""Where what was found in a video goes: JSON lines, a video with skeletons over it, a window.

Files are written under a temporary name, and have their own once they are whole: at the end, or where they were ended.
"""

import json
import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tvmpose.errors import InputError, SetupError
from tvmpose.extras import require
from tvmpose.pose.pipeline import TrackedPerson
from tvmpose.pose.regions import joints_box
from tvmpose.video.frames import Frame

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
SHOWN_SCORE = 0.3  # joints that are sure enough to draw
WINDOW = "tvmpose"
ENDING_KEYS = (27, ord("q"))


class Output(Protocol):
    """Takes every frame, in order."""

    def write(self, frame: Frame, people: Sequence[TrackedPerson]) -> bool:
        """Whether to go on."""
        ...

    def finish(self) -> None:
        """Whole from now on."""
        ...

    def abandon(self) -> None:
        """Leaves nothing behind."""
        ...


class JsonLines:
    """One object a line and frame: number, seconds, people; "-" is standard output."""

    def __init__(self, out: str) -> None:
        self.path = None if out == "-" else Path(out)
        self._temporary = None if self.path is None else _temporary(self.path)
        try:
            self._stream = sys.stdout if self._temporary is None else self._temporary.open("w")
        except OSError as error:
            raise SetupError(f"cannot write {out}: {error.strerror}") from error

    def write(self, frame: Frame, people: Sequence[TrackedPerson]) -> bool:
        entry = {"frame": frame.number, "seconds": round(frame.seconds, 6), "people": [_entry(p) for p in people]}
        self._stream.write(json.dumps(entry, allow_nan=False) + "\n")
        self._stream.flush()
        return True

    def finish(self) -> None:
        if self.path and self._temporary:
            self._stream.close()
            os.replace(self._temporary, self.path)

    def abandon(self) -> None:
        if self._temporary:
            self._stream.close()
            self._temporary.unlink(missing_ok=True)


def _entry(person: TrackedPerson) -> dict[str, Any]:
    numbers = [round(float(v), 3) if math.isfinite(v) else 0.0 for v in person.keypoints.reshape(-1)]
    box = [round(side, 3) for side in person.box]
    return {"id": person.id, "score": round(float(person.score), 5), "box": box, "keypoints": numbers}


class Overlay:
    """Skeletons and numbers drawn over frames, for what shows them."""

    def __init__(self, edges: Sequence[tuple[int, int]], names: Sequence[str]) -> None:
        self.edges, self.names = edges, names

    def draw(self, frame: Frame, people: Sequence[TrackedPerson]) -> np.ndarray:
        """A picture like the frame's."""
        from tvmpose.pose.draw import draw, write_label

        boxed = [replace(person, box=joints_box(person.keypoints, SHOWN_SCORE) or person.box) for person in people]
        picture = draw(frame.pixels, boxed, self.edges, self.names, SHOWN_SCORE)
        for person in boxed:
            write_label(picture, person, str(person.id))
        return picture


class OverlayFile:
    """A video of ``rate`` frames a second; its first frame says how large it is."""

    def __init__(self, path: Path, overlay: Overlay, rate: float) -> None:
        if path.suffix.lower() not in CODECS:
            raise InputError(f"--draw {path}: of a video this has to be one of {', '.join(CODECS)}")
        self.path, self.overlay, self.rate = path, overlay, rate
        self._temporary = _temporary(path)
        self._writer: Any = None

    def write(self, frame: Frame, people: Sequence[TrackedPerson]) -> bool:
        if self._writer is None:
            self._writer = self._open(frame.pixels.shape[1], frame.pixels.shape[0])
        self._writer.write(self.overlay.draw(frame, people))
        return True

    def _open(self, width: int, height: int) -> Any:
        cv2 = require("cv2", "images")
        codec = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._temporary), codec, self.rate, (width, height))
        if not writer.isOpened():
            raise SetupError(f"cannot write {self.path}: OpenCV cannot open it for {width} x {height} pixels")
        return writer

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.release()
            os.replace(self._temporary, self.path)

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.release()
        self._temporary.unlink(missing_ok=True)


class Window:
    """On the screen, until q or Escape is pressed."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay, self._cv2 = overlay, require("cv2", "images")
        try:
            self._cv2.namedWindow(WINDOW)
        except self._cv2.error as error:
            hint = "pip uninstall opencv-python-headless, pip install opencv-python; or --draw OUT.mp4"
            raise SetupError(f"--show: the OpenCV that is installed has no windows, or no screen: {hint}") from error

    def write(self, frame: Frame, people: Sequence[TrackedPerson]) -> bool:
        self._cv2.imshow(WINDOW, self.overlay.draw(frame, people))
        return self._cv2.waitKey(1) & 0xFF not in ENDING_KEYS

    def finish(self) -> None:
        with suppress(self._cv2.error):
            self._cv2.destroyWindow(WINDOW)

    abandon = finish


def _temporary(path: Path) -> Path:
    """Beside it, with its suffix, by which OpenCV knows the format. Raises SetupError where nothing can be there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error
    return path.absolute().with_name(f".tvmpose.{os.getpid()}.tmp{path.suffix}")
