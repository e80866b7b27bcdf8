"""Programs of others that are run for what they make: compilers, linkers, package tools."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tvmpose.errors import SetupError

# Lines that tell why one failed: apt's and pip's verdicts, else a compiler's or linker's reason.
_TELLING = (re.compile("(E|ERROR):"), re.compile("(?!collect2:).*(error|undefined|cannot|failed)", re.IGNORECASE))


def run_tool(command: Sequence[str], folder: Path | None = None) -> str:
    """What it prints, in English. Raises SetupError with the line that tells most where it fails."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = next(_telling(lines), lines[-1] if lines else "no message")
        raise SetupError(f"{_name(command)} failed with exit code {done.returncode}: {reason}")
    return done.stdout


def _telling(lines: Sequence[str]) -> Iterator[str]:
    return (line for pattern in _TELLING for line in lines if pattern.match(line))


def _name(command: Sequence[str]) -> str:
    """Of a module that Python runs, its own."""
    program, *arguments = command
    return " ".join(arguments[1:3]) if arguments[:1] == ["-m"] else Path(program).name
