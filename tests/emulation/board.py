"""A board that is this machine, with counts that a program of ours writes in the place of QEMU's plugin."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmpose.devices.board import VirtualBoard

# The last argument of frames.py is the number of frames.
_PROGRAM = """\
import os, runpy, sys
{prologue}
with open(os.environ["TVMPOSE_COUNTS"], "w") as counts:
    counts.write("70 3 4000 aabbcc\\n")
    counts.write(f"{{1000 * int(sys.argv[-1])}} 2 5000 aabb\\n")
sys.path.insert(0, os.getcwd())
runpy.run_module("tvmpose.emulation.frames", run_name="__main__")
"""


@dataclass(frozen=True)
class HostBoard(VirtualBoard):
    """2000 instructions a frame. ``prologue``: Python that is executed before."""

    prologue: str = ""

    def command(self, argv: Sequence[str | Path], plugin: Path | None = None, cpu: str | None = None) -> list[str]:
        assert plugin is not None and plugin.is_file()
        program = _PROGRAM.format(prologue=self.prologue)
        return [sys.executable, "-c", program, *map(str, argv[3:])]


def host_board(prologue: str = "") -> HostBoard:
    return HostBoard("some-board", Path("/"), "cortex-a0", "true", prologue)
