"""RTMPose (Jiang et al., arXiv:2303.07399): CSPNeXt (Lyu et al., RTMDet, arXiv:2212.07784), a gated attention unit (Hua
et al., arXiv:2202.10447), and SimCC (Li et al., arXiv:2107.03332): each coordinate a classification of its own.
"""

import torch
from torch import Tensor, nn

from tvmpose.nets.layers import conv_block
from tvmpose.nets.random_weights import calibrate, photo_like_pictures, randomize, seeded, smoothed

SEED = 2303_07399
SIZE = (256, 192)
JOINTS = 17
# outputs, blocks, whether they add their input; the last pools at several sizes before
STAGES = ((128, 3, True), (256, 6, True), (512, 6, True), (1024, 3, False))
FIRST = 64
DEPTH_AND_WIDTH = {"t": (0.167, 0.375), "s": (0.33, 0.5), "m": (0.67, 0.75)}
TOKEN, KEY, EXPANSION = 256, 128, 2
BINS_PER_PIXEL = 2
PICTURES = 16  # that batch norm is calibrated on: the last maps are so small that few tell too little
BLUR = 6.0  # bins, as the labels that SimCC is trained with


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return conv_block(inputs, outputs, kernel, stride, groups, nn.SiLU)


class Block(nn.Module):
    """A 3x3 convolution, a depthwise 5x5 one and a 1x1 one."""

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        filtered = conv(channels, channels, 5, groups=channels)
        self.layers = nn.Sequential(conv(channels, channels, 3), filtered, conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class ChannelAttention(nn.Module):
    """Scale every channel by what the means of all of them say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class CrossStage(nn.Module):
    """Half of the channels pass the blocks, half go around them."""

    def __init__(self, inputs: int, outputs: int, blocks: int, residual: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.around, self.through = conv(inputs, half), conv(inputs, half)
        self.blocks = nn.Sequential(*(Block(half, residual) for _ in range(blocks)))
        self.last = nn.Sequential(ChannelAttention(2 * half), conv(2 * half, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.blocks(self.through(x)), self.around(x)], dim=1))


class PyramidPooling(nn.Module):
    """Maxima of windows of several sizes, side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels // 2)
        self.pools = nn.ModuleList(nn.MaxPool2d(size, 1, padding=size // 2) for size in (5, 9, 13))
        self.last = conv(channels // 2 * 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))


def cspnext(depth: float, width: float) -> nn.Sequential:
    """Picture to int(1024 * width) channels at 1/32 of its size."""
    inputs = int(FIRST * width)
    layers = [conv(3, inputs // 2, 3, 2), conv(inputs // 2, inputs // 2, 3), conv(inputs // 2, inputs, 3)]
    for stage, (channels, blocks, residual) in enumerate(STAGES):
        outputs = int(channels * width)
        pooling = [PyramidPooling(outputs)] if stage == len(STAGES) - 1 else []
        crossing = CrossStage(outputs, outputs, max(round(blocks * depth), 1), residual)
        layers.append(nn.Sequential(conv(inputs, outputs, 3, 2), *pooling, crossing))
        inputs = outputs
    return nn.Sequential(*layers)


class ScaleNorm(nn.Module):
    """Each token to unit length, times one learned factor (arXiv:1910.05895)."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.scale, self.gain = length**-0.5, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.linalg.norm(x, dim=2, keepdim=True) * self.scale
        return x / norm.clamp(min=1e-5) * self.gain


class GatedAttention(nn.Module):
    """The gated attention unit as RTMPose has it: attention by squared ReLU in place of softmax."""

    def __init__(self) -> None:
        super().__init__()
        hidden = TOKEN * EXPANSION
        self.norm = ScaleNorm(TOKEN)
        self.enter, self.leave = nn.Linear(TOKEN, 2 * hidden + KEY, bias=False), nn.Linear(hidden, TOKEN, bias=False)
        self.gamma, self.beta = nn.Parameter(torch.rand(2, KEY)), nn.Parameter(torch.rand(2, KEY))
        self.residual = nn.Parameter(torch.ones(TOKEN))
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        hidden = TOKEN * EXPANSION
        gate, value, base = self.activation(self.enter(self.norm(x))).split([hidden, hidden, KEY], dim=2)
        query, key = (base.unsqueeze(2) * self.gamma + self.beta).unbind(dim=2)
        weights = torch.square(torch.relu(query @ key.transpose(1, 2) / KEY**0.5))
        return x * self.residual + self.leave(gate * (weights @ value))


class RTMPose(nn.Module):
    """Pictures N x 3 x H x W to the places of joints: N x 17 x 2W and N x 17 x 2H."""

    def __init__(self, depth: float, width: float, size: tuple[int, int]) -> None:
        super().__init__()
        height, across = size
        self.trunk = cspnext(depth, width)
        self.maps = nn.Conv2d(int(STAGES[-1][0] * width), JOINTS, 7, padding=3)
        places = (height // 32) * (across // 32)
        self.embed = nn.Sequential(ScaleNorm(places), nn.Linear(places, TOKEN, bias=False))
        self.attention = GatedAttention()
        self.x = nn.Linear(TOKEN, across * BINS_PER_PIXEL, bias=False)
        self.y = nn.Linear(TOKEN, height * BINS_PER_PIXEL, bias=False)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.attention(self.embed(self.maps(self.trunk(picture)).flatten(2)))
        return self.x(tokens), self.y(tokens)


def rtmpose(variant: str, size: tuple[int, int] = SIZE) -> nn.Module:
    """RTMPose-``variant`` with random weights, in eval mode: the same on every call.

    Bins that are near each other have like weights, as trained ones have; the highest bins are near 1.
    """
    with seeded(SEED):
        net = RTMPose(*DEPTH_AND_WIDTH[variant], size)
        randomize(net)
        for axis in (net.x, net.y):
            axis.weight.copy_(smoothed(torch.randn_like(axis.weight), BLUR))
        pictures = photo_like_pictures(PICTURES, size)
        calibrate(net, pictures)
        for axis, bins in zip((net.x, net.y), net(pictures), strict=True):
            axis.weight.div_(bins.amax(2).mean())
        return net.eval()
