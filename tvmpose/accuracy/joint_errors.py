"""Percentage of correct keypoints (PCK, PCKh), and how far off each joint is.

PCK@0.2: the share of labelled joints that are off by at most 0.2 of the longer side of the person's box. PCKh@0.5: by
at most half a head. COCO does not annotate heads: where the file has no ``head_size``, a head is as long as from the
nose to the middle between the shoulders, and who lacks one of the three does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvmpose.accuracy.dataset import AnnotatedPerson

PCK_SHARE, PCKH_SHARE = 0.2, 0.5


@dataclass(frozen=True)
class JointError:
    """Of one joint over all people who have it labelled; ``mean`` in percent of the longer side of their boxes."""

    name: str
    labelled: int
    pck: float
    mean: float
    median_px: float


@dataclass(frozen=True)
class JointErrors:
    """``pckh`` is None where nobody's head could be measured."""

    pck: float
    pckh: float | None
    by_joint: tuple[JointError, ...]


def joint_errors(
    people: Sequence[AnnotatedPerson], found: Sequence[np.ndarray], names: Sequence[str], columns: Sequence[int]
) -> JointErrors:
    """found: keypoints (K, 2 or more) of each of the people; names: the data set's; columns: which of them they are."""
    truth = np.stack([person.keypoints[list(columns)] for person in people])
    distances = np.linalg.norm(np.stack([joints[:, :2] for joints in found]) - truth[..., :2], axis=2)
    labelled = truth[..., 2] > 0
    sides = np.array([max(person.box[2:]) for person in people])[:, None]
    heads = np.array([head_length(person, names) for person in people])[:, None]
    measured = labelled & np.isfinite(heads)
    return JointErrors(
        pck=float((distances <= PCK_SHARE * sides)[labelled].mean()),
        pckh=float((distances <= PCKH_SHARE * heads)[measured].mean()) if measured.any() else None,
        by_joint=tuple(
            _joint(names[column], distances[:, i][labelled[:, i]], sides[labelled[:, i], 0])
            for i, column in enumerate(columns)
            if labelled[:, i].any()
        ),
    )


def head_length(person: AnnotatedPerson, names: Sequence[str]) -> float:
    """In pixels; NaN where it cannot be measured."""
    if person.head_size is not None:
        return person.head_size
    joints = [names.index(name) for name in ("nose", "left_shoulder", "right_shoulder") if name in names]
    nose_and_shoulders = person.keypoints[joints]
    if len(joints) < 3 or not (nose_and_shoulders[:, 2] > 0).all():
        return float("nan")
    nose, left, right = nose_and_shoulders[:, :2]
    return float(np.linalg.norm(nose - (left + right) / 2)) or float("nan")


def _joint(name: str, distances: np.ndarray, sides: np.ndarray) -> JointError:
    return JointError(
        name,
        len(distances),
        float((distances <= PCK_SHARE * sides).mean()),
        float(100 * (distances / sides).mean()),
        float(np.median(distances)),
    )
