"""The search over all tasks of a network: rounds of groups, the time where it matters, a record for every candidate."""

import math
import random
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.devices.device import Device
from tvmpose.kernels.choices import Value
from tvmpose.kernels.isa import vector_isa
from tvmpose.targets import Target
from tvmpose.tuning.build import Builder, Built, write_data
from tvmpose.tuning.crew import Crew, Job
from tvmpose.tuning.measure import Measured, Outcome, Settings, measure, spread
from tvmpose.tuning.records import MARGIN, Log, Record, Unit, cpu_of
from tvmpose.tuning.search import Candidate, CostModel, Space
from tvmpose.tuning.tasks import Task, arguments, expected
from tvmpose.tuning.versions import versions

if TYPE_CHECKING:
    from tvmpose.tuning.count import Counter

_DEFAULTS = Settings(threads=0)  # as many as the library takes by default
GROUP = 16  # candidates of a task that are built, run and compared together, beside the default
_PATIENCE = 3  # rounds of a task without a better candidate
_BETTER = 0.99
_FINALISTS = 3
_FINAL_ROUNDS = 6
_UNREST = 0.15  # of the default within a group: then the group is measured again
_AGAIN = 2
_HOT = 85.0  # degrees Celsius
_THROTTLED = 0.9  # of the clock's limit
_COOL_DOWN = 5.0  # seconds
_MOST_COOL_DOWNS = 12


@dataclass(frozen=True)
class Limits:
    """When to stop: at a time of time.monotonic, or after so many trials."""

    deadline: float = math.inf
    trials: int = 1 << 62


@dataclass
class Search:
    """One task's state. default: of a call, in the unit; None before the first measurement.

    ratio: of the best trial's value to that of the default in its own group.
    """

    task: Task
    space: Space
    data: Path
    default: float | None = None
    ratio: float = 1.0
    trials: int = 0
    idle: int = 0  # rounds without a better candidate
    settled: float = 0.0  # the last final measurement: the best, the default beside it, and what was decided
    settled_default: float = 0.0
    settled_decisions: dict | None = None
    exhausted: bool = False
    reason: str = ""  # why it failed altogether

    @property
    def is_done(self) -> bool:
        return self.exhausted or self.idle >= _PATIENCE or bool(self.reason)

    @property
    def best(self) -> float | None:
        return self.default and self.default * self.ratio

    @property
    def settled_ratio(self) -> float:
        return self.settled / self.settled_default if self.settled_default else 1.0

    @property
    def is_faster(self) -> bool:
        """By what compile will use."""
        return self.settled_ratio <= MARGIN

    def settle(self, value: float, default: float, decisions: Mapping[str, Value]) -> None:
        self.settled, self.settled_default, self.settled_decisions = value, default, dict(decisions)


@dataclass
class Round:
    """What came of one, for people."""

    number: int
    tried: int = 0
    built: int = 0
    ran: int = 0
    valid: int = 0
    search_seconds: float = 0.0
    build_seconds: float = 0.0
    measure_seconds: float = 0.0
    errors: Tally = field(default_factory=Tally)


