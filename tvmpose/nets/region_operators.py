"""What networks of two stages do with boxes, as operators of torch with static shapes: "tvmpose::best" and so on.

Their bodies are the definition that the compiler's kernels are compared with (frontend/torch_regions.py has those).
Boxes are float32 (N, 4): left, top, right, bottom, in pixels of the input. Where there are fewer results than room for
them, a count says how many there are; torchvision returns shorter tensors in such places.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

CANONICAL_SIDE, CANONICAL_LEVEL = 224, 4  # Lin et al., arXiv:1612.03144, equation 1
LEVEL_MARGIN = 1e-6  # torchvision's, so that a side of just 224 is of level 4


@torch.library.custom_op("tvmpose::best", mutates_args=())
def best(scores: Tensor, count: int) -> Tensor:
    """Indices int64 (count) of the highest of float32 (N), the highest first; of equals the first. N >= count."""
    return torch.sort(scores, descending=True, stable=True).indices[:count].clone()


@best.register_fake
def _(scores: Tensor, count: int) -> Tensor:
    return scores.new_empty((count,), dtype=torch.int64)


@torch.library.custom_op("tvmpose::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, overlap: float, most: int) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression: indices int64 (most) of the boxes that stay, the best first, and their count (1).

    A box whose intersection over union with a better one of its group, int64 (N), exceeds ``overlap`` is dropped.
    A score of minus infinity marks what is no box. Indices behind the last one are 0.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    left, corners, kept = order[scores[order].isfinite()], boxes.double(), list[Tensor]()
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        rivals = (groups[left] == groups[best]) & (overlaps(corners[best], corners[left]) > overlap)
        left = left[~rivals]
    return torch.tensor([*kept, *[0] * (most - len(kept))]), torch.tensor([len(kept)])


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, overlap: float, most: int) -> tuple[Tensor, Tensor]:
    return scores.new_empty((most,), dtype=torch.int64), scores.new_empty((1,), dtype=torch.int64)


def overlaps(one: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of a box with each of the others; NaN where neither has an area."""
    shared = (torch.minimum(one[2:], others[:, 2:]) - torch.maximum(one[:2], others[:, :2])).clamp(min=0).prod(dim=1)
    return shared / ((one[2:] - one[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(dim=1) - shared)


@torch.library.custom_op("tvmpose::roi_align", mutates_args=())
def roi_align(features: Sequence[Tensor], boxes: Tensor, strides: Sequence[int], size: int, samples: int) -> Tensor:
    """Features (1, C, h, w) of several strides, powers of two, in each box: (N, C, size, size).

    A box's level is that of its side. Each of size x size bins is the mean of samples x samples points, between pixels
    bilinear; a pixel's centre is at its corner (torchvision's MultiScaleRoIAlign with aligned=False).
    """
    level = level_of(boxes, strides)
    result = boxes.new_zeros((len(boxes), features[0].shape[1], size, size))
    for index, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        mine = level == index
        if mine.any():
            result[mine] = aligned(feature[0], boxes[mine] / stride, size, samples)
    return result


@roi_align.register_fake
def _(features: Sequence[Tensor], boxes: Tensor, strides: Sequence[int], size: int, samples: int) -> Tensor:
    return boxes.new_empty((boxes.shape[0], features[0].shape[1], size, size))


def level_of(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Index into ``strides`` for each box (Lin et al., arXiv:1612.03144, equation 1)."""
    first, last = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).clamp(min=0).sqrt()
    level = torch.floor(CANONICAL_LEVEL + torch.log2(sides / CANONICAL_SIDE) + LEVEL_MARGIN)
    return level.clamp(first, last).to(torch.int64) - first


def aligned(feature: Tensor, boxes: Tensor, size: int, samples: int) -> Tensor:
    """(C, h, w) in boxes, in units of its cells."""
    steps = (torch.arange(size * samples) + 0.5) / samples
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1) / size
    (low_x, high_x, x, in_x), (low_y, high_y, y, in_y) = (
        places(boxes[:, axis, None] + steps * sides[:, axis, None], feature.shape[2 - axis]) for axis in (0, 1)
    )
    rows = [
        (feature[:, at_y[:, :, None], at_x[:, None, :]], weight_y[:, :, None] * weight_x[:, None, :])
        for at_y, weight_y in ((low_y, (1 - y) * in_y), (high_y, y * in_y))
        for at_x, weight_x in ((low_x, (1 - x) * in_x), (high_x, x * in_x))
    ]
    total = sum(values * weights for values, weights in rows)
    assert isinstance(total, Tensor)
    return total.reshape(len(feature), len(boxes), size, samples, size, samples).mean((3, 5)).transpose(0, 1)


def places(at: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of positions along an axis the cell below, the one above, the share of the latter, and whether they count."""
    counts = ((at >= -1) & (at <= cells)).to(at.dtype)
    within = at.clamp(0, cells - 1)
    low = within.floor()
    return low.to(torch.int64), (low + 1).clamp(max=cells - 1).to(torch.int64), within - low, counts


@torch.library.custom_op("tvmpose::heatmap_keypoints", mutates_args=())
def heatmap_keypoints(maps: Tensor, boxes: Tensor, largest: int) -> Tensor:
    """Keypoints (N, K, 3), x, y and the map's value, of heatmaps (N, K, h, w) that fill the boxes.

    As torchvision's heatmaps_to_keypoints: the highest place of the map once it is enlarged, bicubically, to the box's
    whole pixels. No side of a box may be more than ``largest``, a whole number.
    """
    found = [_peaks(one, box, largest) for one, box in zip(maps, boxes, strict=True)]
    return torch.stack(found)


@heatmap_keypoints.register_fake
def _(maps: Tensor, boxes: Tensor, largest: int) -> Tensor:
    return maps.new_empty((*maps.shape[:2], 3))


def _peaks(maps: Tensor, box: Tensor, largest: int) -> Tensor:
    """(K, h, w) of one box: (K, 3)."""
    sides = (box[2:] - box[:2]).clamp(min=1)
    width, height = sides.ceil().clamp(max=largest).int().tolist()
    whole = interpolate(maps[None], (height, width), mode="bicubic", align_corners=False)[0].flatten(1)
    score, place = whole.max(dim=1)
    x = (place % width + 0.5) * (sides[0] / width) + box[0]
    y = (place // width + 0.5) * (sides[1] / height) + box[1]
    return torch.stack([x, y, score], dim=1)
