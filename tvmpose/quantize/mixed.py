"""Mixed precision: the layers whose integers move keypoints most stay float, as many as a budget asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tvmpose.errors import InputError
from tvmpose.gate import SURE_SCORE
from tvmpose.pose import reference
from tvmpose.quantize.network import Layer, Network
from tvmpose.quantize.pictures import Sample
from tvmpose.quantize.precision import Precision
from tvmpose.quantize.request import Budget
from tvmpose.quantize.simulate import Simulation

if TYPE_CHECKING:
    from tvmpose.cards.card import Card

SURE_PERSON = 0.5  # samples in which the float model sees nobody tell nothing
_LARGEST_SHARE = 0.05  # of the input's width: a joint that moves further has jumped, and jumps are counted alike
LEAST_INTEGER = 0.9  # share of the multiply-adds that stays integer unless there is no other way
_CHEAP = 0.01  # share of multiply-adds and weights below which layers count as equally cheap to keep in float


@dataclass(frozen=True)
class Distances:
    """Between the keypoints of the float and the quantized network, in pixels of the input, over all sure joints."""

    median: float
    p95: float
    mean: float  # of distances that are cut off
    lost_ap: float | None = None  # points of average precision, where people are annotated and it is asked for

    @classmethod
    def of(cls, distances: np.ndarray, width: int) -> "Distances":
        return cls(
            float(np.median(distances)),
            float(np.percentile(distances, 95)),
            float(np.minimum(distances, _LARGEST_SHARE * width).mean()),
        )


class Judgement:
    """What a simulated network does to the keypoints of some samples. precision: of the people that they show."""

    def __init__(
        self, simulation: Simulation, card: "Card", samples: Sequence[Sample], precision: Precision | None = None
    ) -> None:
        self.simulation, self.card, self.all, self.precision = simulation, card, samples, precision
        self.samples: list[tuple[np.ndarray, np.ndarray]] = []  # an input and the float network's keypoints
        for sample in samples:
            keypoints, person = self.decoded(simulation.run(sample.tensor, [], []))
            sure = (keypoints[:, 2] >= SURE_SCORE).any()
            if sure and (card.head.person_tensor is None or person >= SURE_PERSON):
                self.samples.append((sample.tensor, keypoints))
        if not self.samples:
            raise InputError("the float model is sure of no joint in any calibration picture: give others, or --boxes")
        self.float_ap = self._points(lambda tensor: simulation.run(tensor, [], []))

    def _points(self, run: Callable[[np.ndarray], list[np.ndarray]]) -> float | None:
        """Of average precision, in the samples' pictures."""
        if self.precision is None:
            return None
        return self.precision.points([self.decoded(run(s.tensor), s.matrix)[0] for s in self.all])

    def decoded(self, outputs: Sequence[np.ndarray], matrix: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """Keypoints (K, 3) and the person's score. matrix: to pixels of the picture; without, of the input."""
        card = self.card
        return reference.decode(
            card.head,
            outputs,
            np.array([1, 0, 0, 0, 1, 0], "float64") if matrix is None else matrix,
            num_keypoints=len(card.keypoints.keypoints),
            input_size=(card.input.width, card.input.height),
            half_pixel=card.crop.pixel_centers == "half",
        )

    def distances(self, run: Callable[[np.ndarray], list[np.ndarray]]) -> Distances:
        """Of a way to run the simulation."""
        found = []
        for tensor, expected in self.samples:
            sure = expected[:, 2] >= SURE_SCORE
            keypoints, _ = self.decoded(run(tensor))
            found.append(np.hypot(*(keypoints - expected)[sure, :2].T))
        return Distances.of(np.concatenate(found), self.card.input.width)

    def without(self, float_layers: Sequence[str]) -> Distances:
        """Where these layers stay float."""
        run = lambda tensor: self.simulation.run_without(tensor, float_layers)  # noqa: E731
        found, points = self.distances(run), self._points(run)
        return found if points is None or self.float_ap is None else replace(found, lost_ap=self.float_ap - points)

    def costs(self) -> dict[str, float]:
        """By layer: how far keypoints move, on average, where it alone is quantized, weights and input."""
        return {
            layer.name: self.distances(
                lambda tensor, one=layer: self.simulation.run(  # type: ignore[misc]
                    tensor, [one.name], [(one.name, one.operands[0])]
                )
            ).mean
            for layer in self.simulation.network.layers
        }


def float_layers(judgement: Judgement, budget: Budget) -> tuple[tuple[str, ...], Distances]:
    """The layers to keep in float for the budget to hold, and what the others then do.

    Added in the order of ``ranked``, as many as bisection finds to be enough; those that are not needed beside the
    others go back, the dearest first.
    """
    network, found = judgement.simulation.network, judgement.without([])
    if budget.holds(found):
        return (), found
    order = ranked(network.layers, judgement.costs())
    too_few, enough = 0, len(order)
    while enough - too_few > 1:
        middle = min((enough + too_few) // 2, 2 * too_few + 4)  # few are expected
        if budget.holds(judgement.without(order[:middle])):
            enough = middle
        else:
            too_few = middle
    kept, price = order[:enough], prices(network.layers)
    for name in sorted(kept, key=lambda name: -price[name]):
        fewer = [other for other in kept if other != name]
        if budget.holds(judgement.without(fewer)):
            kept = fewer
    return tuple(kept), judgement.without(kept)


def prices(layers: Sequence[Layer]) -> dict[str, float]:
    """What keeping a layer in float takes: its share of the multiply-adds or of the weights."""
    work, weights = sum(layer.multiply_adds for layer in layers), sum(layer.weight.size for layer in layers)
    return {layer.name: max(layer.multiply_adds / work, layer.weight.size / weights, _CHEAP) for layer in layers}


def ranked(layers: Sequence[Layer], costs: Mapping[str, float]) -> list[str]:
    """Names, those first that cost most pixels for their price; last those that do most of the work."""
    price, work = prices(layers), sum(layer.multiply_adds for layer in layers)
    first, last, left = [], [], (1 - LEAST_INTEGER) * work
    for layer in sorted(layers, key=lambda layer: -costs[layer.name] / price[layer.name]):
        if layer.multiply_adds <= left:
            first.append(layer.name)
            left -= layer.multiply_adds
        else:
            last.append(layer.name)
    return first + last


def integer_share(network: Network, float_layers: Sequence[str]) -> float:
    """Of the multiply-adds of all layers, those of integer ones."""
    total = sum(layer.multiply_adds for layer in network.layers)
    return sum(layer.multiply_adds for layer in network.layers if layer.name not in float_layers) / max(total, 1)
