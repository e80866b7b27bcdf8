"""Two stacked hourglasses: 1x3x256x256 in, 1x17x64x64 heatmaps out.

Newell, Yang, Deng: Stacked Hourglass Networks for Human Pose Estimation, arXiv:1603.06937: residuals with the batch
norm first, pooled and enlarged four times, with COCO's 17 joints. The weights are random: see
tvmpose/nets/random_weights.py.
"""

from torch import Tensor, nn

from tvmpose.nets.layers import conv_block
from tvmpose.nets.random_weights import heatmap_net, seeded

SIZE = (256, 256)
JOINTS = 17
FEATURES = 256
STACKS = 2
DEPTH = 4
SEED = 1603_06937


class Residual(nn.Module):
    """Figure 4, left: 1x1, 3x3, 1x1, each behind its batch norm and activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half, layers, channels = outputs // 2, list[nn.Module](), inputs
        for kernel, after in ((1, half), (3, half), (1, outputs)):
            convolution = nn.Conv2d(channels, after, kernel, padding=kernel // 2, bias=False)
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), convolution]
            channels = after
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)


class Hourglass(nn.Module):
    """Figure 3: down to 1/2**depth and up again, with a branch at every size."""

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        inner = Hourglass(depth - 1, channels) if depth > 1 else Residual(channels, channels)
        self.branch = Residual(channels, channels)
        down = [nn.MaxPool2d(2), Residual(channels, channels)]
        up = [Residual(channels, channels), nn.Upsample(scale_factor=2, mode="nearest")]
        self.inner = nn.Sequential(*down, inner, *up)

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.inner(x)


class StackedHourglass(nn.Module):
    """Pictures N x 3 x H x W to the last stack's heatmaps, N x 17 x H/4 x W/4."""

    def __init__(self, stacks: int, depth: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        before = [conv_block(3, channels // 4, 7, 2), Residual(channels // 4, half), nn.MaxPool2d(2)]
        self.stem = nn.Sequential(*before, Residual(half, half), Residual(half, channels))
        self.stacks = nn.ModuleList(
            nn.Sequential(Hourglass(depth, channels), Residual(channels, channels), *conv_block(channels, channels))
            for _ in range(stacks)
        )
        self.heatmaps = nn.ModuleList(nn.Conv2d(channels, JOINTS, 1) for _ in range(stacks))
        self.back = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(stacks - 1))
        self.maps_back = nn.ModuleList(nn.Conv2d(JOINTS, channels, 1) for _ in range(stacks - 1))

    def forward(self, picture: Tensor) -> Tensor:
        x = self.stem(picture)
        *others, last = self.stacks
        for stack, heatmaps, back, maps_back in zip(others, self.heatmaps, self.back, self.maps_back, strict=False):
            features = stack(x)
            x = x + back(features) + maps_back(heatmaps(features))
        return self.heatmaps[-1](last(x))


def build(
    size: tuple[int, int] = SIZE, stacks: int = STACKS, depth: int = DEPTH, channels: int = FEATURES
) -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        net = StackedHourglass(stacks, depth, channels)
        *_, norm, activation = net.stacks[-1]
        return heatmap_net(net, norm, activation, net.heatmaps[-1], size)
