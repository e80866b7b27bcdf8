"""A program with limits, as rpc/agent/child.c runs it: for `tvmpose serve`, whose functions are Python's.

Linux only. The process that calls this must have called ``adopt_orphans``.
"""

import contextlib
import ctypes
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmpose.devices.ending import EXITED, KILLED, NOT_STARTED, SIGNALED, Ending

ERROR_TAIL = 8192
_PART = 65536
_DRAIN_SECONDS = 1.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """Of one program. memory_bytes: of its data."""

    memory_bytes: int = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
    output_bytes: int = 64 << 20


def adopt_orphans() -> None:
    """From now on what descendants leave behind becomes a child of this process."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_children() -> None:
    """And theirs, until there is none."""
    while child := _some_child():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def run_program(
    program: Path,
    arguments: Sequence[str],
    timeout: float,
    files: Mapping[str, Path],
    folder: Path,
    limits: Limits = Limits(),
    client: socket.socket | None = None,
    through: Sequence[str] = (),
    alone: bool = True,
) -> Ending:
    """Run it in a folder of its own, made below ``folder``, in which ``files`` lie by name.

    client: whose end is the program's end too. through: a command that it is run with. alone: this process has no other
    children, so that all are killed in the end. Raises ConnectionError where the
    client has gone, OSError where the folder cannot be made.
    """
    place = folder / ".run"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    for name, file in files.items():
        (place / name).symlink_to(file)
    if program.parent == folder:
        program.chmod(0o700)  # TVM's upload does not
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            [*through, str(program), *arguments],
            cwd=place,
            env={**os.environ, "TVMPOSE_THROUGH": " ".join(through)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: _limit(limits),
        )
    except OSError as error:
        return Ending(NOT_STARTED, error.errno or 0, 0.0, b"", b"")
    try:
        return _Watched(process, limits, client, alone).until(start, timeout)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _limit(limits: Limits) -> None:
    """In the child."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.memory_bytes:  # not of the address space, of which emulators reserve gigabytes
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))


class _Watched:
    """A program that runs, and what it has printed."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", limits: Limits, client: socket.socket | None, alone: bool
    ) -> None:
        assert process.stdout and process.stderr
        self._process, self._limits, self._client, self._alone = process, limits, client, alone
        self._output, self._error = bytearray(), bytearray()
        self._selector = selectors.DefaultSelector()
        self._end = os.pidfd_open(process.pid)
        for stream in (process.stdout, process.stderr):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        self._selector.register(self._end, selectors.EVENT_READ)
        if client:
            self._selector.register(client, selectors.EVENT_READ)

    def until(self, start: float, timeout: float) -> Ending:
        """Its end. Whatever it started is gone afterwards."""
        in_time = False
        try:
            in_time = self._watch(start + timeout)
        finally:
            seconds = time.monotonic() - start
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            code = self._process.wait()
            if self._alone:
                kill_children()
            self._drain()
            self._close()
        if len(self._output) > self._limits.output_bytes:
            text = b"\nprinted over %d bytes, the server's limit\n" % self._limits.output_bytes
            return Ending(SIGNALED, signal.SIGXFSZ, seconds, b"", bytes(self._error[-ERROR_TAIL:]) + text)
        how, number = (EXITED, code) if code >= 0 else (SIGNALED, -code)
        if not in_time:
            how = KILLED
        return Ending(how, number, seconds, bytes(self._output), bytes(self._error[-ERROR_TAIL:]))

    def _watch(self, deadline: float) -> bool:
        """Whether it ended by itself in time, or by printing too much."""
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.fileobj == self._end:
                    return True
                if key.fileobj is self._client:
                    self._refuse_silence()
                elif not self._take(key.fd):
                    self._selector.unregister(key.fileobj)
            if len(self._output) > self._limits.output_bytes:
                return True
        return False

    def _take(self, stream: int) -> bool:
        """Whether there may be more."""
        try:
            part = os.read(stream, _PART)
        except BlockingIOError:
            return True
        if stream == self._process.stderr.fileno():  # type: ignore[union-attr]
            self._error += part
            del self._error[: -2 * ERROR_TAIL]
        else:
            self._output += part
        return bool(part)

    def _drain(self) -> None:
        """All writers are dead, so this ends at once; a deadline in case one could not be killed."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        for stream in (self._process.stdout, self._process.stderr):
            assert stream
            with selectors.DefaultSelector() as selector:
                selector.register(stream, selectors.EVENT_READ)
                while selector.select(max(deadline - time.monotonic(), 0)) and self._take(stream.fileno()):
                    if len(self._output) > self._limits.output_bytes:
                        break

    def _refuse_silence(self) -> None:
        assert self._client
        try:
            gone = not self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if gone:
            raise ConnectionError("the client has gone")
        self._selector.unregister(self._client)  # it says something already: for later

    def _close(self) -> None:
        self._selector.close()
        os.close(self._end)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream
            stream.close()


def _some_child() -> int | None:
    """The id of a child of this process, one that has ended included."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                if int(parent) == os.getpid():
                    return int(entry.name)
    return None
