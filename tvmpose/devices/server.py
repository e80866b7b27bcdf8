"""`tvmpose serve`: this machine as a board at TVM's tracker, for one client at a time. rpc/agent/main.c in Python.

Sessions are TVM's (session.py), forked from here, where TVM is loaded already; what lets clients in is ours, as TVM's
own server (tvm/rpc/server.py) does not survive a client that is silent or talks nonsense, nor a session that crashes.
"""

import contextlib
import os
import selectors
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tvmpose.devices import linux_state
from tvmpose.devices.greeting import SECONDS, Greeting
from tvmpose.devices.programs import Limits, adopt_orphans, kill_children
from tvmpose.devices.registration import Registration
from tvmpose.devices.tracker import Address
from tvmpose.errors import SetupError

MAX_GREETINGS = 16
_IDLE_SECONDS = 60.0
_CLOSING_SECONDS = 3.0

Log = Callable[[str], None]


@dataclass(frozen=True)
class Serving:
    """What is served, and to whom."""

    key: str
    tracker: Address | None = None
    host: str = "127.0.0.1"  # to listen on
    port: int = 0  # 0: a free one
    address: str | None = None  # HOST[:PORT] that the tracker tells clients; None for that which it sees
    limits: Limits = field(default_factory=Limits)
    through: Sequence[str] = ()  # a command that programs are run with


@dataclass
class _Session:
    process: int
    client: socket.socket  # for the last word, where the process cannot say it
    lifeline: int  # its writing end, which nobody writes to
    folder: Path
    start: float
    deadline: float | None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises SetupError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=16)
    except OSError as error:
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror or error}; --port names another") from None


def warn_if_open(host: str, log: Log, what: str = "run programs here") -> None:
    """TVM's RPC lets everybody do everything."""
    addresses = {info[4][0] for info in socket.getaddrinfo(host or "0.0.0.0", 0)}
    if any(not str(address).startswith("127.") and address != "::1" for address in addresses):
        log(f"warning: open on {host}: TVM's RPC has no authentication: whoever reaches it can {what}")


def serve(serving: Serving, log: Log) -> None:
    """Until SIGTERM or SIGINT. Raises SetupError where the port cannot be had."""
    import tvm.rpc.server  # noqa: F401 - sessions are forked from here

    with listen(serving.host, serving.port) as listener:
        _Server(serving, listener, log).run()


def _told(address: str | None, port: int) -> tuple[str | None, int]:
    host, colon, own = (address or "").partition(":")
    if not colon or not own.isdigit():  # with more colons: IPv6
        return address, port
    return host, int(own)


