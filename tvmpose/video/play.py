"""A video through a pipeline into outputs, to its end or until somebody stops it."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tvmpose.pose.pipeline import Pipeline
from tvmpose.video.frames import Video
from tvmpose.video.outputs import Output


@dataclass(frozen=True)
class Played:
    """How it went: ``milliseconds`` of each frame's network, ``seconds`` for all with decoding and outputs."""

    frames: int
    dropped: int
    seconds: float
    milliseconds: tuple[float, ...]
    people: int
    interrupted: bool

    def __str__(self) -> str:
        rate = self.frames / self.seconds if self.seconds else 0.0
        median = f", median {np.median(self.milliseconds):.2f} ms from pixels to people" if self.milliseconds else ""
        people = f"{self.people} {'person' if self.people == 1 else 'people'}"
        return f"{self.frames} frames, {rate:.1f} frames/s, {self.dropped} dropped, {people}{median}"


def play(video: Video, pipeline: Pipeline, outputs: Sequence[Output]) -> Played:
    """Every frame through the pipeline. Ctrl-C ends it after a frame, as the last one does; the second one at once.

    The outputs' files are whole afterwards. Whatever is raised leaves none.
    """
    milliseconds: list[float] = []
    ids: set[int] = set()
    start = time.perf_counter()
    try:
        with _ended_by_interrupt(video) as interrupted:
            for frame in video:
                begun = time.perf_counter()
                people = pipeline(frame.pixels, frame.seconds)
                milliseconds.append(1e3 * (time.perf_counter() - begun))
                ids.update(person.id for person in people)
                going = [output.write(frame, people) for output in outputs]  # all of them, whatever one says
                if not all(going):
                    break
            seconds = time.perf_counter() - start
            for output in outputs:
                output.finish()
    except BaseException:
        for output in outputs:
            output.abandon()
        raise
    return Played(len(milliseconds), video.dropped, seconds, tuple(milliseconds), len(ids), interrupted.is_set())


@contextmanager
def _ended_by_interrupt(video: Video) -> Iterator[threading.Event]:
    """SIGINT stops the video and sets the event; only the main thread may ask for signals."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        video.stop()
        interrupted.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
