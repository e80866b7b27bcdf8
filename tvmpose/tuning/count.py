"""Executed instructions in place of time: candidates on a virtual board, where no real one is at hand.

A kernel is called once and then twice, and what the second run executes beyond the first is a call.
"""

import math
import os
import subprocess
from pathlib import Path

from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.device import DeviceState
from tvmpose.emulation.count import instructions, more_often
from tvmpose.emulation.plugin import COUNTS_VARIABLE, build_plugin, executions, read_blocks
from tvmpose.errors import DeviceError
from tvmpose.tuning.measure import Measured, Outcome, parse

_RUN_SECONDS = 600.0


class Counter:
    """A virtual board with QEMU's plugin. Raises SetupError where that cannot be built."""

    def __init__(self, board: VirtualBoard, folder: Path) -> None:
        self._board, self._folder, self._plugin = board, folder, build_plugin(folder)

    def measure(self, program: Path, data: Path, count: int, is_float: bool) -> Measured:
        """As measure.measure, in instructions of one thread."""
        runs = [[self._run(program, data, kernel, calls) for calls in (1, 2)] for kernel in range(count)]
        lines = "\n".join(text for pair in runs for _, text in pair[:1])
        checked = parse(lines, count, is_float)
        outcomes = []
        for outcome, ((few, _), (more, _)) in zip(checked, runs, strict=True):
            value = float(instructions(more_often(few, more))) if not outcome.error else math.inf
            outcomes.append(Outcome(value, (value,), outcome.difference, outcome.error))
        return Measured(tuple(outcomes), f"{self._board.name} (counted)", DeviceState())

    def _run(self, program: Path, data: Path, kernel: int, calls: int) -> tuple[dict, str]:
        counts = self._folder / "counts.txt"
        counts.unlink(missing_ok=True)
        arguments = [str(program), str(data), "1", "1", "0", str(calls), "0", str(kernel)]
        environment = {**os.environ, COUNTS_VARIABLE: str(counts), "QEMU_RAND_SEED": "0"}
        command = self._board.command(arguments, plugin=self._plugin)
        try:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_RUN_SECONDS
            )
        except subprocess.TimeoutExpired:
            return {}, f"{kernel} failed not done after {_RUN_SECONDS:g} s"
        text = done.stdout.decode(errors="replace")
        if done.returncode < 0:
            return {}, f"{kernel} failed signal {-done.returncode}"
        if not counts.is_file() or not text.strip():
            raise DeviceError(f"{self._board.name}: the measuring program said nothing: {done.stderr[-200:]!r}")
        with counts.open() as lines:
            return dict(executions(read_blocks(lines))), text
