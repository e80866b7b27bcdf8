"""What the keypoints of a network are called, which of them a bone joins, and which are each other's mirror image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tvmpose.errors import InputError


@dataclass(frozen=True)
class Skeleton:
    """Left and right are the person's own. Edges are pairs of indices into ``keypoints``, for drawing."""

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    @property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """The (left, right) indices that change places when a picture is mirrored."""
        index = {keypoint: i for i, keypoint in enumerate(self.keypoints)}
        lefts = (keypoint for keypoint in self.keypoints if "left" in keypoint)
        pairs = ((left, left.replace("left", "right")) for left in lefts)
        return tuple((index[left], index[right]) for left, right in pairs if right in index)

    def subset(self, kept: Sequence[int]) -> "Skeleton":
        """The keypoints with these indices, in this order, and the edges between them."""
        place = {old: new for new, old in enumerate(kept)}
        edges = tuple((place[a], place[b]) for a, b in self.edges if a in place and b in place)
        return Skeleton(self.name, tuple(self.keypoints[i] for i in kept), edges)


def skeleton(name: str) -> Skeleton:
    """The skeleton called ``name``; raises InputError naming the known ones."""
    if name not in SKELETONS:
        raise InputError(f"unknown skeleton {name!r}; known: {', '.join(SKELETONS)}")
    return SKELETONS[name]


# Order and names of the COCO keypoint task.
_COCO17 = Skeleton(
    name="coco17",
    keypoints=(
        "nose",
        *("left_eye", "right_eye", "left_ear", "right_ear"),
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
        *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    edges=(
        *((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6)),  # head
        *((5, 6), (5, 7), (7, 9), (6, 8), (8, 10)),  # arms
        *((5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),  # trunk and legs
    ),
)

# MediaPipe's pose landmarks; the network returns six more, which only steer its own tracking.
_BLAZEPOSE33 = Skeleton(
    name="blazepose33",
    keypoints=(
        "nose",
        *("left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
        *("left_ear", "right_ear", "mouth_left", "mouth_right"),
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
        *("left_pinky", "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb"),
        *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
        *("left_heel", "right_heel", "left_foot_index", "right_foot_index"),
    ),
    edges=(
        *((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10)),  # head
        *((11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),  # arms
        *((15, 17), (15, 19), (15, 21), (17, 19), (16, 18), (16, 20), (16, 22), (18, 20)),  # hands
        *((11, 23), (12, 24), (23, 24), (23, 25), (25, 27), (24, 26), (26, 28)),  # trunk and legs
        *((27, 29), (27, 31), (29, 31), (28, 30), (28, 32), (30, 32)),  # feet
    ),
)

# The joints of the AI Challenger data set in the order of PoseEstimationForMobile's networks, head first.
_AI_CHALLENGER14 = Skeleton(
    name="ai-challenger14",
    keypoints=(
        *("head_top", "neck"),
        *("right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
        *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    ),
    edges=(
        *((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7)),  # head and arms
        *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),  # trunk and legs
    ),
)

# Of MediaPipe's pose detector: two centres, and for each a point that says how large and how turned the person is.
_BLAZEPOSE_DETECTOR4 = Skeleton(
    name="blazepose-detector4",
    keypoints=("hips", "body_circle", "shoulders", "upper_body_circle"),
    edges=((0, 1), (2, 3)),
)

SKELETONS: Mapping[str, Skeleton] = MappingProxyType(
    {s.name: s for s in (_COCO17, _BLAZEPOSE33, _BLAZEPOSE_DETECTOR4, _AI_CHALLENGER14)}
)
