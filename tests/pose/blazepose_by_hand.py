"""BlazePose from pixels to people with LiteRT, NumPy and OpenCV alone: nothing of tvmpose takes part.

Written from MediaPipe's graphs: pose_detection (anchors, weighted suppression), pose_detection_to_roi (alignment
points, 1.25 times their square) and pose_landmark. The crops are those of our cards: the detector's by pixel edges, the
landmarks' by pixel centres.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

DETECTOR_SIDE, LANDMARK_SIDE = 224, 256
THRESHOLD, OVERLAP = 0.5, 0.3


@dataclass(frozen=True)
class Found:
    score: float
    keypoints: np.ndarray  # (33, 3)


class Network:
    def __init__(self, path: Path) -> None:
        self.interpreter = Interpreter(str(path))
        self.interpreter.allocate_tensors()

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], pixels[None].astype(np.float32))
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(d["index"]) for d in self.interpreter.get_output_details()]


def sample(picture: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """RGB 0..255, bilinear over black: OpenCV's own rounds places to 1/32 of a pixel."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    xs, ys = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in (0, 1))
    padded = cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_CONSTANT).astype(np.float64)
    height, width = padded.shape[:2]
    xs, ys = np.clip(xs + 1, 0, width - 1.000001), np.clip(ys + 1, 0, height - 1.000001)
    left, top = xs.astype(int), ys.astype(int)
    u, v = (xs - left)[..., None], (ys - top)[..., None]
    upper = padded[top, left] * (1 - u) + padded[top, left + 1] * u
    lower = padded[top + 1, left] * (1 - u) + padded[top + 1, left + 1] * u
    return (upper * (1 - v) + lower * v)[..., ::-1]


def anchors() -> np.ndarray:
    """SSD's, fixed in size: strides 8, 16 and three times 32, two a cell and layer."""
    rows = []
    for stride, count in ((8, 2), (16, 2), (32, 6)):
        for line in range(DETECTOR_SIDE // stride):
            for column in range(DETECTOR_SIDE // stride):
                rows += [((column + 0.5) * stride, (line + 0.5) * stride)] * count
    return np.array(rows)


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """Of centre and size."""
    low, high = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2), np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    shared = np.prod(np.maximum(high - low, 0))
    return float(shared / (np.prod(a[2:]) + np.prod(b[2:]) - shared))


def detect(network: Network, picture: np.ndarray) -> list[np.ndarray]:
    """Of each person the centre of the hips and a point of the circle about the body, (2, 2), in pixel centres."""
    height, width = picture.shape[:2]
    scale = max(width, height) / DETECTOR_SIDE
    corner = np.array([width, height]) / 2 - scale * DETECTOR_SIDE / 2
    offset = corner + scale / 2 - 0.5
    pixels = sample(picture, np.array([[scale, 0, offset[0]], [0, scale, offset[1]]]), DETECTOR_SIDE)
    rows, logits = network(pixels / 127.5 - 1)
    rows, scores = rows[0].astype(np.float64), 1 / (1 + np.exp(-logits.reshape(-1).astype(np.float64)))
    places = rows.copy().reshape(len(rows), -1, 2)
    places[:, [0, 2, 3, 4, 5]] += anchors()[:, None]  # a centre, a size, four keypoints
    flat = places.reshape(len(rows), -1)
    left = [i for i in np.argsort(-scores) if scores[i] >= THRESHOLD]
    found = []
    while left and len(found) < 16:
        near = [i for i in left if i == left[0] or intersection_over_union(flat[left[0], :4], flat[i, :4]) > OVERLAP]
        merged = (flat[near] * scores[near, None]).sum(axis=0) / scores[near].sum()
        found.append(merged[4:8].reshape(2, 2) * scale + corner - 0.5)
        left = [i for i in left if i not in near]
    return found


def landmarks(network: Network, picture: np.ndarray, centre: np.ndarray, end: np.ndarray) -> Found:
    dx, dy = end - centre
    rotation = np.pi / 2 - np.arctan2(-dy, dx)
    scale = 2 * np.hypot(dx, dy) * 1.25 / LANDMARK_SIDE
    turn = scale * np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]])
    there = np.c_[turn, centre + 0.5 - turn @ [LANDMARK_SIDE / 2, LANDMARK_SIDE / 2]]
    outputs = network(sample(picture, there, LANDMARK_SIDE) / 255)
    rows = outputs[0].reshape(39, 5)[:33].astype(np.float64)
    places = rows[:, :2] @ there[:, :2].T + there[:, 2]
    return Found(float(outputs[1].ravel()[0]), np.c_[places, 1 / (1 + np.exp(-rows[:, 3]))])


def people(detector: Network, landmark: Network, picture: np.ndarray, least_score: float) -> list[Found]:
    """Everyone in a picture who is sure enough, each once: of two that are one person the surer."""
    found = [landmarks(landmark, picture, *points) for points in detect(detector, picture)]
    kept: list[Found] = []
    for person in sorted(found, key=lambda person: -person.score):
        if person.score >= least_score and not any(are_one(person.keypoints, other.keypoints) for other in kept):
            kept.append(person)
    return kept


def are_one(found: np.ndarray, other: np.ndarray) -> bool:
    """Object keypoint similarity above 0.7, the person's size that of the box around the other's joints."""
    area = np.prod(np.ptp(other[:, :2], axis=0)) * 0.53
    squares = np.square(found[:, :2] - other[:, :2]).sum(axis=1)
    return float(np.exp(-squares / (2 * area * (2 * SIGMAS) ** 2)).mean()) > 0.7


# COCO's by the order of BlazePose's landmarks; joints that COCO lacks have the mean.
_MEAN = np.mean([26, *[25, 25, 35, 35], *[79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]]) / 1000
SIGMAS = np.full(33, _MEAN)
for _joints, _sigma in (
    ([0], 26), ([2, 5], 25), ([7, 8], 35), ([11, 12], 79), ([13, 14], 72), ([15, 16], 62), ([23, 24], 107),
    ([25, 26], 87), ([27, 28], 89),
):  # fmt: skip
    SIGMAS[_joints] = _sigma / 1000
