"""MobileNetV3-Large's trunk (Howard et al., Searching for MobileNetV3, arXiv:1905.02244, table 1)."""

from collections.abc import Callable

from torch import Tensor, nn

from tvmpose.nets.layers import conv_block, conv_norm

OUTPUTS = 160
# kernel, hidden channels, output channels, squeeze and excite, activation, stride
BOTTLENECKS = (
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
    (5, 960, 160, True, nn.Hardswish, 1),
)


class SqueezeExcite(nn.Module):
    """Scale every channel by what the means of all of them say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = -(-channels // 4 // 8) * 8
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Bottleneck(nn.Module):
    """Expand, filter each channel, squeeze and excite, project; add the input where the shapes allow."""

    def __init__(
        self,
        inputs: int,
        kernel: int,
        hidden: int,
        outputs: int,
        excite: bool,
        activation: Callable[[], nn.Module],
        stride: int,
    ) -> None:
        super().__init__()
        expand = [conv_block(inputs, hidden, activation=activation)] if hidden != inputs else []
        filtered = conv_block(hidden, hidden, kernel, stride, hidden, activation)
        gate = [SqueezeExcite(hidden)] if excite else []
        self.layers = nn.Sequential(*expand, filtered, *gate, *conv_norm(hidden, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def mobilenetv3_large() -> nn.Sequential:
    """Picture to OUTPUTS channels at 1/32 of its size."""
    layers: list[nn.Module] = [conv_block(3, 16, 3, 2, activation=nn.Hardswish)]
    inputs = 16
    for kernel, hidden, outputs, excite, activation, stride in BOTTLENECKS:
        layers.append(Bottleneck(inputs, kernel, hidden, outputs, excite, activation, stride))
        inputs = outputs
    return nn.Sequential(*layers)
