"""MobileNetV2 and three deconvolutions: 1x3x256x192 in, 1x17x64x48 heatmaps out, 564 million multiply-accumulates.

The trunk is MobileNetV2 at width 1.0 up to its last bottleneck (Sandler et al., arXiv:1801.04381, table 2); the 1x1
expansion to 1280 channels that only feeds the ImageNet classifier is left out with it. The head is the one of Simple
Baselines (Xiao et al., arXiv:1804.06208) with 128 channels instead of 256. The weights are random: see
tvmpose/nets/random_weights.py.
"""

from torch import Tensor, nn

from tvmpose.nets.layers import HeatmapNet, conv_norm, deconvolution_head
from tvmpose.nets.random_weights import heatmap_net, seeded

SIZE = (256, 192)
JOINTS = 17
HEAD_CHANNELS = 128
SEED = 1801_04381

# expansion, output channels, repeats, stride of the first repeat
BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Bottleneck(nn.Module):
    """Expand, filter each channel, project without activation; add the input where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [*conv_norm(inputs, hidden), nn.ReLU6()] if expansion > 1 else []
        filtered = [*conv_norm(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6()]
        self.layers = nn.Sequential(*expand, *filtered, *conv_norm(hidden, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def trunk() -> nn.Sequential:
    """Image to 320 channels at 1/32 of its size."""
    layers: list[nn.Module] = [*conv_norm(3, 32, 3, 2), nn.ReLU6()]
    inputs = 32
    for expansion, outputs, repeats, stride in BOTTLENECKS:
        for repeat in range(repeats):
            layers.append(Bottleneck(inputs, outputs, stride if repeat == 0 else 1, expansion))
            inputs = outputs
    return nn.Sequential(*layers)


def build() -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        net = HeatmapNet(trunk(), deconvolution_head(BOTTLENECKS[-1][1], HEAD_CHANNELS, JOINTS))
        *_, norm, features, last = net.head
        return heatmap_net(net, norm, features, last, SIZE)
