"""The side of TVM's tracker protocol that servers speak: rpc/agent/tracker.c in Python."""

import secrets
import time
from collections.abc import Callable

from tvmpose.devices.tracker import PENDING_KEYS, PUT, UPDATE_INFO, Address, TrackerLink
from tvmpose.errors import DeviceError

RETRY_SECONDS = 2.0
CHECK_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
_UNUSED_CHECKS = 3  # the key is given away and nobody comes: make up another


class Registration:
    """Of one server: kept up for ever, whatever becomes of the tracker."""

    def __init__(self, tracker: Address, key: str, port: int, host: str | None, log: Callable[[str], None]) -> None:
        """host: that clients shall use; None for that which the tracker sees."""
        self._tracker, self._key, self._port, self._host, self._log = tracker, key, port, host, log
        self._link: TrackerLink | None = None
        self._complained, self._unused = False, 0
        self.match_key = ""  # what the next client has to say; "" while nobody is awaited
        self.next = 0.0  # when there is something to do

    def tick(self, awaiting: bool) -> None:
        """Whatever is due; awaiting: for a client."""
        if time.monotonic() < self.next and (self._link is None or not awaiting or self.match_key):
            return
        try:
            if self._link is None:
                self._connect()
            elif not awaiting or self.match_key:
                self._check(awaiting)
            if awaiting and not self.match_key:
                self._offer()
            self.next = time.monotonic() + CHECK_SECONDS
        except DeviceError as error:
            self._drop(str(error))

    def taken(self) -> None:
        """The key has been used."""
        self.match_key = ""

    def close(self) -> None:
        if self._link:
            self._link.close()

    def _connect(self) -> None:
        self._link = TrackerLink(self._tracker, _ANSWER_SECONDS)
        self._tell(UPDATE_INFO, {"key": f"server:{self._key}", "addr": [self._host, self._port]})
        self._log(f"registered as {self._key} with the tracker {self._tracker}")
        self._complained, self.match_key = False, ""

    def _offer(self) -> None:
        # TVM takes the key's name back out of it by splitting at the last colon
        self.match_key, self._unused = f"{self._key}:0.{secrets.randbelow(10**20):020}", 0
        self._tell(PUT, self._key, [self._port, self.match_key], self._host)

    def _check(self, awaiting: bool) -> None:
        assert self._link
        keys = self._link.ask([PENDING_KEYS], _ANSWER_SECONDS)
        if awaiting:
            self._unused = 0 if isinstance(keys, list) and self.match_key in keys else self._unused + 1
            if self._unused > _UNUSED_CHECKS:
                self._offer()

    def _tell(self, *message: object) -> None:
        assert self._link
        if self._link.ask(list(message), _ANSWER_SECONDS) != 0:
            raise DeviceError(f"the tracker {self._tracker} refuses {message[0]}")

    def _drop(self, why: str) -> None:
        if not self._complained:
            self._log(f"{why}; trying again every {RETRY_SECONDS:g} s")
        self._complained = True
        self.close()
        self._link, self.match_key = None, ""
        self.next = time.monotonic() + RETRY_SECONDS
