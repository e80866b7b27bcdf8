"""Groups that cannot be built as a whole: what can be built of them is measured."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from tvmpose.tuning.build import Built
from tvmpose.tuning.groups import Group, build


@dataclass
class Broken:
    """A builder that fails with candidates of these decisions."""

    bad: set[int]
    built: list[list[int]] = field(default_factory=list)

    def submit(self, task, decisions):
        numbers = [one["tile"] for one in decisions]
        self.built.append(numbers)
        failed = self.bad & set(numbers)
        return SimpleNamespace(result=lambda: Built(None, f"crash: {failed}") if failed else Built(Path("program")))


def group(count: int) -> Group:
    candidates = tuple(SimpleNamespace(decisions={"tile": number}) for number in range(count + 1))
    return Group(SimpleNamespace(task=None), candidates)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [set(), {1}, {16}, {3, 4, 11}, set(range(1, 17))], ids=str)
def test_build__candidates_that_cannot_be_built__all_others_are_each_once_beside_the_default(bad: set[int]) -> None:
    done = build(Broken(bad), [group(16)])  # type: ignore[arg-type]
    failed, built = [], []
    for part, program in done:
        numbers = [candidate.decisions["tile"] for candidate in part.candidates]
        assert numbers[0] == 0 and part.search is done[0][0].search
        (built if isinstance(program, Path) else failed).extend(numbers[1:])
    assert sorted(failed) == sorted(bad)
    assert sorted(built) == sorted(set(range(1, 17)) - bad)


def test_build__default_cannot_be_built__is_tried_once_and_given_up() -> None:
    builder = Broken({0})
    assert [(len(part), program) for part, program in build(builder, [group(16)])] == [(16, "crash: {0}")]  # type: ignore[arg-type]
    assert [len(numbers) for numbers in builder.built] == [17, 1]
