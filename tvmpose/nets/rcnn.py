"""Keypoint R-CNN (He et al., Mask R-CNN, arXiv:1703.06870), in torchvision's structure but of static shapes.

torchvision returns as many proposals and people as there are. Here there is room for so many, the rest is zeros, and a
count says how many there are; those that there are, are the same. One class, people, beside the background.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from tvmpose.nets.region_operators import best, heatmap_keypoints, roi_align, suppress

LARGEST_GROWTH = math.log(1000 / 16)  # of a side, as a logarithm
SAMPLES = 2  # of a bin, along each axis
BOX_CELLS, KEYPOINT_CELLS = 7, 14
BOX_WEIGHTS, PROPOSAL_WEIGHTS = (10.0, 10.0, 5.0, 5.0), (1.0, 1.0, 1.0, 1.0)
HIDDEN_BOX, HIDDEN_KEYPOINTS, KEYPOINT_LAYERS = 1024, 512, 8


@dataclass(frozen=True)
class Budgets:
    """How many boxes there is room for, and which are dropped; the defaults are torchvision's, but for people."""

    proposals_of_level: int = 150  # those with the best scores, before overlapping ones are dropped
    proposals: int = 150  # after that
    people: int = 8
    proposal_score: float = 0.05
    proposal_overlap: float = 0.7
    proposal_side: float = 1e-3
    person_score: float = 0.05
    person_overlap: float = 0.5
    person_side: float = 1e-2


class FeaturePyramid(nn.Module):
    """Features of all levels brought to one width, each with what the coarser ones see (arXiv:1612.03144).

    One level more: every other cell of the last.
    """

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        self.inner = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.outer = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in inputs)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        above, found = None, list[Tensor]()
        for feature, inner, outer in reversed(list(zip(features, self.inner, self.outer, strict=True))):
            here = inner(feature)
            if above is not None:
                above = above if above.shape == here.shape else interpolate(above, here.shape[-2:], mode="nearest")
                here = here + above
            above = here
            found.insert(0, outer(here))
        return [*found, max_pool2d(found[-1], 1, 2)]


