"""A machine on which programs are run and timed: what measuring needs of it, whatever the road to it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Finished:
    """How a program ended on a device."""

    code: int | None  # its exit code; the negative number of a signal; None where it was killed at the time limit
    output: bytes  # of standard output
    error: str  # the end of standard error
    seconds: float  # that it took, on the device's clock


@dataclass(frozen=True)
class DeviceState:
    """What a device says of itself; None where it does not know."""

    load: float | None = None  # average of the last minute, in cores
    clock: float | None = None  # of the fastest core, in MHz
    clock_limit: float | None = None  # the highest that it may have, in MHz
    temperature: float | None = None  # of the hottest sensor, in degrees Celsius


class Device(Protocol):
    """One machine. Methods raise DeviceError where the machine, not the program, fails."""

    @property
    def name(self) -> str:
        """Tells it from others with the same key."""

    def run(self, program: Path, arguments: Sequence[str], *, timeout: float, files: Sequence[Path] = ()) -> Finished:
        """Run an executable that was linked for it, with standard input empty, and kill it after `timeout` seconds.

        files: lie beside the program, in its working directory, under their own names.
        """

    def state(self) -> DeviceState:
        """Now."""

    def close(self) -> None:
        """Let others have it."""
