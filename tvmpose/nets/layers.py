"""Layers that several published pose networks share."""

from collections.abc import Callable

from torch import Tensor, nn


def conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (divided by ``stride``), and its batch norm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def conv_block(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    return nn.Sequential(*conv_norm(inputs, outputs, kernel, stride, groups), activation())


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., arXiv:1512.03385, figure 5, left)."""

    EXPANSION = 1

    def __init__(self, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(*conv_block(inputs, channels, 3, stride), *conv_norm(channels, channels, 3))
        self.shortcut = shortcut(inputs, channels, stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layers(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to four times the channels, and a shortcut (arXiv:1512.03385, figure 5, right)."""

    EXPANSION = 4

    def __init__(self, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        outputs = channels * self.EXPANSION
        middle = conv_block(channels, channels, 3, stride)
        self.layers = nn.Sequential(*conv_block(inputs, channels), *middle, *conv_norm(channels, outputs))
        self.shortcut = shortcut(inputs, outputs, stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layers(x) + self.shortcut(x))


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity, or a 1x1 convolution where shapes differ."""
    return nn.Identity() if stride == 1 and inputs == outputs else nn.Sequential(*conv_norm(inputs, outputs, 1, stride))


def resnet(block: type[nn.Module], repeats: tuple[int, ...], width: int = 64) -> nn.Sequential:
    """Picture to the last stage's features at 1/32, without the classifier (arXiv:1512.03385, table 1)."""
    layers: list[nn.Module] = [conv_block(3, width, 7, 2), nn.MaxPool2d(3, 2, padding=1)]
    inputs = width
    for stage, count in enumerate(repeats):
        for repeat in range(count):
            layers.append(block(inputs, width << stage, 2 if stage and not repeat else 1))
            inputs = (width << stage) * block.EXPANSION
    return nn.Sequential(*layers)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of each group side by side: (g, n) -> (n, g) (Zhang et al., arXiv:1707.01083)."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


def deconvolution_head(inputs: int, channels: int, joints: int, layers: int = 3) -> nn.Sequential:
    """Features to heatmaps, each layer doubling the size: that of Simple Baselines (Xiao et al., arXiv:1804.06208)."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        deconvolution = nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1, bias=False)
        parts += [deconvolution, nn.BatchNorm2d(channels), nn.ReLU()]
        inputs = channels
    return nn.Sequential(*parts, nn.Conv2d(inputs, joints, 1))


class HeatmapNet(nn.Module):
    """Pictures N x 3 x H x W to heatmaps N x joints x h x w: a trunk and a head."""

    def __init__(self, trunk: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, picture: Tensor) -> Tensor:
        return self.head(self.trunk(picture))
