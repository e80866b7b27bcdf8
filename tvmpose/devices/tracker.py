"""TVM's tracker, asked from outside: who is there, and give me one. Its protocol is in tvm/rpc/tracker.py.

Written anew because TVM's own client waits for ever: for a tracker that is silent, and for a board that is never free.
"""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tvmpose.errors import DeviceError, InputError

DEFAULT_TRACKER = "127.0.0.1:9190"
MAGIC = 0x2F271
PUT, REQUEST, UPDATE_INFO, SUMMARY, PENDING_KEYS = 3, 4, 5, 6, 7
_MAX_ANSWER = 1 << 20
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Address:
    """Of a tracker or server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Offer:
    """A board that the tracker gives away, once: what to say to it so that it lets us in."""

    address: Address
    match_key: str


@dataclass(frozen=True)
class Server:
    """One that is registered, and how many of its key are free and how many requests wait for one."""

    key: str
    address: Address
    free: int
    pending: int


def parse_address(text: str, option: str = "--tracker") -> Address:
    """HOST:PORT. Raises InputError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InputError(f"{option} {text}: must be HOST:PORT, as {DEFAULT_TRACKER}")
    return Address(host.strip("[]"), int(port))


class TrackerLink:
    """A connection to the tracker. Raises DeviceError in one clear line, whatever fails."""

    def __init__(self, tracker: Address, timeout: float = _ANSWER_SECONDS) -> None:
        self.tracker = tracker
        with self._named():
            self._socket = socket.create_connection((tracker.host, tracker.port), timeout)
        try:
            with self._named():
                self._socket.sendall(struct.pack("<i", MAGIC))
                if struct.unpack("<i", self._receive(4))[0] != MAGIC:
                    raise DeviceError(f"{tracker} is not TVM's tracker")
        except DeviceError:
            self.close()
            raise

    def ask(self, message: list[object], timeout: float = _ANSWER_SECONDS) -> object:
        """What it answers."""
        text = json.dumps(message).encode()
        with self._named():
            self._socket.settimeout(timeout)
            self._socket.sendall(struct.pack("<i", len(text)) + text)
            size = struct.unpack("<i", self._receive(4))[0]
            if not 0 <= size <= _MAX_ANSWER:
                raise DeviceError(f"{self.tracker} is not TVM's tracker: it announces {size} bytes")
            return json.loads(self._receive(size))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "TrackerLink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("it closed the connection")
            data += part
        return data

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise DeviceError(
                f"tracker {self.tracker}: no answer in time; is it TVM's? Start one: tvmpose tracker"
            ) from None
        except ValueError as error:
            raise DeviceError(f"{self.tracker} is not TVM's tracker: {error}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise DeviceError(f"tracker {self.tracker}: {reason}; start one: tvmpose tracker") from None


def list_servers(tracker: Address) -> list[Server]:
    """All that are registered, by key and address."""
    with TrackerLink(tracker) as link:
        answer = link.ask([SUMMARY])
    try:
        summary = answer[1]  # type: ignore[index]
        queues = summary["queue_info"]
        servers = []
        for info in summary["server_info"]:
            key = info["key"].partition(":")[2]
            queue = queues.get(key, {"free": 0, "pending": 0})
            address = Address(str(info["addr"][0]), int(info["addr"][1]))
            servers.append(Server(key, address, queue["free"], queue["pending"]))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise DeviceError(f"{tracker} is not TVM's tracker: its summary has no {error}") from None
    return sorted(servers, key=lambda server: (server.key, server.address.host, server.address.port))


def request(tracker: Address, key: str, wait: float) -> Offer:
    """A board of this key, as soon as one is free, for at most ``wait`` seconds. Raises DeviceError."""
    servers = list_servers(tracker)
    if not any(server.key == key for server in servers):
        there = ", ".join(sorted({server.key for server in servers})) or "none"
        raise DeviceError(
            f"no board with the key {key!r} at the tracker {tracker}; keys there: {there}. On the board: "
            f"tvmpose serve --key {key} --tracker HOST:PORT, or the agent of `tvmpose devices kit`"
        )
    with TrackerLink(tracker) as link:
        try:
            answer = link.ask([REQUEST, key, "", 1], wait)
        except DeviceError:
            count = sum(server.key == key for server in servers)
            raise DeviceError(
                f"{key}: none of {count} at the tracker {tracker} became free in {wait:g} s; wait longer with --wait, "
                f"or see who is busy: tvmpose devices --tracker {tracker}"
            ) from None
    try:
        host, port, match_key = answer[1]  # type: ignore[index]
        return Offer(Address(str(host), int(port)), str(match_key))
    except (TypeError, IndexError, ValueError):
        raise DeviceError(f"{tracker} is not TVM's tracker: it answers {answer!r}") from None
