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

from tvmpose.kernels.choices import Choices, Value, given
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
class Space:
    """All that a task's template can decide, and what is known of it."""

    task: Task
    isa: VectorISA
    rng: random.Random
    seen: set[int] = field(default_factory=set)  # codes that were measured or failed
    known: list[tuple[Decisions, float]] = field(default_factory=list)  # with the ratio to the default's value

    def make(self, choices: Choices) -> Candidate | None:
        """None where the template fails: these decisions do not go together."""
        from tvm.s_tir.schedule import ScheduleError

        try:
            function = schedule_kernel(self.task.function, self.isa, choices)
        except (ScheduleError, ValueError, RuntimeError):
            return None
        return Candidate(choices.values, function, tvm_ffi.structural_hash(function))

    def default(self) -> Candidate:
        candidate = self.make(Choices())
        assert candidate is not None
        return candidate

    def make_from(self, decisions: Mapping[str, Value]) -> Candidate | None:
        return self.make(Choices(given(decisions)))

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
        for index in range(_POPULATION):
            mutate = bool(parents) and index % 4 != 3
            for _ in range(_ATTEMPTS):
                pick = self._mutation(self.rng.choice(parents)) if mutate else self.at_random
                candidate = self.make(Choices(pick))
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

    def learn(self, task: Task, measured: Sequence[tuple[Candidate, float]]) -> None:
        if not measured:
            return
        self._rows.extend(self._features(task, [candidate for candidate, _ in measured]))
        self._ratios.extend(ratio for _, ratio in measured)
        self._booster = None

    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray | None:
        """A score each, less is better."""
        if len(self._rows) < self.ENOUGH or not candidates:
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
