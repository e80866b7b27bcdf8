"""MobileNetV2 and three deconvolutions: 1x3x256x192 in, 1x17x64x48 heatmaps out, 564 million multiply-accumulates.

The trunk is MobileNetV2 at width 1.0 up to its last bottleneck (Sandler et al., arXiv:1801.04381, table 2); the 1x1
expansion to 1280 channels that only feeds the ImageNet classifier is left out with it. The head is the one of Simple
Baselines (Xiao et al., arXiv:1804.06208) with 128 channels instead of 256.

The weights are random but fixed. Batch norm takes its statistics from synthetic pictures, so that every layer works in
its usual range; the last features are sparse and each joint has its own few of them, so that every heatmap has a clear
peak, near 1 over a floor of 0, at a place of its own that moves with the picture. It finds no people: it is for testing
and measuring the compiler on this architecture, with numbers that look like a trained network's.
"""

import torch
from torch import Tensor, nn

INPUT_SHAPE = (1, 3, 256, 192)
JOINTS = 17
HEAD_CHANNELS = 128
CHANNELS_OF_JOINT = 4
SPARSITY = 1.5  # standard deviations by which a last feature must exceed its mean to be seen
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


def conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (divided by ``stride``), and its batch norm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


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


def head(inputs: int) -> nn.Sequential:
    """Features at 1/32 to heatmaps at 1/4 of the image's size."""
    layers: list[nn.Module] = []
    for _ in range(3):
        deconvolution = nn.ConvTranspose2d(inputs, HEAD_CHANNELS, 4, stride=2, padding=1, bias=False)
        layers += [deconvolution, nn.BatchNorm2d(HEAD_CHANNELS), nn.ReLU()]
        inputs = HEAD_CHANNELS
    return nn.Sequential(*layers, nn.Conv2d(inputs, JOINTS, 1))


class PoseNet(nn.Module):
    """Pictures N x 3 x H x W, ImageNet-normalised, to heatmaps N x 17 x H/4 x W/4."""

    def __init__(self, trunk: nn.Sequential, head: nn.Sequential) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, picture: Tensor) -> Tensor:
        return self.head(self.trunk(picture))


def build() -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        net = PoseNet(trunk(), head(BOTTLENECKS[-1][1]))
        for layer in net.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight)
        sharpen(net.head)
        calibrate(net, synthetic_pictures(4))
    return net.eval()


def sharpen(head: nn.Sequential) -> None:
    """Keep only the strongest of the last features, and give each joint its own few of them."""
    *_, norm, _, last = head
    norm.bias.fill_(-SPARSITY)
    own = torch.eye(JOINTS).repeat_interleave(CHANNELS_OF_JOINT, dim=1)
    own = nn.functional.pad(own, (0, HEAD_CHANNELS - own.shape[1]))
    last.weight.abs_().mul_(own.reshape(last.weight.shape))


def calibrate(net: PoseNet, pictures: Tensor) -> None:
    """Set batch norm's statistics, and the heatmaps' floor and height, from what ``pictures`` give."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # the running statistics are those of the pictures, whatever they were before
    last = net.head[-1]
    last.bias.zero_()
    net.train()
    heatmaps = net(pictures).transpose(0, 1).flatten(1)
    floor, peak = heatmaps.median(1).values, heatmaps.amax(1)
    height = (peak - floor).clamp(min=1e-6)
    last.weight.div_(height.reshape(-1, 1, 1, 1))
    last.bias.copy_(-floor / height)


def synthetic_pictures(count: int) -> Tensor:
    """Noise of every scale, as strong at each as natural images are: N x 3 x 256 x 192, mean 0, variance 1."""
    height, width = INPUT_SHAPE[2:]
    pictures = torch.zeros(count, 3, height, width)
    for octave in range(7):
        noise = torch.randn(count, 3, height >> octave, width >> octave)
        pictures += nn.functional.interpolate(noise, (height, width), mode="bilinear")
    return (pictures - pictures.mean()) / pictures.std()
