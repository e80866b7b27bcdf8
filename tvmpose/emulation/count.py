"""Instructions of a frame, on one thread: of one runtime with one model on a virtual board.

Runs of one, two and three frames differ by frames alone: what it takes to load Python, runtime and model drops out.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

import tvmpose
from tvmpose.benchmark.duel import last_remark
from tvmpose.devices.board import VirtualBoard
from tvmpose.emulation.plugin import COUNTS_VARIABLE, Code, build_plugin, executions, read_blocks

RUNS = (1, 2, 3)  # frames: what a run executes beyond the one before is a frame, which so is counted twice
TRUSTED_SPREAD = 0.001
RUN_SECONDS = 3600.0  # a large network's emulated frame takes half a minute

# What would make runs differ: Python's hashes, threads of NumPy's, and the random bytes that QEMU gives a program.
_STEADY = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "QEMU_RAND_SEED": "0"}


@dataclass(frozen=True)
class Counted:
    """One runtime's frame. ``repeats``: its instructions, counted anew; ``blocks``: how often it executes each."""

    name: str
    settings: str
    repeats: tuple[float, ...]
    blocks: Mapping[Code, int]
    outputs: Sequence[np.ndarray]

    @property
    def instructions(self) -> float:
        return sum(self.repeats) / len(self.repeats)

    @property
    def spread(self) -> float:
        """How far the repeats lie apart, as a share."""
        return (max(self.repeats) - min(self.repeats)) / self.instructions


@dataclass(frozen=True)
class Refused:
    """Why a runtime could not be counted."""

    reason: str


@dataclass(frozen=True)
class Rig:
    """A board with all that counting needs; made by ``rig``."""

    board: VirtualBoard
    cpu: str | None  # qemu's name, where it is not the board's own
    folder: Path
    plugin: Path
    inputs: Path

    def count(self, runtime: str, path: Path) -> Counted | Refused:
        """A frame of a runtime of baselines/peers.py, or of "tvmpose", with the model at ``path``."""
        try:
            runs = [self._run(runtime, path, frames) for frames in RUNS]
        except _Failed as failure:
            return Refused(str(failure))
        frames = [more_often(few.blocks, more.blocks) for few, more in pairwise(runs)]
        totals = tuple(instructions(blocks) for blocks in frames)
        return Counted(runs[-1].name, runs[-1].settings, totals, frames[-1], runs[-1].outputs)

    def _run(self, runtime: str, path: Path, frames: int) -> "_Run":
        counts, outputs = self.folder / "counts.txt", self.folder / "outputs.npz"
        for file in (counts, outputs):  # to overwrite one takes other instructions than to make it
            file.unlink(missing_ok=True)
        arguments = (runtime, path.resolve(), self.inputs, outputs, frames)
        argv = ["python3", "-m", "tvmpose.emulation.frames", *map(str, arguments)]
        command = [*_fixed_addresses(), *self.board.command(argv, plugin=self.plugin, cpu=self.cpu)]
        environment = {**os.environ, **_STEADY, COUNTS_VARIABLE: str(counts)}
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise _Failed(f"not done with {frames} frames after {RUN_SECONDS:g} s") from error
        if done.returncode:
            raise _Failed(last_remark(done.stderr, done.returncode))
        said = json.loads(done.stdout.splitlines()[-1])
        with counts.open() as lines, np.load(outputs, allow_pickle=False) as arrays:
            found = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
            return _Run(said["name"], said["settings"], executions(read_blocks(lines)), found)


class _Failed(Exception):
    """A run that did not come to its end; the message is why."""


@dataclass(frozen=True)
class _Run:
    name: str
    settings: str
    blocks: Counter[Code]
    outputs: list[np.ndarray]


@contextmanager
def rig(board: VirtualBoard, cpu: str | None, inputs: Sequence[np.ndarray]) -> Iterator[Rig]:
    """Lasts as long as the ``with``. Raises SetupError where the plugin cannot be built."""
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as name:
        folder = Path(name)
        # This package and nothing beside it: this machine's NumPy is none of the board's.
        (folder / "tvmpose").symlink_to(Path(tvmpose.__file__).parent)
        tensors = folder / "inputs.npz"
        np.savez(tensors, *inputs)
        yield Rig(board, cpu, folder, build_plugin(folder), tensors)


def more_often(few: Mapping[Code, int], more: Mapping[Code, int]) -> dict[Code, int]:
    """How many times more each block is executed in the second of two runs; those alike in both are left out."""
    differences = {code: more.get(code, 0) - few.get(code, 0) for code in {*few, *more}}
    return {code: times for code, times in differences.items() if times}


def instructions(blocks: Mapping[Code, float]) -> float:
    return sum(times * code.instructions for code, times in blocks.items())


@cache
def _fixed_addresses() -> tuple[str, ...]:
    """A prefix that has Linux load a program at the same addresses each time, where there is one and it may."""
    prefix = ("setarch", "-R")
    if not shutil.which(prefix[0]):
        return ()
    return prefix if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else ()
