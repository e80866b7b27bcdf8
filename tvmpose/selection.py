"""What of a model is compiled: which of its outputs, and which of its card's keypoints."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from tvmpose.cards.heads import Head
from tvmpose.errors import InputError
from tvmpose.modelspec import ModelSpec, TensorSpec
from tvmpose.suggest import did_you_mean

if TYPE_CHECKING:
    from tvmpose.baselines.judge import Judge
    from tvmpose.cards.card import Card

HEAD = "head"  # --outputs head: those that the card's head reads


@dataclass(frozen=True)
class Part:
    """What is kept of one output: all of it, or some indices along an axis."""

    output: int
    axis: int = 0
    indices: tuple[int, ...] | None = None

    def of(self, array: np.ndarray) -> np.ndarray:
        return array if self.indices is None else np.take(array, self.indices, self.axis)

    def spec(self, whole: TensorSpec) -> TensorSpec:
        if self.indices is None:
            return whole
        shape = (*whole.shape[: self.axis], len(self.indices), *whole.shape[self.axis + 1 :])
        return replace(whole, shape=shape)


@dataclass(frozen=True)
class Selection:
    """The parts that are compiled, in the model's order, and the card of what they make up."""

    parts: tuple[Part, ...]
    card: "Card | None"

    def spec(self, whole: ModelSpec) -> ModelSpec:
        """Of the model with these outputs alone."""
        return replace(whole, outputs=tuple(part.spec(whole.outputs[part.output]) for part in self.parts))


class PartialJudge:
    """A judge that says of the whole model what the parts should be; see tvmpose.baselines.judge.Judge."""

    def __init__(self, judge: "Judge", selection: Selection) -> None:
        self.name, self.inputs = judge.name, judge.inputs
        self.outputs = tuple(part.spec(judge.outputs[part.output]) for part in selection.parts)
        self.judge, self.parts = judge, selection.parts

    def run(self, inputs: Sequence[np.ndarray], tensors: Sequence[str] | None = None) -> list[np.ndarray]:
        found = self.judge.run(inputs, tensors)
        return [part.of(found[part.output]) for part in self.parts] if tensors is None else found


def parse(text: str, names: Sequence[str], option: str) -> tuple[int, ...]:
    """The indices into ``names`` that ``text`` lists, ascending: names, indices and ranges such as 5-16, with commas.

    A name goes before an index: exporters call tensors 1 and 2 too. Raises InputError, which ``option`` begins, for
    what there is not, what is there twice, a range backwards, and nothing at all.
    """
    kept: set[int] = set()
    for item in text.split(","):
        for index in _indices(item.strip(), names, option):
            if index in kept:
                raise InputError(f"{option} {text}: {names[index]} ({index}) is named twice")
            kept.add(index)
    return tuple(sorted(kept))


def _indices(item: str, names: Sequence[str], option: str) -> range:
    if not item:
        raise InputError(f"{option}: a name or number is missing; there are {', '.join(names)}")
    if item in names:
        return range(names.index(item), names.index(item) + 1)
    if not (numbers := re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", item)):
        hint = did_you_mean(item, names, f"there are {', '.join(names)}")
        raise InputError(f"{option} {item}: nothing is called so; {hint}")
    first, last = int(numbers[1]), int(numbers[2] or numbers[1])
    if first > last:
        raise InputError(f"{option} {item}: a range runs upwards: {last}-{first}")
    if last >= len(names):
        raise InputError(f"{option} {item}: there are {len(names)}, numbered from 0 to {len(names) - 1}")
    return range(first, last + 1)


def select(
    spec: ModelSpec, card: "Card | None", outputs: str | None = None, keypoints: Sequence[int] | None = None
) -> Selection:
    """The parts of the model that ``outputs`` (as parse takes it, or HEAD) and ``keypoints`` (None: all) leave.

    Raises InputError where the head needs an output that would be dropped, or its rows cannot be told apart.
    """
    kept = tuple(range(len(spec.outputs))) if outputs is None else _kept_outputs(outputs, spec, card)
    if card is None:
        return Selection(tuple(map(Part, kept)), None)
    head = card.head
    cut = Part(head.tensor) if keypoints is None else _cut(spec.outputs[head.tensor], card, keypoints)
    parts = tuple(cut if index == head.tensor else Part(index) for index in kept)
    chosen = None if keypoints is None else tuple(keypoints)
    return Selection(parts, replace(card, head=head.renumbered(kept), kept=chosen))


def _kept_outputs(text: str, spec: ModelSpec, card: "Card | None") -> tuple[int, ...]:
    names = [output.name for output in spec.outputs]
    if text == HEAD and card:
        return card.head.reads
    if text == HEAD and HEAD not in names:
        raise InputError("--outputs head: needs a card, which says what its head reads (--card)")
    kept = parse(text, names, "--outputs")
    lacking = [f"{names[i]} ({i})" for i in card.head.reads if i not in kept] if card else []
    if card and lacking:
        what = ", ".join(lacking)
        raise InputError(
            f"--outputs {text}: card {card.name} reads {what} too; --outputs head keeps just what it reads"
        )
    return kept


def _cut(tensor: TensorSpec, card: "Card", keypoints: Sequence[int]) -> Part:
    """The axis that keypoints run along, and the indices of those that are kept."""
    head, shape = card.head, tensor.shape
    if not isinstance(head, Head):
        raise InputError(f"--keypoints: rows of a head of kind {head.kind} are not cut")
    if head.kind == "heatmap":
        from tvmpose.kernels.decode import heatmap_layout

        aspect = card.input.width / card.input.height
        channels_last, *_ = heatmap_layout(shape, len(card.keypoints.keypoints), aspect)
        return Part(head.tensor, 3 if channels_last else 1, tuple(keypoints))
    axis = next((axis for axis, extent in enumerate(shape) if extent != 1), len(shape) - 1)
    entries, inner = len(head.fields), prod(shape[axis + 1 :])
    if entries % inner:
        raise InputError(f"--keypoints: output {tensor.name} {shape} has no axis that runs over rows of {entries}")
    rows = entries // inner
    return Part(head.tensor, axis, tuple(k * rows + i for k in keypoints for i in range(rows)))
