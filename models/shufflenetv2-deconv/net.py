"""ShuffleNetV2 and three deconvolutions: 1x3x256x192 in, 1x17x64x48 heatmaps out.

The trunk is ShuffleNetV2 1x (Ma et al., arXiv:1807.11164, table 5): half of the channels pass each unit untouched and
are shuffled with the others behind it. The head is the one of Simple Baselines (Xiao et al., arXiv:1804.06208) with 128
channels. The weights are random: see tvmpose/nets/random_weights.py.
"""

import torch
from torch import Tensor, nn

from tvmpose.nets.layers import HeatmapNet, channel_shuffle, conv_block, conv_norm, deconvolution_head
from tvmpose.nets.random_weights import heatmap_net, seeded

SIZE = (256, 192)
JOINTS = 17
HEAD_CHANNELS = 128
SEED = 1807_11164
STAGES = ((116, 4), (232, 8), (464, 4))  # channels, units
LAST = 1024


class Unit(nn.Module):
    """Figure 3 (c) of the paper, and (d) where it halves the size."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride, entering = stride, inputs if stride > 1 else half
        filtered = conv_norm(half, half, 3, stride, groups=half)
        self.branch = nn.Sequential(*conv_block(entering, half), *filtered, *conv_block(half, half))
        passing = [*conv_norm(inputs, inputs, 3, stride, groups=inputs), *conv_block(inputs, half)]
        self.shortcut = nn.Sequential(*passing) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        passing, filtered = (x, x) if self.stride > 1 else x.chunk(2, dim=1)
        return channel_shuffle(torch.cat([self.shortcut(passing), self.branch(filtered)], dim=1), 2)


def trunk() -> nn.Sequential:
    """Picture to LAST channels at 1/32 of its size."""
    layers: list[nn.Module] = [conv_block(3, 24, 3, 2), nn.MaxPool2d(3, 2, padding=1)]
    inputs = 24
    for channels, units in STAGES:
        for unit in range(units):
            layers.append(Unit(inputs, channels, 1 if unit else 2))
            inputs = channels
    return nn.Sequential(*layers, conv_block(inputs, LAST))


def build(size: tuple[int, int] = SIZE) -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        net = HeatmapNet(trunk(), deconvolution_head(LAST, HEAD_CHANNELS, JOINTS))
        *_, norm, features, last = net.head
        return heatmap_net(net, norm, features, last, size)
