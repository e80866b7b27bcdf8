"""What a search knows: of each task, of each round."""

from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tvmpose.kernels.choices import Value
from tvmpose.tuning.records import MARGIN
from tvmpose.tuning.search import Space
from tvmpose.tuning.tasks import Task

BETTER = 0.99  # of the best so far: what counts as better
_PATIENCE = 5  # rounds of a task without a better candidate


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
    failure: str = ""  # of the last group that failed as a whole
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

    def note_round(self, is_better: bool) -> None:
        """After each of its rounds. A task that none has measured by the time it ends has failed."""
        self.idle = 0 if is_better else self.idle + 1
        if self.default is None and self.idle >= _PATIENCE:
            self.reason = self.failure

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
