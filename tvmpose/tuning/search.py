"""Which candidates of a kernel to measure next: mutations of the best, ranked by a cost model, and some at random.

The decisions are few and categorical, so a candidate is made by running its template with them; what they lead to is
seen by MetaSchedule's feature extractor and ranked by XGBoost, which learns from every task's measurements together.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm_ffi
from tvm.tirx import PrimFunc

from tvmpose.kernels.choices import Choices, Pick, Value, given
from tvmpose.kernels.dispatch import schedule_kernel
from tvmpose.kernels.isa import VectorISA
from tvmpose.tuning.features import features
from tvmpose.tuning.tasks import Task

_POPULATION = 48  # drawn in a round
_PARENTS = 6
_AT_RANDOM = 0.25  # of a round's candidates: the cost model does not choose them
_MUTATED = 2  # decisions of a mutation, at most
_ATTEMPTS = 8  # for a candidate that is new

Decisions = dict[str, Value]


@dataclass(frozen=True)
class Candidate:
    """Decisions and the kernel that they make; code: tells kernels that are the same."""

    decisions: Decisions
    function: PrimFunc
    code: int


@dataclass
class Made:
    """What decisions lead to: a template, which takes far longer than a look here, runs once for the same ones.

    asked: behind each beginning of a template's decisions, the name and the options of the next one.
    """

    asked: dict[tuple[Value, ...], tuple[str, tuple[Value, ...]]] = field(default_factory=dict)
    candidates: dict[tuple[Value, ...], Candidate | None] = field(default_factory=dict)

    def follow(self, pick: Pick) -> Decisions:
        """What it would decide, as far as is known what is asked."""
        path: tuple[Value, ...] = ()
        decided: Decisions = {}
        while path in self.asked:
            name, options = self.asked[path]
            decided[name] = options[pick(name, options, 0) if len(options) > 1 else 0]
            path += (decided[name],)
        return decided

    def keep(self, choices: Choices, candidate: Candidate | None) -> None:
        path: tuple[Value, ...] = ()
        for name, taken in choices.taken.items():
            self.asked[path] = (name, taken.options)
            path += (taken.value,)
        self.candidates[path] = candidate


@dataclass
class Space:
    """All that a task's template can decide, and what is known of it."""

    task: Task
    isa: VectorISA
    rng: random.Random
    seen: set[int] = field(default_factory=set)  # codes that were measured or failed
    known: list[tuple[Decisions, float]] = field(default_factory=list)  # with the ratio to the default's value
    made: Made = field(default_factory=Made)

    def make(self, pick: Pick) -> Candidate | None:
        """None where the template fails: these decisions do not go together."""
        from tvm.s_tir.schedule import ScheduleError

        decided = self.made.follow(pick)
        path = tuple(decided.values())
        if path in self.made.candidates:
            return self.made.candidates[path]

        def further(name: str, options: Sequence[Value], default: int) -> int:
            return options.index(decided[name]) if name in decided else pick(name, options, default)

        choices, candidate = Choices(further), None
        try:
            function = schedule_kernel(self.task.function, self.isa, choices)
            candidate = Candidate(choices.values, function, tvm_ffi.structural_hash(function))
        except (ScheduleError, ValueError, RuntimeError):
            pass
        self.made.keep(choices, candidate)
        return candidate

    def default(self) -> Candidate:
        candidate = self.make(Choices().pick)
        assert candidate is not None
        return candidate

    def make_from(self, decisions: Mapping[str, Value]) -> Candidate | None:
        return self.make(given(decisions))

    def correct(self, decisions: Decisions, ratio: float) -> None:
        """A candidate that is known was measured again, and better."""
        self.known = [(known, ratio if known == decisions else old) for known, old in self.known]

    def remember(self, decisions: Decisions, ratio: float | None) -> None:
        """What came of a candidate; None: it failed."""
        if candidate := self.make_from(decisions):
            self.seen.add(candidate.code)
            if ratio is not None:
                self.known.append((candidate.decisions, ratio))

    def propose(self, count: int, model: "CostModel") -> list[Candidate]:
        """New candidates, fewer than asked for where no more are found."""
        drawn: dict[int, Candidate] = {}
        parents = [decisions for decisions, _ in sorted(self.known, key=lambda pair: pair[1])[:_PARENTS]]
        for index in range(_POPULATION if model.is_ready else count):
            mutate = bool(parents) and index % 4 != 3
            for _ in range(_ATTEMPTS):
                pick = self._mutation(self.rng.choice(parents)) if mutate else self.at_random
                candidate = self.make(pick)
                if candidate and candidate.code not in self.seen and candidate.code not in drawn:
                    drawn[candidate.code] = candidate
                    break
        candidates = list(drawn.values())
        scores = model.predict(self.task, candidates)
        if scores is None:
            return candidates[:count]
        free = min(round(count * _AT_RANDOM), max(len(candidates) - 1, 0))
        ranked = [candidates[i] for i in np.argsort(scores)]
        rest = ranked[count - free :]
        return ranked[: count - free] + self.rng.sample(rest, min(free, len(rest)))

    def at_random(self, name: str, options: Sequence[Value], default: int) -> int:
        return self.rng.randrange(len(options))

    def _mutation(self, parent: Mapping[str, Value]) -> Any:
        changed = set(self.rng.sample(sorted(parent), min(self.rng.randint(1, _MUTATED), len(parent))))
        keep = given(parent)

        def pick(name: str, options: Sequence[Value], default: int) -> int:
            return self.at_random(name, options, default) if name in changed else keep(name, options, default)

        return pick


class CostModel:
    """Ratio of a candidate's value to the default's, as XGBoost predicts it; nothing before it has seen enough."""

    ENOUGH = 24

    def __init__(self, target: Any, isa: VectorISA, seed: int) -> None:
        """target: TVM's, of the kernels."""
        self._target, self._isa, self._seed = target, isa, seed
        self._rows: list[np.ndarray] = []
        self._ratios: list[float] = []
        self._booster: Any = None
        self._defaults: dict[str, np.ndarray] = {}  # features, by workload

    @property
    def is_ready(self) -> bool:
        """Whether it has seen enough to rank candidates."""
        return len(self._rows) >= self.ENOUGH

    def learn(self, task: Task, measured: Sequence[tuple[Candidate, float]]) -> None:
        if not measured:
            return
        self._rows.extend(self._features(task, [candidate for candidate, _ in measured]))
        self._ratios.extend(ratio for _, ratio in measured)
        self._booster = None

    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray | None:
        """A score each, less is better."""
        if not self.is_ready or not candidates:
            return None
        import xgboost

        if self._booster is None:
            settings = {"max_depth": 6, "eta": 0.2, "nthread": 1, "seed": self._seed, "verbosity": 0}
            ratios = np.log(np.clip(self._ratios, 0.1, 10))
            self._booster = xgboost.train(settings, xgboost.DMatrix(np.stack(self._rows), ratios), num_boost_round=60)
        return self._booster.predict(xgboost.DMatrix(np.stack(self._features(task, candidates))))

    def _features(self, task: Task, candidates: Sequence[Candidate]) -> list[np.ndarray]:
        """The default's, which tell what kind of kernel it is, and how far from them each candidate is."""
        if task.workload not in self._defaults:
            default = schedule_kernel(task.function, self._isa)
            self._defaults[task.workload] = features(task.function, [default], self._target)[0]
        default = self._defaults[task.workload]
        found = features(task.function, [candidate.function for candidate in candidates], self._target)
        return [np.concatenate([default, values - default]) for values in found]
