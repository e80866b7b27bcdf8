"""The sample that a bundle carries: what a copy of it must find again, wherever it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tvmpose import gate
from tvmpose.codegen import bundle
from tvmpose.extras import require

if TYPE_CHECKING:
    from tvmpose.cards import Card
    from tvmpose.modelspec import ModelSpec


def self_check(
    card: "Card | None",
    judge: gate.Runner,
    quantized: gate.Network | None,
    spec: "ModelSpec",
    pictures: Sequence[tuple[str, np.ndarray]],
) -> bytes:
    """A picture at the network's size, and what the judge says of it, as sample.npz.

    It is the first picture, with a card the first in which the source model is sure of a joint, or the last.
    quantized: the verified library of a quantized model, which takes the judge's place: its integers are its own to the
    last bit, the judge's only nearly.
    """
    runner = _Library(quantized) if quantized else judge
    if card is None:
        expected = gate.expect(runner, None, spec.inputs[0], pictures[0][1])
        return bundle.tensor_sample([expected.input], expected.tensors)
    for _, picture in pictures:
        sample, is_sure = _keypoint_sample(card, runner, spec, picture)
        if is_sure:
            break
    return sample


@dataclass(frozen=True)
class _Library:
    """See gate.Runner."""

    pose: gate.Network

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.pose.run_tensors(inputs)


def _keypoint_sample(card: "Card", runner: gate.Runner, spec: "ModelSpec", picture: np.ndarray) -> tuple[bytes, bool]:
    """One picture's sample, and whether the source model is sure of any joint in it."""
    cv2 = require("cv2", extra="compiler")
    height, width = picture.shape[:2]
    scale = min(1.0, max(card.input.width, card.input.height) / max(height, width))
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    people = gate.expect(runner, card, spec.inputs[0], small).people
    assert people is not None  # there is a card
    unsure = people[..., 2] < gate.SURE_SCORE
    people[unsure] = float("nan")
    keypoints = people[0] if card.task == "single-person" else people
    return bundle.keypoint_sample(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), None, keypoints), not unsure.all()
