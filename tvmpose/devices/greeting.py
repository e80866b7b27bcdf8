"""What a client of TVM's RPC says first, judged: rpc/agent/greeting.c in Python.

TVM's own server (tvm/rpc/server.py) waits for ever for a silent client, and ends with the first one that says nonsense.
"""

import re
import socket
import struct
import time
from collections.abc import Callable

from tvmpose.devices.rpc import MAGIC, MISMATCH

SECONDS = 10.0
_MAX_KEY = 255
_HEAD = 8
_SEND_SECONDS = 5.0


class Greeting:
    """A client that has not said yet, or not completely, who it is."""

    def __init__(self, client: socket.socket, name: str, log: Callable[[str], None]) -> None:
        self.client, self.name, self._log = client, name, log
        self.deadline = time.monotonic() + SECONDS
        self.session_seconds: float | None = None  # the client's own limit
        self._said = b""
        client.setblocking(False)

    def hear(self, server_key: str, expected: str) -> bool | None:
        """Whether it is let in; None where it has more to say. Refused ones are closed. expected: "" for nobody."""
        while True:
            wanted = self._wanted()
            if isinstance(wanted, str):
                return self.refuse(wanted)
            if not wanted:
                return self._judge(server_key, expected)
            try:
                part = self.client.recv(wanted)
            except BlockingIOError:
                return None
            except OSError:
                part = b""
            if not part:
                return self.refuse("closed before it had said who it is")
            self._said += part

    def refuse(self, why: str) -> bool:
        """False."""
        self._log(f"{self.name}: refused: {why}")
        self.client.close()
        return False

    def _wanted(self) -> int | str:
        """How many bytes are missing, or what is wrong with those that came."""
        if len(self._said) < 4:
            return 4 - len(self._said)
        magic = struct.unpack_from("<I", self._said)[0]
        if magic != MAGIC:
            if magic >> 4 == MAGIC >> 4:
                return f"another version of TVM's protocol, magic {magic:#x}"
            return f"not TVM's RPC, it begins with {self._said[:4].hex(' ')}"
        if len(self._said) < _HEAD:
            return _HEAD - len(self._said)
        length = struct.unpack_from("<I", self._said, 4)[0]
        return f"a key of more than {_MAX_KEY} bytes" if length > _MAX_KEY else _HEAD + length - len(self._said)

    def _judge(self, server_key: str, expected: str) -> bool:
        key, _, rest = self._said[_HEAD:].decode(errors="replace").partition(" ")
        limit = re.search(r"-timeout=(\d+(\.\d+)?)", rest)
        self.session_seconds = float(limit[1]) or None if limit else None
        self.client.settimeout(_SEND_SECONDS)
        try:
            if not expected or key != f"client:{expected}":
                self.client.sendall(struct.pack("<i", MISMATCH))
                return self.refuse("wrong key" if expected else "wrong key, or the board is in use")
            name = f"server:{server_key}".encode()
            self.client.sendall(struct.pack("<ii", MAGIC, len(name)) + name)
        except OSError:
            return self.refuse("is gone")
        self.client.setblocking(True)
        return True
