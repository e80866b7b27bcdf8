"""Runtimes against each other on the same input, round by round in turns, so that what disturbs one disturbs all.

Every contestant is a process group of its own: no runtime's threads, allocator or CPU settings touch another's, and a
round belongs to one of them while the others wait for their input.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from tvmpose.benchmark.frame import FrameSize
from tvmpose.benchmark.timing import Timing, summarize
from tvmpose.errors import SetupError

WARM_UP_ROUNDS = 1
CLOSING_SECONDS = 5.0
THROUGH_VARIABLE = "TVMPOSE_THROUGH"


@dataclass(frozen=True)
class Contestant:
    """Who takes part: a runtime of baselines/peers.py, or "tvmpose" with a bundle."""

    runtime: str
    path: Path
    threads: int
    frame: FrameSize | None = None  # ours only: from pixels to keypoints; else from tensors to tensors


@dataclass(frozen=True)
class Rounds:
    """How long is measured."""

    count: int = 9
    seconds: float = 0.3  # of each contestant in each round


@dataclass(frozen=True)
class Outcome:
    """What one contestant did. ``difference``: the largest to the first one's outputs, as a share of their maximum."""

    contestant: Contestant
    name: str
    settings: str
    timing: Timing
    difference: float | None  # None: other outputs than the first's, as keypoints are


@dataclass(frozen=True)
class Refusal:
    """Why one of them could not take part."""

    contestant: Contestant
    reason: str


def duel(
    contestants: Sequence[Contestant],
    inputs: Sequence[np.ndarray],
    rounds: Rounds = Rounds(),
    progress: Callable[[str], None] = lambda text: None,
) -> list[Outcome | Refusal]:
    """An Outcome or a Refusal for each contestant, in order. Raises SetupError where the first cannot run."""
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder, contextlib.ExitStack() as stack:
        tensors = Path(folder) / "inputs.npz"
        np.savez(tensors, *inputs)
        started = [stack.enter_context(_Process(c, tensors)) for c in contestants]
        if started[0].reason:
            raise SetupError(f"{contestants[0].path} cannot be measured: {started[0].reason}")
        running = [process for process in started if not process.reason]
        for number in range(-WARM_UP_ROUNDS, rounds.count):
            progress(f"round {max(number + 1, 0)} of {rounds.count}")
            for process in running:
                process.run(rounds.seconds, counts=number >= 0)
        return [process.outcome(started[0].outputs) for process in started]


class _Process:
    """A contestant's process, from its first frame to the end of the ``with``."""

    def __init__(self, contestant: Contestant, tensors: Path) -> None:
        self.contestant = contestant
        self.times: list[list[int]] = []
        handle, name = tempfile.mkstemp(suffix=".npz", dir=tensors.parent)
        os.close(handle)
        self.remarks: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in __exit__
        arguments = (contestant.runtime, contestant.path, contestant.threads, tensors, name, contestant.frame or "")
        self.process = subprocess.Popen(
            [*_through(), sys.executable, "-m", "tvmpose.benchmark.contestant", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.remarks,
            text=True,
            start_new_session=True,
        )
        self.reason, self.outputs = "", list[np.ndarray]()
        first = self._answer()
        if first is None:
            self.reason = self._last_remark()
            return
        self.name, self.settings = first["name"], first["settings"]
        with np.load(name, allow_pickle=False) as file:
            self.outputs = [file[f"arr_{i}"] for i in range(len(file.files))]

    def run(self, seconds: float, counts: bool) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        times = self._answer()
        if times is None:
            raise SetupError(f"{self.contestant.runtime} ended in the middle of measuring: {self._last_remark()}")
        if counts:
            self.times.append(times)

    def outcome(self, expected: Sequence[np.ndarray]) -> Outcome | Refusal:
        if self.reason:
            return Refusal(self.contestant, self.reason)
        same = self.contestant.frame is None
        difference = largest_difference(self.outputs, expected) if same else None
        return Outcome(self.contestant, self.name, self.settings, summarize(self.times), difference)

    def _answer(self):  # type: ignore[no-untyped-def]  # whatever JSON says
        assert self.process.stdout
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def _last_remark(self) -> str:
        code = self.process.wait()
        self.remarks.seek(0)
        return last_remark(self.remarks.read(), code)

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *_: object) -> None:
        """Ends with its input; whatever does not is killed, threads and children included."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]
        self.remarks.close()


def _through() -> list[str]:
    """What programs are run with on this board, an emulator for one, by the server that started us."""
    return os.environ.get(THROUGH_VARIABLE, "").split()


def last_remark(text: str, code: int) -> str:
    """Of a process that failed: the last line of its traceback, without the exception's name."""
    lines = text.strip().splitlines()
    return lines[-1].partition("Error: ")[2] or lines[-1] if lines else f"exit code {code}"


def largest_difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float | None:
    """As a share of each expected tensor's largest magnitude; None where they are not the same tensors."""
    if [array.shape for array in found] != [array.shape for array in expected]:
        return None
    return max(
        float(np.abs(a.astype(np.float64) - b).max() / max(float(np.abs(b).max()), 1e-30))
        for a, b in zip(found, expected, strict=True)
    )
