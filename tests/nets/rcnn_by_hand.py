"""Keypoint R-CNN without compiler and without nets/rcnn.py's operators: what torchvision does, in float64 NumPy.

Only convolutions and matrix products are torch's, in float32: so no overlap comes out on the other side of a limit just
because a layer had more digits. Lists are as long as they are; nothing is padded.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tvmpose.nets.rcnn import KeypointRCNN

Array = NDArray[np.generic]


def find_people(net: KeypointRCNN, picture: torch.Tensor) -> Array:
    """(people, 5 + 3 * joints): left, top, right, bottom, score; x, y and the heatmap's value of each joint."""
    with torch.no_grad():
        levels = net.pyramid(net.trunk(picture))
        features = [level[0].numpy() for level in levels[:2]]
        proposals = find_proposals(net, levels)
        regions, _ = aligned(features, proposals, (32, 32), 7)
        raw, deltas = (each.numpy() for each in net.box(torch.from_numpy(regions).float()))
        boxes, scores = best_people(net, proposals, raw, deltas)
        regions, _ = aligned(features, boxes, (32, 32), 14)
        maps = net.keypoints(torch.from_numpy(regions).float()).numpy()
    return np.concatenate([boxes, scores[:, None], peaks(maps, boxes).reshape(len(boxes), -1)], axis=1)


def find_proposals(net: KeypointRCNN, levels: Sequence[torch.Tensor]) -> Array:
    found, scores, groups = list[Array](), list[Array](), list[Array]()
    budgets, head = net.budgets, net.proposals
    for index, level in enumerate(levels):
        hidden = head.layers(level)
        logits = head.scores(hidden)[0].numpy().astype("float64").transpose(1, 2, 0).reshape(-1)
        deltas = head.deltas(hidden)[0].numpy().transpose(1, 2, 0).reshape(-1, 4)
        order = np.argsort(-logits, kind="stable")[: budgets.proposals_of_level]
        anchors = anchors_of(net.size, level.shape[2:], head.sides, head.ratios)
        found.append(decoded(anchors[order], deltas[order], (1, 1, 1, 1), net.size))
        scores.append(1 / (1 + np.exp(-logits[order])))
        groups.append(np.full(len(order), index))
    boxes, score, group = np.concatenate(found), np.concatenate(scores), np.concatenate(groups)
    kept = (np.ptp(boxes.reshape(-1, 2, 2), axis=1) >= 1e-3).all(axis=1) & (score >= 0.05)
    boxes, score, group = boxes[kept], score[kept], group[kept]
    return boxes[suppressed(boxes, score, group, 0.7, budgets.proposals)]


def best_people(net: KeypointRCNN, proposals: Array, raw: Array, deltas: Array) -> tuple[Array, Array]:
    exponentials = np.exp(raw.astype("float64") - raw.max(axis=1, keepdims=True))
    score = exponentials[:, 1] / exponentials.sum(axis=1)
    boxes = decoded(proposals, deltas[:, 4:], (10, 10, 5, 5), net.size)
    kept = (np.ptp(boxes.reshape(-1, 2, 2), axis=1) >= 1e-2).all(axis=1) & (score > 0.05)
    boxes, score = boxes[kept], score[kept]
    chosen = suppressed(boxes, score, np.zeros(len(score)), 0.5, net.budgets.people)
    return boxes[chosen], score[chosen]


