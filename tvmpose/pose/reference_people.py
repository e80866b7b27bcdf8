"""Network outputs to many people, in plain float64 NumPy: what reference.py is for one person in each box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvmpose.pose.reference import Float64, activate, apply_matrix, decode

if TYPE_CHECKING:
    from tvmpose.cards.heads import Anchors, AnyHead, DetectionHead


@dataclass(frozen=True)
class FoundPerson:
    """keypoints: float64 (K, 3) x, y, score; box: x, y, width, height by its edges; both in pixels of the image.

    box is None where the network does not say where people are.
    """

    score: float
    box: tuple[float, float, float, float] | None
    keypoints: Float64


def decode_all(
    head: AnyHead, outputs: Sequence[NDArray[np.generic]], matrix: Float64, **options: Any
) -> list[FoundPerson]:
    """The people of any head: the one in the box, or all that there are; for the arguments see reference.decode."""
    if head.kind == "detections":
        return decode_people(head, outputs, matrix, **options)
    keypoints, score = decode(head, outputs, matrix, **options)
    return [FoundPerson(score, None, keypoints)]


def decode_people(
    head: DetectionHead,
    outputs: Sequence[NDArray[np.generic]],
    matrix: Float64,
    *,
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel: bool,
) -> list[FoundPerson]:
    """Return the people of one picture, those with the best scores first; for the arguments see reference.decode."""
    rows = _table(np.asarray(outputs[head.tensor], np.float64), head.columns(num_keypoints)["end"])
    at = head.columns(num_keypoints)
    raw = rows[:, at["score"]] if head.score_tensor is None else np.asarray(outputs[head.score_tensor], np.float64)
    scores = activate(raw.reshape(-1), head.score_activation)
    keypoints = rows[:, at["keypoints"] :][:, : num_keypoints * len(head.fields)].reshape(len(rows), num_keypoints, -1)
    boxes, joints = _places(head, rows, keypoints, np.array(input_size, np.float64))
    people: list[FoundPerson] = []
    left = np.argsort(-np.nan_to_num(scores, nan=-1.0), kind="stable")
    left = left[np.nan_to_num(scores, nan=-1.0)[left] >= np.float32(head.threshold)]
    while len(left) and len(people) < head.max_people:
        best = left[0]
        overlapping = (_overlaps(boxes[best], boxes[left]) > head.overlap) | (left == best)
        members, left = left[overlapping] if head.merge == "average" else left[:1], left[~overlapping]
        box, place = (np.average(each[members], axis=0, weights=scores[members]) for each in (boxes, joints))
        score = np.full(num_keypoints, scores[best])
        if "score" in head.fields:
            score = activate(keypoints[best, :, head.fields.index("score")], head.keypoint_activation)
        people.append(_person(float(scores[best]), box, place, score, matrix, half_pixel))
    return people


def _table(values: Float64, length: int) -> Float64:
    """Rows of ``length``, which may stand along either axis."""
    table = values.reshape([extent for extent in values.shape if extent != 1])
    if table.ndim != 2:
        return values.reshape(-1, length)
    return table if table.shape[1] == length else table.T


def _places(head: DetectionHead, rows: Float64, keypoints: Float64, sides: Float64) -> tuple[Float64, Float64]:
    """Boxes as centre and size (rows, 4) and joints (rows, K, 2), continuous coordinates in pixels of the input."""
    at = head.columns(keypoints.shape[1])
    if "left" in at:
        low, high = rows[:, [at["left"], at["top"]]], rows[:, [at["right"], at["bottom"]]]
        centres, sizes = (low + high) / 2, high - low
    else:
        centres, sizes = rows[:, [at["x"], at["y"]]], rows[:, [at["width"], at["height"]]]
    joints = keypoints[:, :, [head.fields.index("x"), head.fields.index("y")]]
    if head.unit == "normalized":
        centres, sizes, joints = centres * sides, sizes * sides, joints * sides
    if head.anchors:
        anchors = _anchors(head.anchors, sides)
        centres, joints = centres + anchors, joints + anchors[:, None]
    return np.concatenate([centres, np.maximum(sizes, 0)], axis=1), joints


def _anchors(anchors: Anchors, sides: Float64) -> Float64:
    places = []
    for stride, per_cell in zip(anchors.strides, anchors.per_cell, strict=True):
        columns, lines = (int(np.ceil(side / stride)) for side in sides)
        y, x = np.meshgrid(np.arange(lines), np.arange(columns), indexing="ij")
        places.append(np.repeat(np.stack([x, y], axis=2).reshape(-1, 2) * stride + stride / 2, per_cell, axis=0))
    return np.concatenate(places)


def _overlaps(box: Float64, others: Float64) -> Float64:
    """Intersection over union of a box with each of the others, all as centre and size."""
    low = np.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, others[:, :2] + others[:, 2:] / 2)
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = box[2:].prod() + others[:, 2:].prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _person(
    score: float, box: Float64, joints: Float64, scores: Float64, matrix: Float64, half_pixel: bool
) -> FoundPerson:
    edge = 0.5 if half_pixel else 0.0
    x, y = apply_matrix(matrix, joints[:, 0] - edge, joints[:, 1] - edge)
    corners = [(box[0] + dx * box[2] / 2, box[1] + dy * box[3] / 2) for dx in (-1, 1) for dy in (-1, 1)]
    xs, ys = np.array([apply_matrix(matrix, np.array(a - edge), np.array(b - edge)) for a, b in corners]).T + edge
    around = (xs.min(), ys.min(), np.ptp(xs), np.ptp(ys))
    return FoundPerson(score, (*map(float, around),), np.stack([x, y, scores], axis=1))  # type: ignore[arg-type]
