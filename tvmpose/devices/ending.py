"""How a program's end travels from the board: what ``tvmpose.run`` returns (rpc/agent/functions.c, ``pack_ending``)."""

import os
import signal
import struct
from dataclasses import dataclass

from tvmpose.devices.device import Finished
from tvmpose.errors import DeviceError

EXITED, SIGNALED, KILLED, NOT_STARTED = range(4)
_HEAD = struct.Struct("<iidQQ")


@dataclass(frozen=True)
class Ending:
    """number: exit code, signal or, where it was not started, errno."""

    how: int
    number: int
    seconds: float
    output: bytes
    error: bytes  # the end of it

    def pack(self) -> bytes:
        head = _HEAD.pack(self.how, self.number, self.seconds, len(self.output), len(self.error))
        return head + self.output + self.error

    def finished(self, where: str, program: str) -> Finished:
        """Raises DeviceError where the program could not be started."""
        if self.how == NOT_STARTED:
            raise DeviceError(f"{where} cannot start {program}: {os.strerror(self.number)}; was it compiled for it?")
        code = {EXITED: self.number, SIGNALED: -self.number}.get(self.how)
        return Finished(code, self.output, self.error.decode(errors="replace"), self.seconds)


def unpack(data: bytes) -> Ending:
    """Raises DeviceError where it is malformed."""
    try:
        how, number, seconds, output, error = _HEAD.unpack_from(data)
    except struct.error:
        raise DeviceError(f"the board's answer has {len(data)} bytes, and must have {_HEAD.size} at least") from None
    if len(data) != _HEAD.size + output + error:
        raise DeviceError(f"the board's answer has {len(data)} bytes, and says {_HEAD.size + output + error}")
    texts = data[_HEAD.size :]
    return Ending(how, number, seconds, texts[:output], texts[output:])


def signal_name(code: int) -> str:
    """Of a negative exit code."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
