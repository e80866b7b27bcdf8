"""Groups of candidates: built, in halves where the whole cannot be; measured again where the device was restless."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.devices.device import Device, DeviceState
from tvmpose.tuning.build import Builder, Pending
from tvmpose.tuning.crew import Crew, Job
from tvmpose.tuning.measure import Measured, Settings, measure, spread
from tvmpose.tuning.search import Candidate
from tvmpose.tuning.state import Round, Search

if TYPE_CHECKING:
    from tvmpose.tuning.count import Counter

_UNREST = 0.15  # of the default within a group: then the group is measured again
_AGAIN = 2
_HOT = 85.0  # degrees Celsius
_THROTTLED = 0.9  # of the clock's limit
_COOL_DOWN = 5.0  # seconds
_MOST_COOL_DOWNS = 12


@dataclass(frozen=True)
class Group:
    """Candidates of a task that are built, run and compared together; the first is the default."""

    search: Search
    candidates: tuple[Candidate, ...]

    def __len__(self) -> int:
        """How many candidates it has beside the default."""
        return len(self.candidates) - 1

    def parts(self) -> "list[Group]":
        """The default alone, and each half beside it."""
        default, middle = self.candidates[:1], 1 + len(self) // 2
        halves = (self.candidates[1:middle], self.candidates[middle:])
        return [Group(self.search, default), *(Group(self.search, default + half) for half in halves)]


def build(builder: Builder, groups: Sequence[Group]) -> list[tuple[Group, Path | str]]:
    """A program for each group, or why there is none. Of one that cannot be built the parts that can are kept."""
    pending = [(group, _submit(builder, group)) for group in groups]
    done: list[tuple[Group, Path | str]] = []
    while pending:
        group, building = pending.pop(0)
        built = building.result()
        if built.program:
            done.append((group, built.program))
        elif len(group) < 2:
            done.append((group, built.error))
        else:
            default, *halves = group.parts()
            if error := _submit(builder, default).result().error:
                done.append((group, error))
            else:
                pending += [(half, _submit(builder, half)) for half in halves]
    return done


def _submit(builder: Builder, group: Group) -> Pending:
    return builder.submit(group.search.task, [candidate.decisions for candidate in group.candidates])


class Bench:
    """Where programs of groups are measured: devices, or a virtual board whose instructions are counted."""

    def __init__(
        self, builder: Builder, crew: Crew | None, counter: "Counter | None", report: Callable[[str], None]
    ) -> None:
        self._builder, self._crew, self._counter, self._report = builder, crew, counter, report

    @property
    def width(self) -> int:
        """Groups that are measured at once."""
        return len(self._crew.devices) if self._crew else 1

    def measure(self, groups: Sequence[Group], settings: Settings, done: Round) -> list[tuple[Group, Measured | str]]:
        """Build all, then measure: on this machine the two would disturb each other.

        What could not be built comes with the reason; a group may come back in parts.
        """
        start = time.monotonic()
        built = build(self._builder, groups)
        done.build_seconds += time.monotonic() - start
        done.tried += sum(map(len, groups))
        start = time.monotonic()
        failed = [(group, program) for group, program in built if isinstance(program, str)]
        programs = [(group, program) for group, program in built if isinstance(program, Path)]
        done.built += sum(len(group) for group, _ in programs)
        measured = self._run(programs, settings)
        done.measure_seconds += time.monotonic() - start
        return [*failed, *((group, result) for (group, _), result in zip(programs, measured, strict=True))]

    def _run(self, programs: Sequence[tuple[Group, Path]], settings: Settings) -> list[Measured]:
        if self._crew:
            jobs = [
                Job(group.search.task.workload, partial(self._measure, program, group, settings))
                for group, program in programs
            ]
            return self._crew.measure(jobs)
        assert self._counter
        return [
            self._counter.measure(program, group.search.data, len(group.candidates), group.search.task.is_float)
            for group, program in programs
        ]

    def _measure(self, program: Path, group: Group, settings: Settings, device: Device) -> Measured:
        found = self._steadily(program, group, settings, device)
        if settings.other_threads is None:
            return found
        others = self._steadily(program, group, replace(settings, threads=settings.other_threads), device)
        return replace(found, others=others.outcomes)

    def _steadily(self, program: Path, group: Group, settings: Settings, device: Device) -> Measured:
        """Again where the machine was restless or slowed itself down; the last attempt counts as it is."""
        search, count = group.search, len(group.candidates)
        for attempt in range(_AGAIN + 1):
            self._cool_down(device)
            estimate = search.default or 0.0
            found = measure(device, program, search.data, count, settings, estimate, search.task.is_float)
            if attempt == _AGAIN or not (spread(found.outcomes) > _UNREST or is_throttled(found.state)):
                break
        return found

    def _cool_down(self, device: Device) -> None:
        for _ in range(_MOST_COOL_DOWNS):
            temperature = device.state().temperature
            if temperature is None or temperature <= _HOT:
                return
            self._report(f"{device.name}: {temperature:.0f} degrees, waiting")
            time.sleep(_COOL_DOWN)


def is_throttled(state: DeviceState) -> bool:
    """Whether a device has slowed itself down, as it is hot."""
    hot = bool(state.temperature and state.temperature > _HOT)
    return hot and bool(state.clock and state.clock_limit and state.clock < _THROTTLED * state.clock_limit)
