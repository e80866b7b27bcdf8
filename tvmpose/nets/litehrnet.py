"""Lite-HRNet (Yu et al., A Lightweight High-Resolution Network, arXiv:2104.06403): conditional channel weighting."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tvmpose.nets.hrnet import Fusion, Transition
from tvmpose.nets.layers import channel_shuffle, conv_block, conv_norm
from tvmpose.nets.random_weights import heatmap_net, seeded

SEED = 2104_06403
SIZE = (256, 192)
JOINTS = 17
STEM = 32
CHANNELS = (40, 80, 160, 320)
MODULES = {18: (2, 4, 2), 30: (3, 8, 3)}
BLOCKS = 2
CROSS_REDUCTION, SPATIAL_REDUCTION = 8, 4


def separable(inputs: int, outputs: int, stride: int, activated: bool) -> list[nn.Module]:
    """A depthwise 3x3 and a 1x1 convolution, a batch norm behind each."""
    filtered = conv_norm(inputs, inputs, 3, stride, groups=inputs)
    return [*filtered, *conv_norm(inputs, outputs), *([nn.ReLU()] if activated else [])]


def separable_down(inputs: int, outputs: int, activated: bool) -> list[nn.Module]:
    return separable(inputs, outputs, 2, activated)


def separable_same(inputs: int, outputs: int, activated: bool) -> list[nn.Module]:
    return separable(inputs, outputs, 1, activated)


class Stem(nn.Module):
    """A strided convolution, then a shuffle block that halves the size once more."""

    def __init__(self) -> None:
        super().__init__()
        half = STEM // 2
        self.first = conv_block(3, STEM, 3, 2)
        self.passing = nn.Sequential(*separable(half, half, 2, True))
        filtered = conv_norm(STEM, STEM, 3, 2, groups=STEM)
        self.filtering = nn.Sequential(*conv_block(half, STEM), *filtered, *conv_block(STEM, half))

    def forward(self, picture: Tensor) -> Tensor:
        passing, filtered = self.first(picture).chunk(2, dim=1)
        return channel_shuffle(torch.cat([self.passing(passing), self.filtering(filtered)], dim=1), 2)


class CrossResolutionWeighting(nn.Module):
    """Section 3.2: what all branches show at the smallest size weighs the channels and places of each."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        total = sum(channels)
        self.channels = list(channels)
        squeeze = conv_block(total, total // CROSS_REDUCTION)
        self.layers = nn.Sequential(*squeeze, *conv_norm(total // CROSS_REDUCTION, total), nn.Sigmoid())

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        smallest = branches[-1].shape[2:]
        pooled = [nn.functional.adaptive_avg_pool2d(branch, smallest) for branch in branches[:-1]]
        weights = self.layers(torch.cat([*pooled, branches[-1]], dim=1)).split(self.channels, dim=1)
        sizes = [branch.shape[2:] for branch in branches]
        return [
            branch * nn.functional.interpolate(weight, size=size, mode="nearest")
            for branch, weight, size in zip(branches, weights, sizes, strict=True)
        ]


class SpatialWeighting(nn.Module):
    """Section 3.2: a channel's mean over all places weighs it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // SPATIAL_REDUCTION
        squeeze = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU()]
        self.layers = nn.Sequential(*squeeze, nn.Conv2d(hidden, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layers(x)


class WeightingBlock(nn.Module):
    """Figure 4 (b): half of the channels are weighted, filtered and weighted again, then shuffled with the others."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        halves = [count // 2 for count in channels]
        self.cross = CrossResolutionWeighting(halves)
        self.filters = nn.ModuleList(
            nn.Sequential(*conv_norm(count, count, 3, groups=count), SpatialWeighting(count)) for count in halves
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        passing, weighted = zip(*(branch.chunk(2, dim=1) for branch in branches), strict=True)
        filtered = [layers(x) for layers, x in zip(self.filters, self.cross(list(weighted)), strict=True)]
        pairs = zip(passing, filtered, strict=True)
        return [channel_shuffle(torch.cat(pair, dim=1), 2) for pair in pairs]


class IterativeHead(nn.Module):
    """From the smallest branch to the largest: filter, enlarge, add."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        upwards = list(channels)[::-1]
        self.layers = nn.ModuleList(
            nn.Sequential(*conv_norm(inputs, inputs, 3, groups=inputs), nn.ReLU(), *conv_block(inputs, outputs))
            for inputs, outputs in zip(upwards, [*upwards[1:], upwards[-1]], strict=True)
        )

    def forward(self, branches: list[Tensor]) -> Tensor:
        x = self.layers[0](branches[-1])
        for layers, branch in zip(list(self.layers)[1:], branches[-2::-1], strict=True):
            enlarged = nn.functional.interpolate(x, size=branch.shape[2:], mode="bilinear", align_corners=True)
            x = layers(branch + enlarged)
        return x


class LiteHRNet(nn.Module):
    """Pictures N x 3 x H x W to heatmaps N x 17 x H/4 x W/4."""

    def __init__(self, modules: Sequence[int]) -> None:
        super().__init__()
        self.stem = Stem()
        self.stages = nn.ModuleList()
        inputs = [STEM]
        for stage, count in enumerate(modules):
            channels = list(CHANNELS[: stage + 2])
            self.stages.append(Transition(inputs, channels, separable_same, separable_down))
            for _ in range(count):
                self.stages.extend(WeightingBlock(channels) for _ in range(BLOCKS))
                self.stages.append(Fusion(channels, len(channels), separable_down))
            inputs = channels
        self.head = IterativeHead(inputs)
        self.last = nn.Conv2d(CHANNELS[0], JOINTS, 1)

    def forward(self, picture: Tensor) -> Tensor:
        branches = [self.stem(picture)]
        for stage in self.stages:
            branches = stage(branches)
        return self.last(self.head(branches))


def litehrnet(modules: Sequence[int], size: tuple[int, int] = SIZE) -> nn.Module:
    """Lite-HRNet with random weights, in eval mode: the same on every call."""
    with seeded(SEED):
        net = LiteHRNet(modules)
        *_, norm, features = net.head.layers[-1]
        return heatmap_net(net, norm, features, net.last, size)
