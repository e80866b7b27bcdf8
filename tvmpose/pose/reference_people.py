"""Network outputs to many people, in plain float64 NumPy: what reference.py is for one person in each box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvmpose.pose.reference import Float64, activate, apply_matrix, decode

if TYPE_CHECKING:
    from tvmpose.cards.heads import Anchors, AnyHead, DetectionHead, PartsHead


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
    if head.kind == "parts":
        return decode_parts(head, outputs, matrix, num_keypoints=options["num_keypoints"])
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


def decode_parts(
    head: PartsHead, outputs: Sequence[NDArray[np.generic]], matrix: Float64, *, num_keypoints: int
) -> list[FoundPerson]:
    """PoseNet's people, as TensorFlow.js decodes them (posenet/src/multi_pose), but for the queue's order of equals."""
    tensors = [np.asarray(outputs[index], np.float64)[0] for index in head.tensors]
    if tensors[1].shape[2] != 2 * num_keypoints or tensors[0].shape[2] != num_keypoints:
        tensors = [np.moveaxis(tensor, 0, 2) for tensor in tensors]
    raw, *displacements = tensors
    # as [row, column, keypoint or edge, y and x]
    offsets, forward, backward = (np.stack(np.split(tensor, 2, axis=2), axis=3) for tensor in displacements)
    heat = activate(raw, head.score_activation)
    last = np.array(raw.shape[:2]) - 1

    def cell(position: Float64) -> tuple[int, int]:
        row, column = np.clip(np.floor(position / head.stride + 0.5), 0, last).astype(int)
        return int(row), int(column)

    def followed(position: Float64, displacement: Float64, edge: int, target: int) -> Float64:
        position = position + displacement[cell(position)][edge]
        for _ in range(2):
            at = cell(position)
            position = np.array(at) * head.stride + offsets[at][target]
        return position

    def is_taken(k: int, position: Float64) -> bool:
        return any(float(np.square(joints[k] - position).sum()) <= head.radius**2 for joints, _ in found)

    found: list[tuple[dict[int, Float64], float]] = []
    people_scores: list[dict[int, float]] = []
    for k, row, column in _roots(raw, heat, head.threshold):
        root = np.array([row, column]) * head.stride + offsets[row, column, k]
        if len(found) == head.max_people or is_taken(k, root):
            continue
        joints = {k: root}
        scores = {k: heat[row, column, k]}
        upwards = [(edge, child, parent, backward) for edge, (parent, child) in enumerate(head.edges)][::-1]
        downwards = [(edge, parent, child, forward) for edge, (parent, child) in enumerate(head.edges)]
        for edge, source, target, displacement in upwards + downwards:
            if source in joints and target not in joints:
                joints[target] = followed(joints[source], displacement, edge, target)
                scores[target] = heat[cell(joints[target])][target]
        own = [scores[joint] for joint, position in joints.items() if not is_taken(joint, position)]
        found.append((joints, sum(own) / num_keypoints))
        people_scores.append(scores)
    people = []
    for (joints, score), scores in zip(found, people_scores, strict=True):
        y, x = np.array([joints[k] for k in range(num_keypoints)]).T
        keypoints = np.stack([*apply_matrix(matrix, x, y), [scores[k] for k in range(num_keypoints)]], axis=1)
        low, sides = keypoints[:, :2].min(axis=0), np.ptp(keypoints[:, :2], axis=0)
        people.append(FoundPerson(float(score), (*low.tolist(), *sides.tolist()), keypoints))
    return people


def _roots(raw: Float64, heat: Float64, threshold: float) -> list[tuple[int, int, int]]:
    """Keypoint, row and column of the cells that no neighbour exceeds, the highest first."""
    padded = np.pad(raw, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    height, width = raw.shape[:2]
    around = np.max([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    places = np.argwhere(((raw >= around) & (heat >= threshold)).transpose(2, 0, 1))
    heights = [-raw[row, column, k] for k, row, column in places]
    return [(int(k), int(row), int(column)) for k, row, column in places[np.argsort(heights, kind="stable")]]
