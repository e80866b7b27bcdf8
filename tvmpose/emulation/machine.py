"""What a count depends on besides the runtimes."""

import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone

from tvmpose.devices.board import VirtualBoard
from tvmpose.emulation.cycles import Mca


@dataclass(frozen=True)
class EmulatedMachine:
    """Where and when."""

    board: str
    emulator: str  # and version
    cpu: str  # qemu's name
    llvm_mca: str | None  # version; estimates of cycles depend on it
    date: str  # UTC, to the day

    def __str__(self) -> str:
        mca = f"llvm-mca {self.llvm_mca}" if self.llvm_mca else "no llvm-mca"
        return f"{self.board}, emulated by {self.emulator} -cpu {self.cpu}; {mca}; {self.date}"


def emulated_machine(board: VirtualBoard, cpu: str | None, mca: Mca | None) -> EmulatedMachine:
    """The board with its own CPU or another of qemu's."""
    said = subprocess.run([board.emulator, "--version"], capture_output=True, text=True).stdout
    version = re.search(r"version ([\d.]+)", said)
    emulator = f"{board.emulator} {version[1]}" if version else board.emulator
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return EmulatedMachine(board.name, emulator, cpu or board.cpu, mca.version if mca else None, date)
