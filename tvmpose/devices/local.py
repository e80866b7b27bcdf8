"""This machine, or a virtual board on it, as a device that programs are measured on."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.device import DeviceState, Finished
from tvmpose.errors import DeviceError

_ERROR_TAIL = 8192


@dataclass(frozen=True)
class LocalDevice:
    """board: the virtual board that it stands for; None: the machine itself."""

    board: VirtualBoard | None = None

    @property
    def name(self) -> str:
        return self.board.name if self.board else "local"

    def run(self, program: Path, arguments: Sequence[str], *, timeout: float, files: Sequence[Path] = ()) -> Finished:
        """See Device. Whatever the program started is gone afterwards."""
        argv = [str(program.resolve()), *arguments]
        with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder:
            for file in files:
                (Path(folder) / file.name).symlink_to(file.resolve())
            start = time.monotonic()
            try:
                process = subprocess.Popen(
                    self.board.command(argv) if self.board else argv,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise DeviceError(f"{self.name}: {program.name} cannot be started: {error.strerror}") from error
            try:
                output, remarks = process.communicate(timeout=timeout)
                code: int | None = process.returncode
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _kill_group(process)
            if code is None:
                output, remarks = process.communicate()
        text = remarks[-_ERROR_TAIL:].decode(errors="replace")
        return Finished(code, output, text, time.monotonic() - start)

    def state(self) -> DeviceState:
        import psutil

        frequency = psutil.cpu_freq()
        sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
        temperature = max((entry.current for entries in sensors.values() for entry in entries), default=None)
        clock, limit = (frequency.current, frequency.max or None) if frequency else (None, None)
        return DeviceState(os.getloadavg()[0], clock, limit, temperature)

    def close(self) -> None:
        """Nothing to give back."""


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
