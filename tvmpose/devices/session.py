"""One client of `tvmpose serve`, in a process of its own: TVM's RPC server with two functions of the agent's."""

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import tvm.rpc.server
import tvm_ffi

from tvmpose.devices import linux_state
from tvmpose.devices.programs import Limits, adopt_orphans, kill_children, run_program

_NAMES = 256


def serve_session(
    client: socket.socket, folder: Path, lifeline: int, limits: Limits, through: Sequence[str], limit: float | None
) -> None:
    """Until the client is gone. Never returns.

    lifeline: a pipe that ends when the server does, and this process with it. limit: the clock's.
    """
    adopt_orphans()
    threading.Thread(target=_end_with, args=(lifeline, client, folder), daemon=True).start()
    os.chdir(folder)
    code = 1
    try:
        register_functions(client, folder, limits, through, limit)
        tvm.rpc.server._serve_loop(client, None, _Folder(folder))
        code = 0
    finally:
        kill_children()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)  # the server's own handlers and buffers are not this process's


class _Folder:
    """What TVM asks of a session's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def relpath(self, name: str) -> str:
        return str(plain_path(self._folder, name))


def plain_path(folder: Path, name: str) -> Path:
    """Raises ValueError for what is not the plain name of a file."""
    if not name or name.startswith(".") or "/" in name or "\0" in name or len(name) > _NAMES:
        raise ValueError(f"{name!r} is not a plain file name")
    return folder / name


def register_functions(
    client: socket.socket | None, folder: Path, limits: Limits, through: Sequence[str], limit: float | None
) -> None:
    """tvmpose.run and tvmpose.state, see rpc/agent/functions.c."""

    def run(program: str, arguments: bytes, timeout: float, files: bytes) -> bytes:
        pairs = _split(files)
        there = {name: plain_path(folder, stored) for name, stored in zip(pairs[::2], pairs[1::2], strict=True)}
        for name in there:
            plain_path(folder, name)
        if not 0 < timeout < 1e6:
            raise ValueError("a time limit must be positive")
        path = _own_program(program[1:]) if program.startswith("=") else plain_path(folder, program)
        return run_program(path, _split(arguments), timeout, there, folder, limits, client, through).pack()

    tvm_ffi.register_global_func("tvmpose.run", run, override=True)
    tvm_ffi.register_global_func("tvmpose.state", lambda: json.dumps(linux_state.describe(limit)), override=True)


def _own_program(name: str) -> Path:
    """Of this machine's."""
    path = shutil.which(str(plain_path(Path(), name)))
    if path is None:
        raise ValueError("run: no such program")
    return Path(path)


def _split(texts: bytes) -> list[str]:
    """Of which each ends with a zero."""
    if texts and not texts.endswith(b"\0"):
        raise ValueError("malformed arguments or files")
    return [text.decode() for text in bytes(texts).split(b"\0")[:-1]]


def _end_with(lifeline: int, client: socket.socket, folder: Path) -> None:
    os.read(lifeline, 1)  # nobody writes: it returns at its end
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)  # first: the client must not take what is killed here for a program's end
    kill_children()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
