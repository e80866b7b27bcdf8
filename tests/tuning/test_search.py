"""What a search draws, without measuring it: two decisions, and the second one's options depend on the first."""

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tvm.script import tirx as T

from tvmpose.kernels.choices import Choices, Value
from tvmpose.kernels.isa import VectorISA
from tvmpose.tuning import search
from tvmpose.tuning.search import CostModel, Space
from tvmpose.tuning.tasks import Task

FORBIDDEN = (3, 30)  # the template fails


class Template:
    """Stands in for schedule_kernel; a kernel that stores what was decided."""

    def __init__(self) -> None:
        self.runs: list[tuple[Value, ...]] = []

    def __call__(self, function: Any, isa: VectorISA, choices: Choices) -> Any:
        schedule = cast(Any, SimpleNamespace(sample_categorical=lambda *arguments, **named: None))
        first = choices.take(schedule, "first", [1, 2, 3], 1)
        second = choices.take(schedule, "second", [first * 10, first * 10 + 1], first * 10)
        self.runs.append((first, second))
        if (first, second) == FORBIDDEN:
            raise ValueError("these do not go together")

        @T.prim_func(s_tir=True)
        def kernel(x: T.Buffer((2,), "int32")) -> None:
            x[0] = T.int32(first)
            x[1] = T.int32(second)

        return kernel


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> Template:
    template = Template()
    monkeypatch.setattr(search, "schedule_kernel", template)
    return template


def space() -> Space:
    return Space(cast(Task, SimpleNamespace(function=None)), VectorISA(4, 16), random.Random(0))


def test_make__many_draws__each_decisions_template_runs_once_and_all_are_found(template: Template) -> None:
    whole = space()
    made = [whole.make(whole.at_random) for _ in range(200)]
    assert sorted(template.runs) == [(1, 10), (1, 11), (2, 20), (2, 21), (3, 30), (3, 31)]
    found = {tuple(candidate.decisions.values()) for candidate in made if candidate}
    assert found == set(template.runs) - {FORBIDDEN}
    assert len({candidate.code for candidate in made if candidate}) == 5


def test_make__after_other_draws__what_was_asked_for(template: Template) -> None:
    whole = space()
    for _ in range(50):
        whole.make(whole.at_random)
    for decisions in ({"first": 2, "second": 21}, {"first": 3, "second": 31}, {"second": 11}):
        candidate = whole.make_from(decisions)
        assert candidate is not None and decisions.items() <= candidate.decisions.items()
    assert whole.make_from({"first": 3}) is None
    assert whole.default().decisions == {"first": 1, "second": 10}


def test_propose__nothing_measured__only_as_many_as_are_asked_for_are_made(template: Template) -> None:
    proposed = space().propose(2, CostModel(None, VectorISA(4, 16), 0))
    assert len(proposed) == 2 and len(template.runs) <= 4


def test_propose__all_is_known__nothing_and_no_template_runs(template: Template) -> None:
    whole = space()
    names: Sequence[int] = (1, 2, 3)
    for first in names:
        for second in (first * 10, first * 10 + 1):
            whole.remember({"first": first, "second": second}, 1.0)
    runs = len(template.runs)
    assert whole.propose(16, CostModel(None, VectorISA(4, 16), 0)) == []
    assert len(template.runs) == runs