def anchors_of(size: Sequence[int], cells: Sequence[int], sides: Sequence[int], ratios: Sequence[float]) -> Array:
    """Row by row of cells, column by column; ratios before sides."""
    boxes = []
    for row, column in np.ndindex(*cells):
        for ratio in ratios:
            for side in sides:
                half = np.round(np.array([side / ratio**0.5, side * ratio**0.5]) / 2)
                corner = np.array([column * (size[1] // cells[1]), row * (size[0] // cells[0])])
                boxes.append([*(corner - half), *(corner + half)])
    return np.array(boxes, "float64")


def decoded(anchors: Array, deltas: Array, weights: Sequence[float], size: tuple[int, int]) -> Array:
    """Boxes by how far their middles are from anchors', and how much larger they are; cut off at the edges."""
    result = []
    for (left, top, right, bottom), delta in zip(anchors.astype("float64"), deltas, strict=True):
        dx, dy, dw, dh = delta / np.array(weights)
        dw, dh = min(dw, np.log(1000 / 16)), min(dh, np.log(1000 / 16))
        x, y = (left + right) / 2 + dx * (right - left), (top + bottom) / 2 + dy * (bottom - top)
        width, height = np.exp(dw) * (right - left), np.exp(dh) * (bottom - top)
        result.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return np.clip(np.array(result), 0, [size[1], size[0], size[1], size[0]])


def suppressed(boxes: Array, scores: Array, groups: Array, overlap: float, most: int) -> list[int]:
    """Of torchvision's batched_nms the definition."""
    left = [i for i in np.argsort(-scores, kind="stable") if np.isfinite(scores[i])]
    kept: list[int] = []
    while left and len(kept) < most:
        kept.append(int(left[0]))
        one, x = boxes[left[0]].astype("float64"), boxes[left].astype("float64")
        shared = np.clip(np.minimum(one[2:], x[:, 2:]) - np.maximum(one[:2], x[:, :2]), 0, None).prod(axis=1)
        union = (one[2:] - one[:2]).prod() + (x[:, 2:] - x[:, :2]).prod(axis=1) - shared
        drops = (shared > overlap * union) & (groups[left] == groups[left[0]])
        left = [i for i, gone in zip(left[1:], drops[1:], strict=True) if not gone]
    return kept


def sampled(feature: Array, y: float, x: float) -> Array:
    """(C, h, w) between cells, whose centres are at whole numbers; nothing beyond one cell outside."""
    _, rows, columns = feature.shape
    if not (-1 <= y <= rows and -1 <= x <= columns):
        return np.zeros(len(feature))
    y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
    top, left = int(y), int(x)
    bottom, right, dy, dx = min(top + 1, rows - 1), min(left + 1, columns - 1), y - top, x - left
    above = feature[:, top, left] * (1 - dx) + feature[:, top, right] * dx
    return above * (1 - dy) + (feature[:, bottom, left] * (1 - dx) + feature[:, bottom, right] * dx) * dy


def aligned(features: Sequence[Array], boxes: Array, strides: Sequence[int], size: int) -> tuple[Array, list[int]]:
    """RoIAlign with 2 x 2 samples a bin, aligned=False, in loops; and the level of each box."""
    result, levels = np.zeros((len(boxes), features[0].shape[0], size, size)), []
    low, high = np.log2(strides[0]), np.log2(strides[-1])
    for index, box in enumerate(boxes.astype("float64")):
        width, height = box[2] - box[0], box[3] - box[1]
        with np.errstate(divide="ignore"):
            level = int(np.clip(np.floor(4 + np.log2(np.sqrt(width * height) / 224)), low, high) - low)
        levels.append(level)
        stride = strides[level]
        bins = max(width / stride, 1) / size, max(height / stride, 1) / size
        for row, column, sy, sx in np.ndindex(size, size, 2, 2):
            y = box[1] / stride + (row + (sy + 0.5) / 2) * bins[1]
            x = box[0] / stride + (column + (sx + 0.5) / 2) * bins[0]
            result[index, :, row, column] += sampled(features[level].astype("float64"), y, x) / 4
    return result, levels


def peaks(maps: Array, boxes: Array) -> Array:
    """OpenCV's bicubic enlargement, and its highest place."""
    result = np.zeros((*maps.shape[:2], 3))
    for person, box in enumerate(boxes.astype("float64")):
        width, height = max(box[2] - box[0], 1), max(box[3] - box[1], 1)
        size = int(np.ceil(width)), int(np.ceil(height))
        for k, values in enumerate(maps[person]):
            whole = cv2.resize(values.astype("float64"), size, interpolation=cv2.INTER_CUBIC)
            y, x = np.unravel_index(whole.argmax(), whole.shape)
            place = (x + 0.5) * width / size[0] + box[0], (y + 0.5) * height / size[1] + box[1]
            result[person, k] = *place, whole[y, x]
    return result
