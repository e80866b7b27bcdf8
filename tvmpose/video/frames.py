"""Frames of a video file or a camera, with their times, and how many went by unseen."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvmpose.errors import InputError, SetupError
from tvmpose.extras import require

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
CAMERA = "camera:"
PATIENCE = 0.2  # seconds between looks at whether the user has had enough
DEFAULT_RATE = 30.0  # frames a second, of what does not say


@dataclass(frozen=True)
class Frame:
    """pixels: uint8 (H, W, 3) BGR. number counts all frames, those that were dropped too."""

    number: int
    seconds: float
    pixels: np.ndarray


def is_video(source: str) -> bool:
    """Whether it names a video file, a camera (camera:0) or a stream (rtsp://...)."""
    return source.startswith(CAMERA) or "://" in source or source.lower().endswith(SUFFIXES)


class Video:
    """An opened source: iterate over it once, in a ``with``.

    A file gives every frame as fast as they are taken. ``live``, as with cameras and streams: the newest frame, and
    those that came meanwhile are dropped; a file then plays at its own rate.
    """

    def __init__(self, source: str, live: bool = False) -> None:
        """Raises InputError where a file cannot be decoded, SetupError where there is no such camera."""
        cv2 = require("cv2", "images")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our one line says it
        is_camera = source.startswith(CAMERA)
        number = source.removeprefix(CAMERA)
        if is_camera and not (number.isascii() and number.isdigit()):
            raise InputError(f"{source}: a camera is {CAMERA}0, {CAMERA}1, ...")
        self._capture = cv2.VideoCapture(int(number) if is_camera else source)
        if not self._capture.isOpened():
            self._capture.release()
            if is_camera:
                raise SetupError(f"{source}: there is no such camera, or another program has it")
            raise InputError(f"{source}: not a video that OpenCV can open")
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 1 <= rate <= 1000 else DEFAULT_RATE
        self.is_file = not is_camera and "://" not in source
        self.live = live or not self.is_file
        self.dropped = 0
        self.stopped = False

    def stop(self) -> None:
        """Lets the iteration end after the frame that it is at; for signal handlers, so it waits for nothing."""
        self.stopped = True

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        return self._newest() if self.live else self._every()

    def _every(self) -> Iterator[Frame]:
        number = 0
        while not self.stopped and (pixels := self._read()) is not None:
            yield Frame(number, number / self.rate, pixels)
            number += 1

    def _newest(self) -> Iterator[Frame]:
        reader = _Reader(self._read, 1 / self.rate if self.is_file else 0.0)
        try:
            while (frame := self._take(reader)) is not None:
                self.dropped = reader.dropped
                yield frame
        finally:
            reader.stop()

    def _take(self, reader: "_Reader") -> Frame | None:
        while not self.stopped and not reader.ended:
            if frame := reader.take():
                return frame
        return None

    def _read(self) -> np.ndarray | None:
        there, pixels = self._capture.read()
        return pixels if there else None


class _Reader:
    """Reads in a thread of its own and keeps the newest frame, so that a slow network sees the present."""

    def __init__(self, read: Any, period: float) -> None:
        self._read, self._period, self.dropped = read, period, 0
        self._newest: Frame | None = None
        self._all_read = self._stopped = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        start, number = time.monotonic(), 0
        while not self._stopped and (pixels := self._read()) is not None:
            time.sleep(max(0.0, start + number * self._period - time.monotonic()) if self._period else 0.0)
            with self._condition:
                self.dropped += self._newest is not None
                self._newest = Frame(number, time.monotonic() - start, pixels)
                self._condition.notify()
            number += 1
        with self._condition:
            self._all_read = True
            self._condition.notify()

    @property
    def ended(self) -> bool:
        """Whether the last frame has been taken."""
        return self._all_read and self._newest is None

    def take(self) -> Frame | None:
        """Waits for a frame, but not for long: None where none came, or there will be no more."""
        with self._condition:
            self._condition.wait_for(lambda: self._newest is not None or self._all_read, timeout=PATIENCE)
            frame, self._newest = self._newest, None
            return frame

    def stop(self) -> None:
        """Ends with the frame that is being read: the capture must not be released before."""
        self._stopped = True
        self._thread.join(timeout=5)
