"""Object keypoint similarity: COCO's measure of how alike two sets of a person's keypoints are, 0 to 1."""

from collections.abc import Sequence

import numpy as np

# Of COCO's annotators, by joint, as in pycocotools: how far they are apart on the same joint, in units of the
# person's size. Joints that COCO does not have get the mean.
SIGMAS = {"nose": 0.026} | {
    f"{side}_{joint}": sigma
    for side in ("left", "right")
    for joint, sigma in {
        "eye": 0.025,
        "ear": 0.035,
        "shoulder": 0.079,
        "elbow": 0.072,
        "wrist": 0.062,
        "hip": 0.107,
        "knee": 0.087,
        "ankle": 0.089,
    }.items()
}
_MEAN_SIGMA = sum(SIGMAS.values()) / len(SIGMAS)
_BODY_SHARE = 0.53  # of a person's box that the body fills, as COCO's area is used where there is no segmentation


def sigmas(names: Sequence[str]) -> np.ndarray:
    """Of these joints, (K,)."""
    return np.array([SIGMAS.get(name, _MEAN_SIGMA) for name in names])


def keypoint_similarity(found: np.ndarray, expected: np.ndarray, names: Sequence[str]) -> float:
    """Mean over the joints of exp(-d^2 / (2 area (2 sigma)^2)); both (K, 2 or more), x and y first, names (K,).

    The person's size is that of the box around the expected joints.
    """
    sides = np.ptp(expected[:, :2], axis=0)
    area = max(float(sides[0] * sides[1]) * _BODY_SHARE, 1.0)
    spread = 2 * sigmas(names)
    squares = np.square(found[:, :2].astype("float64") - expected[:, :2]).sum(axis=1)
    return float(np.exp(-squares / (2 * area * spread**2)).mean())