class Tuner:
    """Tunes tasks for a target on devices, or by counting instructions."""

    def __init__(
        self,
        tasks: Sequence[Task],
        target: Target,
        log: Log,
        builder: Builder,
        folder: Path,
        crew: Crew | None,
        counter: "Counter | None" = None,
        settings: Settings = _DEFAULTS,
        seed: int = 0,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """folder: for the tasks' data. crew or counter: what measures."""
        self.log, self.target, self.settings, self.seed = log, target, settings, seed
        self._builder, self._crew, self._counter, self._report = builder, crew, counter, report
        self.unit: Unit = "instructions" if counter else "seconds"
        llvm = target.llvm()
        isa = vector_isa(llvm)
        self._model = CostModel(llvm, isa, seed)
        self.searches: list[Search] = []
        for index, task in enumerate(tasks):
            rng = random.Random(f"{seed} {task.workload}")
            self.searches.append(Search(task, Space(task, isa, rng), folder / f"data-{index}.bin"))
        self.errors: Tally = Tally()
        self.rounds = 0
        self.trials = 0
        self.reused = self._remember(log.records)

    def _remember(self, records: Iterable[Record]) -> int:
        """Take over what earlier runs have found; returns how many candidates those were."""
        by_workload = {search.task.workload: search for search in self.searches}
        count = 0
        for record in records:
            search = by_workload.get(record.workload)
            usable = (record.version, record.tvm) == versions() and record.unit == self.unit
            if search is None or not usable or record.cpu != cpu_of(self.target):
                continue
            count += 1
            failed = record.stage == "failed"
            search.space.remember(dict(record.decisions), None if failed else record.ratio)
            if record.stage == "final":
                search.settle(record.value, record.default, record.decisions)
            if not failed:
                search.default, search.ratio = record.default, min(search.ratio, record.ratio)
        return count

    # the loop

    def run(self, limits: Limits, on_round: Callable[["Tuner", Round], None] = lambda tuner, done: None) -> None:
        """Until a limit is reached or nothing is left to find. Every round's records are on the disk behind it."""
        width = max(2, len(self._crew.devices) if self._crew else 2)
        while (searches := self._next(width)) and self.trials < limits.trials:
            if time.monotonic() >= limits.deadline:
                break
            count = min(GROUP, limits.trials - self.trials)
            done = self._round(searches, count)
            on_round(self, done)

    def _next(self, width: int) -> list[Search]:
        """The tasks of the next round: first those never measured, then those with most to gain in a frame."""
        open_ = [search for search in self.searches if not search.is_done]
        return sorted(open_, key=lambda search: -self._gain(search))[:width]

    def _gain(self, search: Search) -> float:
        """What a frame would gain if the task came as near to the best rate seen as any, less with every idle round."""
        cost = search.task.cost
        work = cost.multiply_adds + cost.bytes
        if search.default is None:
            return 1e30 * search.task.calls * work
        rates = [(s.task.cost.multiply_adds + s.task.cost.bytes) / s.best for s in self.searches if s.best]
        value = search.best or search.default
        return search.task.calls * max(value - work / max(rates), 0.05 * value) * 0.5**search.idle

    def _round(self, searches: Sequence[Search], count: int) -> Round:
        self.rounds += 1
        done, start = Round(self.rounds), time.monotonic()
        groups = []
        for search in searches:
            self._prepare(search)
            if not search.reason:
                proposed = search.space.propose(count, self._model)
                search.exhausted = len(proposed) < min(4, count)
                groups.append((search, [search.space.default(), *proposed]))
        done.search_seconds = time.monotonic() - start
        measured = self._measure(groups, self.settings, done)
        for (search, group), outcome in zip(groups, measured, strict=True):
            self._take(search, group, outcome, done)
        self._finals([search for search, _ in groups], done)
        self.errors.update(done.errors)
        return done

    def _prepare(self, search: Search) -> None:
        """Arguments and expected results, once. A task for which there are none keeps its default."""
        if search.data.is_file():
            return
        try:
            inputs = arguments(search.task, self.seed)
            write_data(search.data, [*inputs, *expected(search.task, inputs)])
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            search.reason = f"no reference: {str(error).splitlines()[-1] if str(error) else type(error).__name__}"
            self.errors[search.reason] += 1

    def _measure(
        self, groups: Sequence[tuple[Search, Sequence[Candidate]]], settings: Settings, done: Round
    ) -> list[Measured | str]:
        """Build all, then measure: on this machine the two would disturb each other."""
        start = time.monotonic()
        pending = [
            self._builder.submit(search.task, [candidate.decisions for candidate in group]) for search, group in groups
        ]
        built = [one.result() for one in pending]
        done.build_seconds += time.monotonic() - start
        done.tried += sum(len(group) - 1 for _, group in groups)
        start = time.monotonic()
        results: list[Measured | str] = [one.error for one in built]
        runs = [index for index, one in enumerate(built) if one.program]
        done.built += sum(len(groups[index][1]) - 1 for index in runs)
        measured = self._run([(groups[index], built[index]) for index in runs], settings)
        for index, result in zip(runs, measured, strict=True):
            results[index] = result
        done.measure_seconds += time.monotonic() - start
        return results

    def _run(
        self, programs: Sequence[tuple[tuple[Search, Sequence[Candidate]], Built]], settings: Settings
    ) -> list[Measured | str]:
        jobs: list[Job] = []
        counted: list[Measured | str] = []
        for (search, group), built in programs:
            assert built.program
            floats = search.task.results[0].dtype.startswith("float")
            if self._counter:
                counted.append(self._counter.measure(built.program, search.data, len(group), floats))
            else:
                jobs.append(partial(self._steadily, built.program, search, len(group), settings, floats))
        return self._crew.measure(jobs) if self._crew else counted

    def _steadily(
        self, program: Path, search: Search, count: int, settings: Settings, floats: bool, device: Device
    ) -> Measured:
        """Again where the machine was restless or slowed itself down; the last attempt counts as it is."""
        for attempt in range(_AGAIN + 1):
            self._cool_down(device)
            found = measure(device, program, search.data, count, settings, search.default or 0.0, floats)
            state = found.state
            throttled = bool(state.clock and state.clock_limit and state.clock < _THROTTLED * state.clock_limit)
            hot = bool(state.temperature and state.temperature > _HOT)
            if attempt == _AGAIN or not (spread(found.outcomes) > _UNREST or (throttled and hot)):
                break
        return found

    def _cool_down(self, device: Device) -> None:
        for _ in range(_MOST_COOL_DOWNS):
            temperature = device.state().temperature
            if temperature is None or temperature <= _HOT:
                return
            self._report(f"{device.name}: {temperature:.0f} degrees, waiting")
            time.sleep(_COOL_DOWN)

    # what came of it

    def _take(self, search: Search, group: Sequence[Candidate], result: Measured | str, done: Round) -> None:
        """Of a group of trials: its records, and what the search learns."""
        search.trials += len(group) - 1
        self.trials += len(group) - 1
        if isinstance(result, str):  # nothing of the group could be built, or measured
            self._failed(search, group, result, done)
            return
        records, learned, before = [], [], search.ratio
        default = result.outcomes[0]
        if default.error:
            self._failed(search, group, default.error, done)
            return
        search.default = default.value
        for candidate, outcome in zip(group[1:], result.outcomes[1:], strict=True):
            ratio = outcome.value / default.value
            record = self._record(search, candidate, outcome, default.value, result)
            search.space.remember(candidate.decisions, None if outcome.error else ratio)
            done.ran += not outcome.error.startswith(("crash", "timeout", "failed"))
            done.valid += not outcome.error
            if outcome.error:
                done.errors[outcome.error.partition(":")[0]] += 1
                records.append(replace(record, stage="failed", error=outcome.error, value=0.0))
                continue
            records.append(record)
            learned.append((candidate, ratio))
            search.ratio = min(search.ratio, ratio)
        self._model.learn(search.task, learned)
        search.idle = 0 if search.ratio < before * _BETTER else search.idle + 1
        self.log.add(records)

    def _failed(self, search: Search, group: Sequence[Candidate], why: str, done: Round) -> None:
        done.errors[why.partition(":")[0]] += len(group) - 1
        search.idle += 1
        if len(group) > 2 and search.default is None and search.idle >= _PATIENCE:
            search.reason = why
        if why.startswith("not measured"):
            return
        for candidate in group[1:]:
            search.space.remember(candidate.decisions, None)

    def _finals(self, searches: Sequence[Search], done: Round) -> None:
        """The best of a task beside the default once more, in more rounds: only that decides what is compiled."""
        groups = []
        for search in searches:
            if search.ratio > min(MARGIN, search.settled_ratio * _BETTER):
                continue
            known = sorted(search.space.known, key=lambda pair: pair[1])[:_FINALISTS]
            finalists = [search.space.make_from(decisions) for decisions, _ in known]
            groups.append((search, [search.space.default(), *(one for one in finalists if one)]))
        settings = replace(self.settings, rounds=_FINAL_ROUNDS)
        unused = Round(done.number)
        for (search, group), result in zip(groups, self._measure(groups, settings, unused), strict=True):
            if isinstance(result, Measured) and not result.outcomes[0].error:
                self._settle(search, group, result)
        done.build_seconds += unused.build_seconds
        done.measure_seconds += unused.measure_seconds

    def _settle(self, search: Search, group: Sequence[Candidate], result: Measured) -> None:
        index = min(range(len(group)), key=lambda i: result.outcomes[i].value)
        outcome, default = result.outcomes[index], result.outcomes[0]
        record = replace(self._record(search, group[index], outcome, default.value, result), stage="final")
        search.default = default.value
        search.ratio = record.ratio  # better known now than by its trial
        search.settle(record.value, record.default, record.decisions)
        known = {i: result.outcomes[i].value / default.value for i in range(1, len(group))}
        for i, ratio in known.items():
            search.space.correct(group[i].decisions, ratio)
        self.log.add([record])

    def _record(
        self, search: Search, candidate: Candidate, outcome: Outcome, default: float, measured: Measured
    ) -> Record:
        version, tvm_version = versions()
        state = measured.state
        return Record(
            search.task.workload,
            search.task.title,
            self.target.name,
            cpu_of(self.target),
            self.settings.threads,
            self.unit,
            dict(candidate.decisions),
            version,
            tvm_version,
            value=outcome.value,
            default=default,
            repeats=tuple(float(f"{value:.6g}") for value in outcome.repeats),
            difference=outcome.difference,
            device=measured.device,
            load=state.load,
            clock=state.clock,
            clock_limit=state.clock_limit,
            temperature=state.temperature,
            seed=self.seed,
            date=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )

    def total(self) -> tuple[float, float]:
        """A frame's kernels, as far as they were measured: with defaults, and with what compile will use."""
        values = [(search.task.calls * (search.default or 0.0), search) for search in self.searches]
        best = sum(value * (search.settled_ratio if search.is_faster else 1.0) for value, search in values)
        return sum(value for value, _ in values), best
