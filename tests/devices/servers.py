"""A tracker of TVM's, and servers as processes whose log is read while they run."""

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tvmpose.devices.agent import sources
from tvmpose.devices.tracker import Address, list_servers
from tvmpose.errors import DeviceError

SECONDS = 60.0  # until something counts as never: no test waits for so long unless it fails


def wait_until(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Looks again and again."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.05)


def build_agent_here(path: Path, *flags: str) -> Path:
    """For this machine, with its own C library; compiled once for all test processes."""
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", *flags]
    header = sources()[0].with_name("agent.h")
    content = b"".join([" ".join(command).encode(), *(file.read_bytes() for file in (header, *sources()))])
    built = Path(tempfile.gettempdir()) / f"tvmpose-test-agent-{hashlib.sha256(content).hexdigest()[:16]}"
    if not built.exists():
        unfinished = built.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, *map(str, sources()), "-o", str(unfinished)], check=True)
        unfinished.replace(built)
    shutil.copy2(built, path)
    return path


@contextmanager
def tvm_tracker(port: int = 0) -> Iterator[Address]:
    """TVM's own, in a thread."""
    from tornado import ioloop
    from tvm.rpc import tracker

    listener = socket.create_server(("127.0.0.1", port))
    ready, handlers = threading.Event(), []

    def run() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        handlers.append(tracker.TrackerServerHandler(listener, "stop"))
        handlers[0]._ioloop = ioloop.IOLoop.current()
        ready.set()
        handlers[0].run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(SECONDS)
    try:
        yield Address("127.0.0.1", listener.getsockname()[1])
    finally:
        handlers[0]._ioloop.add_callback(handlers[0].stop)
        thread.join(SECONDS)


@dataclass
class Process:
    """One whose standard error is its log."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def says(self, text: str, times: int = 1) -> bool:
        return sum(text in line for line in self.lines) >= times

    def wait_for(self, text: str, times: int = 1) -> None:
        def said() -> bool:
            over = self.process.poll() is not None and not self.says(text, times)
            assert not over, f"ended without {text!r}: {self.lines}"
            return self.says(text, times)

        wait_until(said, f"{text!r} in {self.lines}")

    @property
    def port(self) -> int:
        """That it says it listens on."""
        self.wait_for("listening on")
        line = next(line for line in self.lines if "listening on" in line)
        return int(line.partition("listening on ")[2].split()[0].rpartition(":")[2])

    def read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))


@contextmanager
def started(command: Sequence[str | Path], temporary: Path) -> Iterator[Process]:
    """A process until the end of the ``with``, whose sessions have their folders in ``temporary``."""
    temporary.mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = Process(
        subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
        )
    )
    threading.Thread(target=process.read, daemon=True).start()
    try:
        yield process
    finally:
        process.process.send_signal(signal.SIGCONT)
        process.process.terminate()
        try:
            process.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.process.kill()
            raise


def tvmpose(*arguments: str) -> list[str]:
    """A command line of ours."""
    return [sys.executable, "-m", "tvmpose", *arguments]


def is_registered(tracker: Address, key: str, free: int = 1) -> bool:
    try:
        return any(server.key == key and server.free >= free for server in list_servers(tracker))
    except DeviceError:
        return False


def processes_with(text: str) -> list[int]:
    """Of this machine's, by their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(entry.name))
    return found
