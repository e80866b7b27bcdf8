"""`tvmpose tune` as a process of its own, whose lines are read while it runs."""

import os
import subprocess
from dataclasses import dataclass, field

from tests.devices.servers import SECONDS, tvmpose
from tests.tiny import Tiny


@dataclass
class Tuning:
    """A run, and what it has printed so far."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def until(self, text: str) -> str:
        """The first new line with it."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return line
        raise AssertionError(f"ended without {text!r}: {self.lines}")

    def end(self, seconds: float = 5 * SECONDS) -> int:
        """Its exit code; all that it printed is in lines."""
        output, _ = self.process.communicate(timeout=seconds)
        self.lines += output.splitlines()
        return self.process.returncode


def start_tuning(tiny: Tiny, *options: str) -> Tuning:
    """In a process group of its own, standard error among its output."""
    command = tvmpose("tune", str(tiny.model), "--threads", "1", *options)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return Tuning(subprocess.Popen(command, env=os.environ, start_new_session=True, **output))
