"""A board at TVM's tracker, as measuring sees it: programs go there once, run there, and a lost session is replaced."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tvmpose.devices.device import DeviceState, Finished
from tvmpose.devices.ending import unpack
from tvmpose.devices.rpc import RpcError, RpcSession, Value
from tvmpose.devices.tracker import Address, Server, list_servers, request
from tvmpose.errors import DeviceError

WAIT_SECONDS = 60.0
ANSWER_SECONDS = 20.0
_RETRY_SECONDS = 0.5
_BYTES_PER_SECOND = 1 << 20  # slower than any network that one would upload over


class RpcDevice:
    """One board of a key, held until ``close``; see device.Device.

    It serves the agent in C and `tvmpose serve` alike. What breaks in the middle of a call is a DeviceError, as nobody
    knows what the program had done; the next call asks the tracker again, and may get another board of the key.
    """

    def __init__(
        self, tracker: Address, key: str, *, wait: float = WAIT_SECONDS, answer: float = ANSWER_SECONDS
    ) -> None:
        """wait: seconds until a board must be free (--wait); answer: for it to answer beyond a program's own time
        limit (--answer). Raises DeviceError.
        """
        self._tracker, self._key, self._wait, self._answer = tracker, key, wait, answer
        self._digests: dict[tuple[Path, int, int], str] = {}
        self._uploaded: set[str] = set()
        self._session = self._request()

    @property
    def name(self) -> str:
        return f"{self._key}@{self._session.address}"

    def run(self, program: Path, arguments: Sequence[str], *, timeout: float, files: Sequence[Path] = ()) -> Finished:
        """Raises DeviceError where the board fails, and where it cannot start the program."""
        self._heal()
        return self._run(self._upload(program), program.name, arguments, timeout, files)

    def run_own(self, name: str, arguments: Sequence[str], *, timeout: float, files: Sequence[Path] = ()) -> Finished:
        """The same with one of the board's own programs, as "python3". Raises DeviceError where it has none."""
        self._heal()
        return self._run(f"={name}", name, arguments, timeout, files)

    def _run(self, stored: str, name: str, arguments: Sequence[str], timeout: float, files: Sequence[Path]) -> Finished:
        pairs = [text for file in files for text in (file.name, self._upload(file))]
        packed = [b"".join(text.encode() + b"\0" for text in texts) for texts in (arguments, pairs)]
        limit = timeout + self._answer
        data = self._call("tvmpose.run", stored, packed[0], float(timeout), packed[1], timeout=limit)
        return unpack(_as_bytes(data)).finished(self.name, name)

    def state(self) -> DeviceState:
        known = self.describe()
        values = {field.name: known.get(field.name) for field in fields(DeviceState)}
        return DeviceState(**{name: _number(value) for name, value in values.items()})

    def describe(self) -> dict[str, object]:
        """The state and, as texts: machine, system, server."""
        self._heal()
        try:
            known = json.loads(str(self._call("tvmpose.state", timeout=self._answer)))
        except ValueError as error:
            raise DeviceError(f"{self.name}: tvmpose.state is no JSON: {error}") from None
        return known if isinstance(known, dict) else {}

    def send_there_and_back(self, data: bytes) -> bytes:
        """A round trip of so many bytes, which leaves nothing there."""
        self._heal()
        limit = self._answer + 2 * len(data) / _BYTES_PER_SECOND
        self._call("tvm.rpc.server.upload", "round-trip", data, timeout=limit)
        answer = _as_bytes(self._call("tvm.rpc.server.download", "round-trip", timeout=limit))
        self._call("tvm.rpc.server.remove", "round-trip", timeout=self._answer)
        return answer

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> "RpcDevice":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self) -> RpcSession:
        return RpcSession(request(self._tracker, self._key, self._wait), self._answer)

    def _heal(self) -> None:
        """A new session where the old one has gone."""
        if not self._session.is_alive():
            self._session.close()
            self._uploaded.clear()
            self._session = self._request_again()

    def _request_again(self) -> RpcSession:
        """The same, but that a tracker or a board which was there before has time to come back."""
        deadline = time.monotonic() + self._wait
        while True:
            try:
                return self._request()
            except DeviceError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _call(self, name: str, *arguments: Value, timeout: float) -> Value:
        try:
            return self._session.call(name, *arguments, timeout=timeout)
        except RpcError:
            raise
        except DeviceError as error:
            raise DeviceError(f"{self._key}: {error}") from None

    def _upload(self, path: Path) -> str:
        """Its name there, which is its content's."""
        about = path.stat()
        known = (path, about.st_mtime_ns, about.st_size)
        stored = self._digests.get(known) or hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        self._digests[known] = stored
        if stored not in self._uploaded:
            limit = self._answer + about.st_size / _BYTES_PER_SECOND
            self._call("tvm.rpc.server.upload", stored, path.read_bytes(), timeout=limit)
            self._uploaded.add(stored)
        return stored


@dataclass(frozen=True)
class Present:
    """A server at the tracker; nothing is known of one that is busy."""

    server: Server
    free: bool
    known: dict[str, object]
    reason: str = ""  # why one that is free tells nothing


def who_is_there(
    tracker: Address, answer: float = ANSWER_SECONDS, progress: Callable[[str], None] = lambda text: None
) -> list[Present]:
    """Every server of a tracker. To ask those that are free they are taken for a moment. Raises DeviceError."""
    servers, found = list_servers(tracker), dict[Address, Present]()
    for key, free in {server.key: server.free for server in servers}.items():
        taken = []
        for _ in range(free):
            progress(f"asking {key}")
            try:
                offer = request(tracker, key, wait=1.0)
            except DeviceError:
                break  # somebody was faster
            server = next((server for server in servers if server.address == offer.address), None)
            server = server or Server(key, offer.address, 0, 0)
            try:
                session = RpcSession(offer, answer)
                taken.append(session)
                known = json.loads(str(session.call("tvmpose.state", timeout=answer)))
                found[offer.address] = Present(server, True, known)
            except (DeviceError, ValueError) as error:
                found[offer.address] = Present(server, True, {}, str(error))
        for session in taken:
            session.close()
    return [found.get(server.address, Present(server, False, {})) for server in servers]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _as_bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise DeviceError(f"the board answers {value!r}, and should bytes")
    return value
