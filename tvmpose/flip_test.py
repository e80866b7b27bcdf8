"""Flip test: the mean of what a network says of a picture and of its mirror image, as top-down nets are evaluated.

Mirrored back, left and right joints change places, and so does a heatmap's left and right, or the order of the bins of
x. With ``flip_shift`` a mirrored-back heatmap moves one cell to the right first, as MMPose's ``shift_heatmap`` does for
networks whose heatmaps were not made for half pixels (Huang et al., arXiv:1911.07524); the default is not to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tvmpose.cards.heads import Head, SimccHead
from tvmpose.errors import InputError
from tvmpose.modelspec import ModelSpec

if TYPE_CHECKING:
    from tvmpose.baselines.judge import Judge
    from tvmpose.cards.card import Card


@dataclass(frozen=True)
class Mirrored:
    """How one output of a mirrored picture is mirrored back: axes are of the tensor, None where it has none."""

    output: int
    joints_axis: int
    width_axis: int | None
    order: tuple[int, ...]  # of the joints
    shift: bool = False

    def back(self, array: np.ndarray) -> np.ndarray:
        """The definition; passes/average_mirrored.py compiles the same."""
        result = np.take(array, self.order, self.joints_axis)
        if self.width_axis is None:
            return result
        result = np.flip(result, self.width_axis)
        if self.shift:
            first = np.take(result, [0], self.width_axis)
            rest = np.take(result, range(result.shape[self.width_axis] - 1), self.width_axis)
            result = np.concatenate([first, rest], self.width_axis)
        return result


def mirrored_outputs(spec: ModelSpec, card: "Card | None") -> tuple[Mirrored, ...]:
    """One for each output that the card's head reads. Raises InputError where the head is none of those that can."""
    if card is None:
        raise InputError("--flip-test: needs a card, which says which joints are left and right (--card)")
    names, head = card.keypoints.keypoints, card.head
    order = list(range(len(names)))
    for left, right in card.keypoints.flip_pairs:
        order[left], order[right] = right, left
    if isinstance(head, SimccHead):
        shapes = {index: spec.outputs[index].shape for index in head.tensors}
        joints = {index: shape[:-1].index(len(names)) for index, shape in shapes.items()}
        x, y = head.tensors
        return (
            Mirrored(x, joints[x], len(shapes[x]) - 1, tuple(order)),
            Mirrored(y, joints[y], None, tuple(order)),
        )
    if isinstance(head, Head) and head.kind == "heatmap" and head.person_tensor is None:
        from tvmpose.kernels.decode import heatmap_layout

        aspect = card.input.width / card.input.height
        channels_last, *_ = heatmap_layout(spec.outputs[head.tensor].shape, len(names), aspect)
        axes = (3, 2) if channels_last else (1, 3)
        return (Mirrored(head.tensor, *axes, tuple(order), head.flip_shift),)
    raise InputError(f"--flip-test: is for heatmaps and SimCC; the head of card {card.name} is of kind {head.kind}")


def picture_axis(spec: ModelSpec) -> int:
    """Of the input, along which it is mirrored."""
    from tvmpose.codegen.pixels import layout_of

    return 2 if layout_of(spec.inputs[0].shape) == "NHWC" else 3


def flip_tested(judge: "Judge", source_format: str, card: "Card | None") -> "FlipTestJudge":
    """The judge of a whole model, which looks twice. Raises InputError as mirrored_outputs does."""
    spec = ModelSpec(source_format, judge.inputs, judge.outputs)
    return FlipTestJudge(judge, picture_axis(spec), mirrored_outputs(spec, card))


class FlipTestJudge:
    """A judge that looks at every picture twice; see tvmpose.baselines.judge.Judge."""

    def __init__(self, judge: "Judge", picture_axis: int, outputs: Sequence[Mirrored]) -> None:
        self.name, self.inputs, self.outputs = judge.name, judge.inputs, judge.outputs
        self.judge, self.picture_axis, self.mirrored = judge, picture_axis, outputs

    def run(self, inputs: Sequence[np.ndarray], tensors: Sequence[str] | None = None) -> list[np.ndarray]:
        found = list(self.judge.run(inputs, tensors))
        if tensors is not None:
            return found
        other = self.judge.run([np.ascontiguousarray(np.flip(array, self.picture_axis)) for array in inputs])
        for each in self.mirrored:
            found[each.output] = (found[each.output] + each.back(other[each.output])) / 2
        return found
