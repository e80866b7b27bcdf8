"""Which layers stay float."""

import numpy as np
import pytest

from tests.quantize.nets import residual_net
from tvmpose.quantize.mixed import Distances, float_layers, integer_share, ranked
from tvmpose.quantize.network import prepare, read_network
from tvmpose.quantize.request import Budget

NETWORK = read_network(prepare(residual_net()))
NAMES = [layer.name for layer in NETWORK.layers]


class FixedJudgement:
    """Keypoints move by the sum of what the integer layers cost."""

    class simulation:
        network = NETWORK

    def __init__(self, costs: list[float], in_ap: bool = False) -> None:
        self.by_name, self.in_ap = dict(zip(NAMES, costs, strict=True)), in_ap

    def without(self, kept) -> Distances:
        moved = sum(cost for name, cost in self.by_name.items() if name not in kept)
        return Distances(0.0, 0.0, moved, lost_ap=moved) if self.in_ap else Distances(moved, moved, moved)

    def costs(self) -> dict[str, float]:
        return self.by_name


@pytest.mark.parametrize("costs", [[0.1] * 5, [5, 0.1, 0.1, 0.1, 0.1], [1, 2, 3, 4, 5], [0.4, 0.5, 0.6, 0, 0]])
@pytest.mark.parametrize("limit", [0.05, 1.0, 100.0])
@pytest.mark.parametrize("unit", ["px", "ap"])
def test_float_layers__any_costs__hold_the_budget_and_none_is_kept_in_vain(costs: list[float], limit: float, unit):
    judgement, budget = FixedJudgement(costs, in_ap=unit == "ap"), Budget(limit, unit)
    kept, distances = float_layers(judgement, budget)
    assert budget.holds(distances) and distances.mean <= limit
    for name in kept:
        assert judgement.without([other for other in kept if other != name]).mean > limit


def test_ranked__dear_layers__come_last_however_much_they_cost():
    costs = dict(zip(NAMES, [1.0, 1.0, 1.0, 1.0, 100.0], strict=True))
    order = ranked(NETWORK.layers, costs)
    assert sorted(order) == sorted(NAMES)
    assert order[0] == NAMES[0]  # the only one with less than a tenth of the work


def test_integer_share__of_multiply_adds__not_of_layers():
    assert integer_share(NETWORK, []) == 1
    assert integer_share(NETWORK, [NAMES[-1]]) == pytest.approx(64 * 288 / (64 * 288 + 36 * 270))


def test_distances__a_joint_that_jumps__counts_as_a_twentieth_of_the_width_in_the_mean():
    found = Distances.of(np.array([0.0, 1.0, 500.0]), 100)
    assert (found.median, found.mean) == (1.0, 2.0)
