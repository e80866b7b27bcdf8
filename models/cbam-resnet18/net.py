"""ResNet-18 with CBAM blocks and three deconvolutions: 1x3x256x192 in, 1x17x64x48 heatmaps out.

Woo et al.: CBAM, Convolutional Block Attention Module, arXiv:1807.06521: each residual is scaled channel by channel,
then place by place. The head is the one of Simple Baselines (Xiao et al., arXiv:1804.06208). The weights are random:
see tvmpose/nets/random_weights.py.
"""

import torch
from torch import Tensor, nn

from tvmpose.nets.layers import BasicBlock, HeatmapNet, conv_norm, deconvolution_head, resnet
from tvmpose.nets.random_weights import heatmap_net, seeded

SIZE = (256, 192)
JOINTS = 17
REPEATS = (2, 2, 2, 2)
REDUCTION = 16
SEED = 1807_06521


class ChannelAttention(nn.Module):
    """Equation 2: one perceptron for the means and the maxima of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, 1)
        self.perceptron = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        means, maxima = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return x * torch.sigmoid(self.perceptron(means) + self.perceptron(maxima))


class SpatialAttention(nn.Module):
    """Equation 3: a 7x7 convolution of the mean and the maximum over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*conv_norm(2, 1, 7))

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.layers(pooled))


class AttentiveBlock(BasicBlock):
    """Figure 3 of the paper: attention at the end of a residual."""

    def __init__(self, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__(inputs, channels, stride)
        self.attention = nn.Sequential(ChannelAttention(channels), SpatialAttention())

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.attention(self.layers(x)) + self.shortcut(x))


def build(
    size: tuple[int, int] = SIZE, repeats: tuple[int, ...] = REPEATS, width: int = 64, head_channels: int = 256
) -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        trunk = resnet(AttentiveBlock, repeats, width)
        net = HeatmapNet(trunk, deconvolution_head(width << len(repeats) - 1, head_channels, JOINTS))
        *_, norm, activation, last = net.head
        return heatmap_net(net, norm, activation, last, size)