class _Server:
    def __init__(self, serving: Serving, listener: socket.socket, log: Log) -> None:
        self._serving, self._listener, self._log = serving, listener, log
        listener.setblocking(False)
        adopt_orphans()
        self._stopping = False
        self._waker, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop_soon)
        port = listener.getsockname()[1]
        log(f"listening on {serving.host}:{port} as {serving.key}")
        warn_if_open(serving.host, log)
        host, told_port = _told(serving.address, port)
        self._registration = (
            Registration(serving.tracker, serving.key, told_port, host, log) if serving.tracker else None
        )
        self._limit = linux_state.clock_limit()
        self._greetings: list[Greeting] = []
        self._session: _Session | None = None

    def run(self) -> None:
        while not self._stopping:
            if self._registration:
                self._registration.tick(awaiting=self._session is None)
            self._wait()
        self._stop()

    def _stop_soon(self, *_: object) -> None:
        self._stopping = True

    def _wait(self) -> None:
        """Until something happens, or is due."""
        due = [greeting.deadline for greeting in self._greetings]
        due.append(self._registration.next if self._registration else time.monotonic() + _IDLE_SECONDS)
        if self._session and self._session.deadline:
            due.append(self._session.deadline)
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            if self._registration or not self._session:  # else the next one waits in the queue
                selector.register(self._listener, selectors.EVENT_READ, self._accept)
            for greeting in self._greetings:
                selector.register(greeting.client, selectors.EVENT_READ, lambda g=greeting: self._hear(g))
            for key, _ in selector.select(max(min(due) - time.monotonic(), 0)):
                if key.data:
                    key.data()
        with contextlib.suppress(BlockingIOError):
            while os.read(self._waker, 512):
                pass
        self._reap()
        self._expire()

    def _accept(self) -> None:
        try:
            client, address = self._listener.accept()
        except OSError:
            return
        name = f"{address[0]}:{address[1]}"
        if len(self._greetings) == MAX_GREETINGS:
            self._log(f"{name}: refused: {MAX_GREETINGS} others have not said yet who they are")
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._greetings.append(Greeting(client, name, self._log))

    def _hear(self, greeting: Greeting) -> None:
        awaited = self._registration.match_key if self._registration else self._serving.key
        accepted = greeting.hear(self._serving.key, "" if self._session else awaited)
        if accepted is not None:
            self._greetings.remove(greeting)
        if accepted:
            self._begin(greeting)

    def _begin(self, greeting: Greeting) -> None:
        folder = Path(tempfile.mkdtemp(prefix="tvmpose-serve-"))
        reads, writes = os.pipe2(os.O_CLOEXEC)
        self._log(f"{greeting.name}: session begins")
        process = os.fork()
        if process == 0:
            os.close(writes)
            self._become_session(greeting, folder, reads)
        os.close(reads)
        now, seconds = time.monotonic(), greeting.session_seconds
        self._session = _Session(process, greeting.client, writes, folder, now, now + seconds if seconds else None)
        if self._registration:
            self._registration.taken()

    def _become_session(self, greeting: Greeting, folder: Path, lifeline: int) -> None:
        """In the child; never returns."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # the server's end reaches us by the lifeline
            self._listener.close()
            for other in self._greetings:
                other.client.close()
            if self._registration:
                self._registration.close()
            from tvmpose.devices.session import serve_session

            serve_session(greeting.client, folder, lifeline, self._serving.limits, self._serving.through, self._limit)
        except BaseException as error:  # noqa: BLE001 - the child must not run on in the server's code
            self._log(f"{greeting.name}: session ends: {type(error).__name__}: {str(error).splitlines()[-1:]}")
        finally:
            os._exit(1)

    def _reap(self) -> None:
        if not self._session:
            return
        ended, status = os.waitpid(self._session.process, os.WNOHANG)
        if not ended:
            return
        session, self._session = self._session, None
        code = os.waitstatus_to_exitcode(status)
        by = f", by signal {-code}" if code < 0 else ", with an error" if code else ""
        self._log(f"session ends after {time.monotonic() - session.start:.1f} s{by}")
        os.close(session.lifeline)
        session.client.close()
        kill_children()  # what a session that was killed has left
        shutil.rmtree(session.folder, ignore_errors=True)

    def _expire(self) -> None:
        now = time.monotonic()
        for greeting in [greeting for greeting in self._greetings if now >= greeting.deadline]:
            greeting.refuse(f"silent for {SECONDS:g} s")
            self._greetings.remove(greeting)
        if self._session and self._session.deadline and now >= self._session.deadline:
            self._session.deadline = None
            os.kill(self._session.process, signal.SIGKILL)
            from tvm.rpc import _ffi_api

            text = "RPCSessionTimeoutError: the session has expired; ask for a longer session_timeout"
            with contextlib.suppress(Exception):  # TVM's, of any kind: a client that is gone has nothing to hear
                _ffi_api.ReturnException(self._session.client.fileno(), text)

    def _stop(self) -> None:
        self._log("stopping")
        if self._registration:
            self._registration.close()
        if not self._session:
            return
        os.close(self._session.lifeline)
        deadline = time.monotonic() + _CLOSING_SECONDS
        while time.monotonic() < deadline and os.waitpid(self._session.process, os.WNOHANG) == (0, 0):
            time.sleep(0.05)
        kill_children()
        shutil.rmtree(self._session.folder, ignore_errors=True)