def anchors_of(size: tuple[int, int], cells: tuple[int, int], sides: Sequence[int], ratios: Sequence[float]) -> Tensor:
    """Boxes (rows * columns * shapes, 4) at the corners of cells, as torchvision's AnchorGenerator makes them.

    size: the input's (height, width); cells: (rows, columns); ratios: of height to width.
    """
    roots = torch.tensor(ratios).sqrt()
    widths, heights = ((each[:, None] * torch.tensor(sides)).flatten() for each in (1 / roots, roots))
    shapes = (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()
    y, x = (torch.arange(count) * (extent // count) for count, extent in zip(cells, size, strict=True))
    y, x = (each.flatten() for each in torch.meshgrid(y, x, indexing="ij"))
    return (torch.stack([x, y, x, y], dim=1)[:, None] + shapes).reshape(-1, 4)


def decoded(anchors: Tensor, deltas: Tensor, weights: Sequence[float], size: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) that lie relative to anchors, cut off at the picture's edges; size: its (height, width)."""
    extent = anchors[:, 2:] - anchors[:, :2]
    middle = anchors[:, :2] + 0.5 * extent
    shift = deltas[:, :2] * torch.tensor([1 / weights[0], 1 / weights[1]])
    growth = (deltas[:, 2:] * torch.tensor([1 / weights[2], 1 / weights[3]])).clamp(max=LARGEST_GROWTH)
    middle, half = middle + shift * extent, 0.5 * growth.exp() * extent
    low, high = middle - half, middle + half
    height, width = size
    x, y = (torch.stack([low[:, i], high[:, i]], dim=1).clamp(0, n) for i, n in ((0, width), (1, height)))
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)


def logit(score: float) -> float:
    """What the sigmoid turns into ``score``: of raw scores, which unlike their sigmoids are never equal at the top."""
    return math.log(score / (1 - score))


def is_large(boxes: Tensor, side: float) -> Tensor:
    return ((boxes[:, 2] - boxes[:, 0]) >= side) & ((boxes[:, 3] - boxes[:, 1]) >= side)


class ProposalHead(nn.Module):
    """A score and a box for each anchor, the same layers for all levels; the best boxes of them."""

    def __init__(
        self, width: int, sides: Sequence[int], ratios: Sequence[float], size: tuple[int, int], budgets: Budgets
    ) -> None:
        super().__init__()
        self.sides, self.ratios, self.size, self.budgets = sides, ratios, size, budgets
        shapes = len(sides) * len(ratios)
        self.layers = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.scores, self.deltas = nn.Conv2d(width, shapes, 1), nn.Conv2d(width, 4 * shapes, 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes (proposals, 4) and whether there are so many (proposals)."""
        found = [self.of_level(feature) for feature in features]
        levels = torch.cat([torch.full((len(scores),), level) for level, (scores, _) in enumerate(found)])
        scores, boxes = (torch.cat([each[part] for each in found]) for part in (0, 1))
        counts = is_large(boxes, self.budgets.proposal_side) & (scores >= logit(self.budgets.proposal_score))
        marked = torch.where(counts, scores, torch.tensor(-math.inf))
        room = self.budgets.proposals
        indices, count = suppress(boxes, marked, levels, self.budgets.proposal_overlap, room)
        there = torch.arange(room) < count
        return boxes.index_select(0, indices) * there.float()[:, None], there

    def of_level(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Raw scores and boxes of one level's best anchors."""
        hidden, (rows, columns) = self.layers(feature), feature.shape[-2:]
        scores = self.scores(hidden).permute(0, 2, 3, 1).flatten()
        deltas = self.deltas(hidden).permute(0, 2, 3, 1).reshape(-1, 4)
        anchors = anchors_of(self.size, (rows, columns), self.sides, self.ratios)
        chosen = best(scores, min(self.budgets.proposals_of_level, len(anchors)))
        anchors, deltas = anchors.index_select(0, chosen), deltas.index_select(0, chosen)
        return scores.index_select(0, chosen), decoded(anchors, deltas, PROPOSAL_WEIGHTS, self.size)


class BoxHead(nn.Module):
    """What is in a proposal, background or a person, and where exactly: (N, 2) and (N, 8), four for each class."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        inputs = width * BOX_CELLS**2
        self.layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.scores, self.deltas = nn.Linear(hidden, 2), nn.Linear(hidden, 8)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.layers(regions.flatten(1))
        return self.scores(hidden), self.deltas(hidden)


def keypoint_head(width: int, hidden: int, joints: int) -> nn.Sequential:
    """Regions N x width x 14 x 14 to heatmaps N x joints x 56 x 56."""
    layers: list[nn.Module] = []
    for index in range(KEYPOINT_LAYERS):
        layers += [nn.Conv2d(hidden if index else width, hidden, 3, padding=1), nn.ReLU()]
    enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return nn.Sequential(*layers, nn.ConvTranspose2d(hidden, joints, 4, 2, padding=1), enlarge)


class KeypointRCNN(nn.Module):
    """A picture 1 x 3 x H x W to people (1, people, 5 + 3 * joints), the best first, and their count int64 (1).

    A person is left, top, right, bottom, score, and x, y and the heatmap's value of each joint, in pixels of the input.
    trunk: a module that returns the features of several levels, ``channels`` and ``strides`` of each.
    """

    def __init__(
        self,
        trunk: nn.Module,
        channels: Sequence[int],
        strides: Sequence[int],
        sides: Sequence[int],
        ratios: Sequence[float],
        size: tuple[int, int],
        *,
        width: int,
        hidden_box: int = HIDDEN_BOX,
        hidden_keypoints: int = HIDDEN_KEYPOINTS,
        joints: int = 17,
        budgets: Budgets = Budgets(),
    ) -> None:
        super().__init__()
        self.size, self.strides, self.budgets = size, list(strides), budgets
        self.trunk, self.pyramid = trunk, FeaturePyramid(channels, width)
        self.proposals = ProposalHead(width, sides, ratios, size, budgets)
        self.box, self.keypoints = BoxHead(width, hidden_box), keypoint_head(width, hidden_keypoints, joints)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        features = self.pyramid(self.trunk(picture))
        proposals, there = self.proposals(features)
        raw, deltas = self.box(self.regions(features, proposals, BOX_CELLS))
        boxes, scores, count = self.people(proposals, there, raw, deltas)
        maps = self.keypoints(self.regions(features, boxes, KEYPOINT_CELLS))
        joints = heatmap_keypoints(maps, boxes, max(self.size))
        rows = torch.cat([boxes, scores[:, None], joints.flatten(1)], dim=1)
        exists = torch.arange(self.budgets.people) < count
        return (rows * exists.float()[:, None])[None], count

    def regions(self, features: list[Tensor], boxes: Tensor, size: int) -> Tensor:
        """Of every level but the last, where nothing is looked up."""
        return roi_align(features[: len(self.strides)], boxes, self.strides, size, SAMPLES)

    def people(self, proposals: Tensor, there: Tensor, raw: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (people, 4), scores (people) and the count (1) of what the box head finds."""
        boxes = decoded(proposals, deltas[:, 4:], BOX_WEIGHTS, self.size)
        margins = raw[:, 1] - raw[:, 0]
        counts = there & is_large(boxes, self.budgets.person_side) & (margins > logit(self.budgets.person_score))
        marked = torch.where(counts, margins, torch.tensor(-math.inf))
        one_class = torch.zeros(len(margins), dtype=torch.int64)
        indices, count = suppress(boxes, marked, one_class, self.budgets.person_overlap, self.budgets.people)
        exists = (torch.arange(self.budgets.people) < count).float()
        scores = margins.index_select(0, indices).sigmoid()  # what softmax makes of two classes
        return boxes.index_select(0, indices) * exists[:, None], scores * exists, count
