"""Simple Baselines, AlphaPose's SPPE: ResNet-50 and three deconvolutions, 1x3x256x192 in, 1x17x64x48 heatmaps out.

Xiao, Wu, Wei: Simple Baselines for Human Pose Estimation and Tracking, arXiv:1804.06208; the trunk is He et al.'s,
arXiv:1512.03385. The weights are random: see tvmpose/nets/random_weights.py.
"""

from torch import nn

from tvmpose.nets.layers import Bottleneck, HeatmapNet, deconvolution_head, resnet
from tvmpose.nets.random_weights import heatmap_net, seeded

SIZE = (256, 192)
JOINTS = 17
REPEATS = (3, 4, 6, 3)
SEED = 1804_06208


def build(
    size: tuple[int, int] = SIZE, repeats: tuple[int, ...] = REPEATS, width: int = 64, head_channels: int = 256
) -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        trunk = resnet(Bottleneck, repeats, width)
        features = (width << len(repeats) - 1) * Bottleneck.EXPANSION
        net = HeatmapNet(trunk, deconvolution_head(features, head_channels, JOINTS))
        *_, norm, activation, last = net.head
        return heatmap_net(net, norm, activation, last, size)
