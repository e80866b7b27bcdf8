"""This machine, or a virtual board on it, as a device that programs are measured on. Linux only."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.device import DeviceState, Finished
from tvmpose.devices.linux_state import clock_limit, describe
from tvmpose.devices.programs import run_program


@dataclass(frozen=True)
class LocalDevice:
    """board: the virtual board that it stands for; None: the machine itself."""

    board: VirtualBoard | None = None
    limit: float | None = field(default_factory=clock_limit)  # MHz, before heat lowers it

    @property
    def name(self) -> str:
        return self.board.name if self.board else "local"

    def run(self, program: Path, arguments: Sequence[str], *, timeout: float, files: Sequence[Path] = ()) -> Finished:
        """See Device."""
        through = self.board.command([program.resolve()])[:-1] if self.board else ()
        beside = {file.name: file.resolve() for file in files}
        with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder:
            ending = run_program(
                program.resolve(), arguments, timeout, beside, Path(folder), through=through, alone=False
            )
        return ending.finished(self.name, program.name)

    def state(self) -> DeviceState:
        known = describe(self.limit)
        values = {item.name: known[item.name] for item in fields(DeviceState)}
        return DeviceState(**{name: value for name, value in values.items() if not isinstance(value, str)})

    def close(self) -> None:
        """Nothing to give back."""


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))
