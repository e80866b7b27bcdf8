"""HRNet for pose (Sun et al., Deep High-Resolution Representation Learning, arXiv:1902.09212), and what Lite-HRNet
shares with it: branches of several resolutions that exchange what they found.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from tvmpose.nets.layers import BasicBlock, Bottleneck, conv_block, conv_norm
from tvmpose.nets.random_weights import heatmap_net, seeded

SEED = 1902_09212
SIZE = (256, 192)
JOINTS = 17
STEM = 64
MODULES = (1, 4, 3)  # of stages 2, 3 and 4
BLOCKS = 4

Down = Callable[[int, int, bool], list[nn.Module]]
"""From one number of channels to another at half the size; whether an activation follows."""


def strided(inputs: int, outputs: int, activated: bool) -> list[nn.Module]:
    return [*conv_norm(inputs, outputs, 3, 2), *([nn.ReLU()] if activated else [])]


class Fusion(nn.Module):
    """Every branch becomes the sum of all, brought to its size; ``outputs``: how many of them are made."""

    def __init__(self, channels: Sequence[int], outputs: int, down: Down = strided) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.ModuleList(self.path(channels, source, target, down) for source in range(len(channels)))
            for target in range(outputs)
        )
        self.activation = nn.ModuleList(nn.ReLU() for _ in range(outputs))

    @staticmethod
    def path(channels: Sequence[int], source: int, target: int, down: Down) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            upsample = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
            return nn.Sequential(*conv_norm(channels[source], channels[target]), upsample)
        steps: list[nn.Module] = []
        for level in range(source, target):
            last = level == target - 1
            steps += down(channels[source], channels[target] if last else channels[source], not last)
        return nn.Sequential(*steps)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        fused = []
        for paths, activation in zip(self.paths, self.activation, strict=True):
            parts = [path(branch) for path, branch in zip(paths, branches, strict=True)]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            fused.append(activation(total))
        return fused


class Branches(nn.Module):
    """Blocks of each branch by itself, then the fusion."""

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c, c) for _ in range(BLOCKS))) for c in channels)
        self.fusion = Fusion(channels, outputs)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        return self.fusion([layers(branch) for layers, branch in zip(self.branches, branches, strict=True)])


class Transition(nn.Module):
    """One branch more, out of the last; the others brought to their new numbers of channels."""

    def __init__(self, inputs: Sequence[int], channels: Sequence[int], same: Down, down: Down) -> None:
        super().__init__()
        kept = [
            nn.Identity() if before == after else nn.Sequential(*same(before, after, True))
            for before, after in zip(inputs, channels, strict=False)
        ]
        self.layers = nn.ModuleList([*kept, nn.Sequential(*down(inputs[-1], channels[-1], True))])

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        return [layers(branch) for layers, branch in zip(self.layers, [*branches, branches[-1]], strict=True)]


def unstrided(inputs: int, outputs: int, activated: bool) -> list[nn.Module]:
    return [*conv_norm(inputs, outputs, 3), *([nn.ReLU()] if activated else [])]


class HRNet(nn.Module):
    """Pictures N x 3 x H x W to heatmaps N x 17 x H/4 x W/4."""

    def __init__(self, width: int, modules: Sequence[int]) -> None:
        super().__init__()
        first = [Bottleneck(STEM if block == 0 else STEM * 4, STEM) for block in range(BLOCKS)]
        self.stem = nn.Sequential(conv_block(3, STEM, 3, 2), conv_block(STEM, STEM, 3, 2), *first)
        self.stages = nn.ModuleList()
        inputs = [STEM * 4]
        for stage, count in enumerate(modules):
            channels = [width << level for level in range(stage + 2)]
            self.stages.append(Transition(inputs, channels, unstrided, strided))
            for module in range(count):
                last = stage == len(modules) - 1 and module == count - 1
                self.stages.append(Branches(channels, 1 if last else len(channels)))
            inputs = channels
        self.last = nn.Conv2d(width, JOINTS, 1)

    def forward(self, picture: Tensor) -> Tensor:
        branches = [self.stem(picture)]
        for stage in self.stages:
            branches = stage(branches)
        return self.last(branches[0])


def hrnet(width: int, size: tuple[int, int] = SIZE, modules: Sequence[int] = MODULES) -> nn.Module:
    """HRNet-W``width`` with random weights, in eval mode: the same on every call."""
    with seeded(SEED):
        net = HRNet(width, modules)
        fusion = net.stages[-1].fusion
        return heatmap_net(net, fusion.paths[0][1][1], fusion.activation[0], net.last, size)
