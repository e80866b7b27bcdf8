"""The search over all tasks of a network: rounds of groups, the time where it matters, a record for every candidate."""

import math
import random
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.kernels.isa import vector_isa
from tvmpose.targets import Target
from tvmpose.tuning.build import Builder, write_data
from tvmpose.tuning.crew import Crew
from tvmpose.tuning.groups import Bench, Group
from tvmpose.tuning.measure import Measured, Outcome, Settings
from tvmpose.tuning.records import MARGIN, Log, Record, Unit, cpu_of
from tvmpose.tuning.search import Candidate, CostModel, Space
from tvmpose.tuning.state import BETTER, Round, Search
from tvmpose.tuning.tasks import Task, arguments, expected
from tvmpose.tuning.versions import versions

if TYPE_CHECKING:
    from tvmpose.tuning.count import Counter

_DEFAULTS = Settings(threads=0)  # as many as the library takes by default
GROUP = 16  # candidates of a task that are built, run and compared together, beside the default
_FIRST_GROUP = 8  # in the first round: what fails altogether, no board or no compiler, is known soon
_FINALISTS = 3
_FINAL_ROUNDS = 6


@dataclass(frozen=True)
class Limits:
    """When to stop: at a time of time.monotonic, or after so many trials."""

    deadline: float = math.inf
    trials: int = 1 << 62


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
        self._bench = Bench(builder, crew, counter, report)
        self.unit: Unit = "instructions" if counter else "seconds"
        llvm = target.llvm()
        isa = vector_isa(llvm)
        self._model = CostModel(llvm, isa, seed)
        self.searches: list[Search] = []
        for index, task in enumerate(tasks):
            rng = random.Random(f"{seed} {task.workload}")
            self.searches.append(Search(task, Space(task, isa, rng), folder / f"data-{index}.bin"))
        self.errors: Tally = Tally()
        self.rounds: list[Round] = []
        self.trials = 0
        self.first_trial: float | None = None  # of time.monotonic
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
        width = max(2, self._bench.width)
        while (searches := self._next(width)) and self.trials < limits.trials:
            if time.monotonic() >= limits.deadline:
                break
            on_round(self, self._round(searches, limits.trials - self.trials))

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

    def _round(self, searches: Sequence[Search], left: int) -> Round:
        """left: candidates that may be tried."""
        done, start = Round(len(self.rounds) + 1), time.monotonic()
        self.rounds.append(done)
        groups = []
        for search in searches:
            self.prepare(search)
            if not search.reason:
                count = min(GROUP if done.number > 1 else _FIRST_GROUP, left)
                proposed = search.space.propose(count, self._model) if count else []
                search.exhausted = len(proposed) < min(4, count)
                left -= len(proposed)
                if proposed:
                    groups.append(Group(search, (search.space.default(), *proposed)))
        done.search_seconds = time.monotonic() - start
        before = [(group.search, group.search.ratio) for group in groups]
        for group, outcome in self._bench.measure(groups, self.settings, done):
            self._take(group, outcome, done)
        for search, ratio in before:
            search.note_round(search.ratio < ratio * BETTER)
        self._finals([group.search for group in groups], done)
        self.errors.update(done.errors)
        return done

    def prepare(self, search: Search) -> None:
        """Arguments and expected results, once. A task for which there are none keeps its default."""
        if search.data.is_file():
            return
        try:
            inputs = arguments(search.task, self.seed)
            write_data(search.data, [*inputs, *expected(search.task, inputs)])
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            search.reason = f"no reference: {str(error).splitlines()[-1] if str(error) else type(error).__name__}"
            self.errors[search.reason] += 1

    # what came of it

    def _take(self, group: Group, result: Measured | str, done: Round) -> None:
        """Of a group of trials: its records, and what the search learns."""
        search = group.search
        search.trials += len(group)
        self.trials += len(group)
        if isinstance(result, str):  # it could not be built
            self._failed(group, result, done)
            return
        default = result.outcomes[0]
        if default.error:
            self._failed(group, default.error, done)
            return
        records, learned = [], []
        search.default = default.value
        self.first_trial = self.first_trial or time.monotonic()
        for candidate, outcome in zip(group.candidates[1:], result.outcomes[1:], strict=True):
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
        self.log.add(records)

    def _failed(self, group: Group, why: str, done: Round) -> None:
        done.errors[why.partition(":")[0]] += len(group)
        group.search.failure = why
        for candidate in group.candidates[1:]:
            group.search.space.remember(candidate.decisions, None)

    def _finals(self, searches: Sequence[Search], done: Round) -> None:
        """The best of a task beside the default once more, in more rounds: only that decides what is compiled.

        A library takes any number of threads, so what is tuned with all must not be slower with one.
        """
        groups = []
        for search in searches:
            if search.ratio > min(MARGIN, search.settled_ratio * BETTER):
                continue
            known = sorted(search.space.known, key=lambda pair: pair[1])[:_FINALISTS]
            finalists = [search.space.make_from(decisions) for decisions, _ in known]
            groups.append(Group(search, (search.space.default(), *(one for one in finalists if one))))
        other = 0 if self.settings.threads == 1 else 1
        settings = replace(self.settings, rounds=_FINAL_ROUNDS, other_threads=other)
        unused = Round(done.number)
        for group, result in self._bench.measure(groups, settings, unused):
            if isinstance(result, Measured) and not result.outcomes[0].error:
                self._settle(group.search, group.candidates, result)
        done.build_seconds += unused.build_seconds
        done.measure_seconds += unused.measure_seconds

    def _settle(self, search: Search, group: Sequence[Candidate], result: Measured) -> None:
        able = [i for i in range(len(group)) if not result.is_slower_elsewhere(i)]
        index = min(able, key=lambda i: result.outcomes[i].value)
        outcome, default = result.outcomes[index], result.outcomes[0]
        record = replace(self._record(search, group[index], outcome, default.value, result), stage="final")
        search.default = default.value
        search.ratio = record.ratio  # better known now than by its trial
        search.settle(record.value, record.default, record.decisions)
        known = {i: result.outcomes[i].value / default.value for i in range(1, len(group))}
        for i, ratio in known.items():
            search.space.correct(group[i].decisions, ratio if i in able else max(ratio, 1.0))
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
