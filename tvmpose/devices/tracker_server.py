"""`tvmpose tracker`: TVM's tracker, in this process.

TVM's own way to start it (tvm.exec.rpc_tracker) is a worker process, which goes on when the command is killed.
"""

import asyncio
import logging
import signal
import struct
from typing import Any

from tvmpose.devices.server import Log, listen, warn_if_open
from tvmpose.errors import SetupError


def serve_tracker(host: str, port: int, log: Log) -> None:
    """Until SIGTERM or SIGINT. Raises SetupError where the port cannot be had, or TVM or tornado is missing."""
    try:
        from tornado import ioloop
        from tvm.rpc import base, tracker
    except ImportError as error:
        raise SetupError(f"the tracker needs {error.name or error}: pip install 'tvmpose[compiler,tune]'") from None

    with listen(host, port) as listener:
        tracker.logger.handlers = [_OneLine(log)]
        tracker.logger.setLevel(logging.WARNING)
        asyncio.set_event_loop(asyncio.new_event_loop())
        _mend(tracker, base, log)
        handler = tracker.TrackerServerHandler(listener, base.random_key("tracker"))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: ioloop.IOLoop.current().add_callback_from_signal(handler.stop))
        log(f"tracker on {host}:{listener.getsockname()[1]}")
        warn_if_open(host, log, "reach all boards through it")
        handler.run()
        log("stopping")


class _OneLine(logging.Handler):
    """Without tracebacks, which a stranger could fill a disk with."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(record.getMessage())


def _mend(tracker: Any, base: Any, log: Log) -> None:
    """TVM's handler takes whatever part of the first bytes has come for all of them, and goes on with garbage."""

    def init(self: Any, message: bytes) -> None:
        self._data += message
        if len(self._data) < 4:
            return
        magic = struct.unpack_from("<i", self._data)[0]
        if magic != base.RPC_TRACKER_MAGIC:
            log(
                f"{self._addr[0]}:{self._addr[1]}: refused: not TVM's tracker, it begins with {self._data[:4].hex(' ')}"
            )
            self.close()
            return
        del self._data[:4]
        self.write_message(struct.pack("<i", magic), binary=True)
        self._init_req_nbytes = 0
        if self._data:
            self.on_message(b"")

    tracker.TCPEventHandler._init_conn = init
