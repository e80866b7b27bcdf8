"""Keypoint R-CNN with a MobileNetV3-Large backbone: 1x3x320x320 in, 1x8x56 people and their count out.

The backbone, its feature pyramid, anchors and budgets are those of torchvision's fasterrcnn_mobilenet_v3_large_320_fpn,
the keypoint head is that of its keypointrcnn_resnet50_fpn (He et al., Mask R-CNN, arXiv:1703.06870; Howard et al.,
arXiv:1905.02244). There is room for 8 people: the keypoint head costs 3.5 billion multiply-adds for each. A person is
left, top, right, bottom, score, and x, y and the heatmap's value of 17 joints.

The weights are random (tvmpose/nets/random_weights.py), and scores shifted, so that a few proposals are people.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tvmpose.nets.layers import conv_block
from tvmpose.nets.mobilenetv3 import BOTTLENECKS, OUTPUTS, mobilenetv3_large
from tvmpose.nets.random_weights import PICTURES, calibrate, randomize, seeded, standardize, synthetic_pictures
from tvmpose.nets.rcnn import BOX_CELLS, HIDDEN_BOX, HIDDEN_KEYPOINTS, Budgets, KeypointRCNN

SIZE = (320, 320)
WIDTH = 256  # of the feature pyramid
LAST = 960  # channels of MobileNetV3's last convolution
CHANNELS, STRIDES = (OUTPUTS, LAST), (32, 32)
SIDES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)  # of anchors, on every level
PEOPLE_LIKE = 3  # proposals that look like people, in a synthetic picture
CERTAINTY = 1.0  # standard deviation of their scores, before the softmax
GROWTH = 0.3  # standard deviation of what moves and enlarges an anchor, in its own sides
SEED = 1703_06870


class Trunk(nn.Module):
    """MobileNetV3-Large's features behind the first block of its last stage, and behind its last convolution."""

    def __init__(self) -> None:
        super().__init__()
        layers = mobilenetv3_large()
        stem_and_first = 1 + max(index for index, row in enumerate(BOTTLENECKS) if row[-1] == 2) + 1
        self.first, self.second = layers[:stem_and_first], layers[stem_and_first:]
        self.last = conv_block(OUTPUTS, LAST, activation=nn.Hardswish)

    def forward(self, picture: Tensor) -> list[Tensor]:
        first = self.first(picture)
        return [first, self.last(self.second(first))]


def structure(
    size: tuple[int, int] = SIZE,
    width: int = WIDTH,
    hidden_box: int = HIDDEN_BOX,
    hidden_keypoints: int = HIDDEN_KEYPOINTS,
    budgets: Budgets = Budgets(),  # noqa: B008 - frozen
) -> KeypointRCNN:
    """The network with torch's own initial weights."""
    return KeypointRCNN(
        Trunk(),
        CHANNELS,
        STRIDES,
        SIDES,
        RATIOS,
        size,
        width=width,
        hidden_box=hidden_box,
        hidden_keypoints=hidden_keypoints,
        budgets=budgets,
    )


def build(size: tuple[int, int] = SIZE, **widths: Any) -> nn.Module:
    """The network in eval mode, see structure: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        net = structure(size, **widths).eval()
        randomize(net)
        pictures = synthetic_pictures(PICTURES, size)
        calibrate(net.trunk, pictures)
        standardize_heads(net, pictures)
        return net.eval()


def standardize_heads(net: KeypointRCNN, pictures: Tensor) -> None:
    """Scale what has no batch norm: proposals of all sizes, a few people among them, and a peak for each joint."""
    seen = net.trunk(pictures)
    standardize(net.pyramid, lambda: net.pyramid(seen))
    features = [list(levels) for levels in zip(*(level.split(1) for level in net.pyramid(seen)), strict=True)]
    standardize(net.proposals, lambda: net.proposals(features[0]))
    for values in net.proposals.deltas.parameters():
        values.mul_(GROWTH)
    regions = torch.cat([net.regions(levels, net.proposals(levels)[0], BOX_CELLS) for levels in features])
    standardize(net.box, lambda: net.box(regions))
    for values in net.box.scores.parameters():
        values.mul_(CERTAINTY)
    scores, _ = net.box(regions)
    net.box.scores.bias[1] -= (scores[:, 1] - scores[:, 0]).topk(PEOPLE_LIKE * len(pictures)).values[-1]
    standardize(net.keypoints, lambda: net(pictures[:1]))
