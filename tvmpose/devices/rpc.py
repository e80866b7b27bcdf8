"""TVM's RPC, version 0.8.0, as a client that calls functions by name: rpc/agent/session.c has the other side.

Written anew because TVM's client, in C++, has no time limits: a board that stands still would hold it for ever. It also
needs no TVM, so that a program which only talks to boards starts at once.
"""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tvmpose.devices.tracker import Offer
from tvmpose.errors import DeviceError

MAGIC = 0xFF271
MISMATCH = MAGIC + 2
VERSION = b"0.8.0"

_INIT_SERVER, _CALL, _RETURN, _EXCEPTION = 2, 3, 4, 5
_GET_FUNCTION = 9
# TVM's type indices
_NONE, _INT, _BOOL, _FLOAT, _POINTER, _RAW_STRING, _BYTE_ARRAY, _OBJECT, _STRING, _BYTES = (
    0,
    1,
    2,
    3,
    4,
    8,
    9,
    64,
    65,
    66,
)
_MAX_PACKET = 1 << 30
_CONNECT_SECONDS = 10.0

Value = str | bytes | int | float | None


class RpcError(DeviceError):
    """The function was called and raised."""


class RpcSession:
    """A board that is ours until it is closed. Any failure but RpcError leaves it closed."""

    def __init__(self, offer: Offer, timeout: float = _CONNECT_SECONDS) -> None:
        """Raises DeviceError: cannot be reached in so many seconds, does not let us in, or is another version."""
        self.address = offer.address
        self._functions: dict[str, int] = {}
        self._deadline = 0.0
        with self._named("connect", timeout, "--answer"):
            self._socket = socket.create_connection((offer.address.host, offer.address.port), timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._greet(f"client:{offer.match_key}".encode())
            self._exchange(_INIT_SERVER, struct.pack("<Q", len(VERSION)) + VERSION + _pack(()))

    def call(self, name: str, *arguments: Value, timeout: float, option: str = "--answer") -> Value:
        """Of a function by name. timeout: seconds until the answer must be complete, which ``option`` raises."""
        if self.closed:
            raise DeviceError(f"{self.address}: the session is over")
        with self._named(name, timeout, option):
            if name not in self._functions:
                handle = self._exchange(_GET_FUNCTION, _pack((name,)))[-1]
                if not isinstance(handle, int):
                    raise RpcError(f"{self.address} has no function {name}: it is not one of tvmpose's servers")
                self._functions[name] = handle
            return self._exchange(_CALL, struct.pack("<Q", self._functions[name]) + _pack(arguments))[-1]

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def is_alive(self) -> bool:
        """Whether the other side still holds the connection, as far as is known here."""
        if self.closed:
            return False
        try:
            self._socket.settimeout(0)
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        self._socket.close()

    def _greet(self, key: bytes) -> None:
        self._socket.sendall(struct.pack("<ii", MAGIC, len(key)) + key)
        code = struct.unpack("<i", self._receive(4))[0]
        if code == MISMATCH:
            raise DeviceError(f"{self.address} does not let us in: another client has it, or the key is an old one")
        if code != MAGIC:
            raise DeviceError(f"{self.address} does not speak TVM's RPC: it answers {code:#x}")
        self._receive(struct.unpack("<i", self._receive(4))[0])

    def _exchange(self, code: int, body: bytes) -> list[Value]:
        self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))
        self._socket.sendall(struct.pack("<Qi", len(body) + 4, code))
        self._socket.sendall(body)
        size = 0
        while not size:
            size = struct.unpack("<Q", self._receive(8))[0]
        if not 8 <= size <= _MAX_PACKET:
            raise DeviceError(f"{self.address} does not speak TVM's RPC: a packet of {size} bytes")
        packet = self._receive(size)
        code, values = struct.unpack_from("<i", packet)[0], _unpack(packet, 4)
        if code == _EXCEPTION:
            raise RpcError(f"{self.address}: {_last_line(str(values[0]))}")
        if code != _RETURN:
            raise DeviceError(f"{self.address} does not speak TVM's RPC: code {code}")
        return values

    def _receive(self, count: int) -> bytes:
        data, have = bytearray(count), 0
        while have < count:
            self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))
            part = self._socket.recv_into(memoryview(data)[have:])
            if not part:
                raise ConnectionError("it closed the connection")
            have += part
        return bytes(data)

    @contextmanager
    def _named(self, what: str, timeout: float, option: str) -> Iterator[None]:
        """Errors with the board's address; all but RpcError close the session."""
        done, self._deadline = False, time.monotonic() + timeout
        try:
            yield
            done = True
        except RpcError:
            done = True
            raise
        except TimeoutError:
            raise DeviceError(f"{self.address}: no answer to {what} in {timeout:g} s; raise {option}") from None
        except (struct.error, IndexError) as error:
            raise DeviceError(f"{self.address} does not speak TVM's RPC: {error}") from None
        except OSError as error:
            raise DeviceError(f"{self.address}: {what}: {error.strerror or error}") from None
        finally:
            if not done and hasattr(self, "_socket"):
                self._socket.close()


def _pack(values: tuple[Value, ...]) -> bytes:
    parts = [struct.pack("<i", len(values))]
    for value in values:
        if value is None:
            parts.append(struct.pack("<i", _NONE))
        elif isinstance(value, str | bytes):
            data = value.encode() if isinstance(value, str) else value
            kind = _RAW_STRING if isinstance(value, str) else _BYTE_ARRAY
            parts += [struct.pack("<iQ", kind, len(data)), data]
        elif isinstance(value, int):
            parts.append(struct.pack("<iq", _INT, value))
        else:
            parts.append(struct.pack("<id", _FLOAT, value))
    return b"".join(parts)


def _unpack(packet: bytes, at: int) -> list[Value]:
    """Raises struct.error or IndexError where it is malformed."""
    (count,), values = struct.unpack_from("<i", packet, at), list[Value]()
    at += 4
    for _ in range(count):
        kind = struct.unpack_from("<i", packet, at)[0]
        at += 4
        if kind >= _OBJECT:  # its own index again
            kind = struct.unpack_from("<i", packet, at)[0]
            at += 4
        if kind == _NONE:
            values.append(None)
        elif kind in (_INT, _BOOL, _POINTER, _FLOAT):
            values.append(struct.unpack_from("<d" if kind == _FLOAT else "<q", packet, at)[0])
            at += 8
        elif kind in (_RAW_STRING, _BYTE_ARRAY, _STRING, _BYTES):
            size = struct.unpack_from("<Q", packet, at)[0]
            data = packet[at + 8 : at + 8 + size]
            if len(data) != size:
                raise IndexError("a text is cut off")
            values.append(data.decode(errors="replace") if kind in (_RAW_STRING, _STRING) else data)
            at += 8 + size
        else:
            raise IndexError(f"a value of type {kind}")
    return values


def _last_line(text: str) -> str:
    """Of TVM's errors, which are tracebacks."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "an error without text"
