"""The devices that share the trials of one key, each in a thread of its own; one that fails or drifts rests.

The group of a device that failed goes to the others, which need not wait until it is well again: it is asked how it is
before it gets another.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from tvmpose.devices.device import Device
from tvmpose.errors import DeviceError
from tvmpose.tuning.measure import Measured

PAUSES = (5.0, 30.0, 60.0)  # seconds after the first failure in a row, the second ...; then it is left out
DRIFT = 1.3  # times as long as on the other boards
_PACES = 3  # groups in a row


@dataclass(frozen=True)
class Job:
    """A group to be measured. task: what its default candidate is known by, to compare devices."""

    task: str
    run: Callable[[Device], Measured]


@dataclass
class _Member:
    device: Device
    failures: int = 0  # in a row
    paces: deque[float] = field(default_factory=lambda: deque(maxlen=_PACES))  # of defaults, over the best seen


class Crew:
    """Measuring a list of jobs takes as long as the devices together need. Close it, or use ``with``."""

    def __init__(
        self,
        devices: Sequence[Device],
        report: Callable[[str], None] = lambda text: None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self.out: dict[str, str] = {}  # devices that were left out, and why
        self.counts: dict[str, int] = {device.name: 0 for device in devices}  # groups that each has measured
        self._report, self._pauses = report, pauses
        self._members = [_Member(device) for device in devices]
        self._best: dict[str, float] = {}  # of a task's default, on any device
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Job]] = deque()
        self._results: dict[int, Measured] = {}
        self._stopped: list[BaseException] = []
        self._closing = threading.Event()
        for member in self._members:
            threading.Thread(target=self._work, args=(member,), daemon=True).start()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def devices(self) -> list[Device]:
        """Those that are not left out."""
        return [member.device for member in self._members]

    def measure(self, jobs: Sequence[Job]) -> list[Measured]:
        """What came of each. Raises DeviceError where no device is left, and what a job raised that is none."""
        with self._changed:
            self._results.clear()
            self._waiting.extend(enumerate(jobs))
            self._changed.notify_all()
            while len(self._results) < len(jobs):
                if self._stopped:
                    raise self._stopped[0]
                if not self._members:
                    why = "; ".join(f"{name}: {why}" for name, why in self.out.items())
                    raise DeviceError(f"no device is left: {why}")
                self._changed.wait(0.2)  # so that Ctrl-C is heard
            return [self._results[index] for index in range(len(jobs))]

    def close(self) -> None:
        """The threads end; the devices are their owner's."""
        self._closing.set()
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self, member: _Member) -> None:
        while taken := self._take():
            index, job = taken
            try:
                result = job.run(member.device)
                if slow := self._note_pace(member, job.task, result):
                    raise DeviceError(f"its kernels take {slow:.1f} times as long as on the others")
            except DeviceError as error:
                with self._changed:
                    self._waiting.appendleft(taken)  # for another, or another time
                    self._changed.notify_all()
                if not self._recovers(member, error):
                    return
            except BaseException as error:  # noqa: BLE001
                # it is raised again by whoever waits
                with self._changed:
                    self._stopped.append(error)
                    self._changed.notify_all()
                return
            else:
                with self._changed:
                    member.failures = 0
                    self.counts[member.device.name] = self.counts.get(member.device.name, 0) + 1
                    self._results[index] = result
                    self._changed.notify_all()

    def _take(self) -> tuple[int, Job] | None:
        """The next job; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            return None if self._closing.is_set() else self._waiting.popleft()

    def _recovers(self, member: _Member, error: DeviceError) -> bool:
        """Rest and ask until the device answers. False: it is left out, or nobody needs it any more."""
        while not self._closing.is_set():
            name = member.device.name
            if member.failures >= len(self._pauses):
                self._leave_out(member, name, error)
                return False
            pause = self._pauses[member.failures]
            member.failures += 1
            self._report(f"{_with_name(name, error)}; it rests for {pause:g} s")
            self._closing.wait(pause)
            try:
                if not self._closing.is_set():
                    member.device.state()
                    return True
            except DeviceError as failed:
                error = failed
        return False

    def _leave_out(self, member: _Member, name: str, error: DeviceError) -> None:
        with self._changed:
            self._members.remove(member)
            self.out[name] = str(error)
            self._changed.notify_all()
        self._report(f"left out after {member.failures + 1} failures: {_with_name(name, error)}")

    def _note_pace(self, member: _Member, task: str, result: Measured) -> float | None:
        """How many times slower than the other devices it has been three times in a row, if it was."""
        value = result.outcomes[0].value
        if result.outcomes[0].error:
            return None
        with self._changed:
            self._best[task] = min(value, self._best.get(task, value))
            member.paces.append(value / self._best[task])
            others = [median(m.paces) for m in self._members if m is not member and len(m.paces) == _PACES]
            slow = min(member.paces) / min(others) if others and len(member.paces) == _PACES else 0.0
            if slow <= DRIFT:
                return None
            member.paces.clear()
            return slow


def _with_name(name: str, error: DeviceError) -> str:
    text = str(error)
    return text if text.startswith(name) else f"{name}: {text}"
