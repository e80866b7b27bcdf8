"""What a template decides, by name: its own default, which a model of the CPU gives, or what a search found.

A decision is a categorical sample of MetaSchedule's, so that a schedule's trace tells what was decided.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tvm.s_tir import Schedule

Value = int | tuple[int, ...]
"""Of a decision: a number, or a few that belong together."""
Kind = TypeVar("Kind", bound=Value)
Pick = Callable[[str, Sequence[Value], int], int]
"""Name, options, index of the default -> index of what is taken."""

VERSION = 2
"""Of the templates' decisions, what they mean and their defaults: records of another one are not used."""


@dataclass(frozen=True)
class Taken:
    """A decision as it was made."""

    options: tuple[Value, ...]
    value: Value
    default: Value


@dataclass
class Choices:
    """The decisions of one kernel, which its template asks for one by one; later options may depend on earlier ones."""

    pick: Pick = lambda name, options, default: default
    taken: dict[str, Taken] = field(default_factory=dict)

    def take(self, schedule: Schedule, name: str, options: Sequence[Kind], default: Kind) -> Kind:
        """One of the options, or the default, which need not be among them."""
        options = list(dict.fromkeys([default, *options]))
        index = self.pick(name, options, 0) if len(options) > 1 else 0
        schedule.sample_categorical(list(range(len(options))), [1 / len(options)] * len(options), decision=index)
        self.taken[name] = Taken(tuple(options), options[index], default)
        return options[index]

    @property
    def values(self) -> dict[str, Value]:
        return {name: taken.value for name, taken in self.taken.items()}

    @property
    def are_default(self) -> bool:
        return all(taken.value == taken.default for taken in self.taken.values())


def given(values: Mapping[str, Value]) -> Pick:
    """Values by name; the default of what has none, and where its value is none of the options."""

    def pick(name: str, options: Sequence[Value], default: int) -> int:
        return options.index(values[name]) if values.get(name) in options else default

    return pick
