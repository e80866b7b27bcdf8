"""A virtual board at the tracker: the agent, built for it, and every program that it starts, under the emulator.

Real time does not pass there as on the board: it is for trying tuning and benchmarks, not for their numbers.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tvmpose.devices.agent import PROGRAM, build_agent
from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.tracker import Address
from tvmpose.devices.virtual import virtual_board
from tvmpose.targets import load_target

_CLOSING_SECONDS = 10.0


def virtual_agent(board: VirtualBoard, agent: Path, key: str, tracker: Address) -> list[str]:
    """The command that runs the agent on the board. What it starts needs the emulator too: --through."""
    emulator = board.command([Path("/")])[:-1]
    emulator[0] = shutil.which(emulator[0]) or emulator[0]  # as PATH is to be the board's
    options = ["--key", key, "--tracker", str(tracker), "--address", "127.0.0.1", "--until-eof"]
    command = board.command([agent, *options, "--through", " ".join(emulator)])
    return [emulator[0], *command[1:]]


def board_environment(board: VirtualBoard) -> dict[str, str]:
    """In which the board's own programs are found, and none of this machine's."""
    folders = (board.root / folder for folder in ("usr/local/bin", "usr/bin", "bin"))
    return os.environ | {"PATH": ":".join(map(str, folders))}


def serve_virtual(name: str, key: str, tracker: Address, log: Callable[[str], None]) -> int:
    """Until it is interrupted; brings the board up where it is not yet. Returns the agent's exit code.

    Raises InputError for a target without a board, SetupError where board or agent cannot be made.
    """
    board = virtual_board(name, log)
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder:
        log(f"building the agent for {name}")
        agent = build_agent(load_target(name), Path(folder) / PROGRAM)
        command = virtual_agent(board, agent, key, tracker)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=folder, env=board_environment(board))
        try:
            return process.wait()
        finally:
            assert process.stdin
            process.stdin.close()  # it ends with its input
            try:
                process.wait(_CLOSING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
