"""YOLOv8n-pose: 1x3x640x640 in, 1x56x8400 out: centre, size, score and 17 joints of the person at each of 8,400 places.

The structure is that of Ultralytics' yolov8-pose.yaml at scale n (depth 0.33, width 0.25); YOLO-Pose is Maji et al.,
arXiv:2204.06806, the distribution focal loss whose mean a box's sides are Li et al., arXiv:2006.04388. The weights are
random: see tvmpose/nets/random_weights.py; here the scores are shifted, so that a few places hold people.
"""

import torch
from torch import Tensor, nn

from tvmpose.nets.layers import conv_block
from tvmpose.nets.random_weights import PICTURES, calibrate, randomize, seeded, synthetic_pictures

SIZE = (640, 640)
JOINTS = 17
WIDTHS = (16, 32, 64, 128, 256)
REPEATS = (1, 2, 2, 1)
STRIDES = (8, 16, 32)
BINS = 16  # of a side's length
PEOPLE = 4  # places whose score exceeds one half, on average, in a synthetic picture
SEED = 2204_06806


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return conv_block(inputs, outputs, kernel, stride, activation=nn.SiLU)


class Block(nn.Module):
    """Two 3x3 convolutions, with or without a shortcut."""

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(channels, channels, 3), conv(channels, channels, 3))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class C2f(nn.Module):
    """Half of the channels pass the blocks; what each block makes is kept beside what came before."""

    def __init__(self, inputs: int, outputs: int, blocks: int = 1, residual: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.first, self.last = conv(inputs, outputs), conv((2 + blocks) * half, outputs)
        self.blocks = nn.ModuleList(Block(half, residual) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, dim=1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.last(torch.cat(parts, dim=1))


class PyramidPooling(nn.Module):
    """Maxima of growing windows, each made of the last, side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.last = conv(channels, channels // 2), conv(channels * 2, channels)
        self.pool = nn.MaxPool2d(5, 1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, dim=1))


class Trunk(nn.Module):
    """Picture to features at 1/8, 1/16 and 1/32: backbone, then a path up and one down again."""

    def __init__(self, widths: tuple[int, ...], repeats: tuple[int, ...]) -> None:
        super().__init__()
        first, _, third, fourth, fifth = widths
        self.stem = conv(3, first, 3, 2)
        stages = zip(widths, widths[1:], repeats, strict=False)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(inputs, outputs, 3, 2), C2f(outputs, outputs, blocks, True))
            for inputs, outputs, blocks in stages
        )
        self.pooling = PyramidPooling(fifth)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.up4, self.up3 = C2f(fifth + fourth, fourth), C2f(fourth + third, third)
        self.down3, self.down4 = conv(third, third, 3, 2), conv(fourth, fourth, 3, 2)
        self.out4, self.out5 = C2f(third + fourth, fourth), C2f(fourth + fifth, fifth)

    def forward(self, picture: Tensor) -> list[Tensor]:
        x, found = self.stem(picture), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        _, third, fourth, fifth = found
        fifth = self.pooling(fifth)
        up4 = self.up4(torch.cat([self.enlarge(fifth), fourth], dim=1))
        out3 = self.up3(torch.cat([self.enlarge(up4), third], dim=1))
        out4 = self.out4(torch.cat([self.down3(out3), up4], dim=1))
        return [out3, out4, self.out5(torch.cat([self.down4(out4), fifth], dim=1))]


def tower(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """What one head makes of one level's features."""
    return nn.Sequential(conv(inputs, hidden, 3), conv(hidden, hidden, 3), nn.Conv2d(hidden, outputs, 1))


class YoloPose(nn.Module):
    """Pictures N x 3 x H x W to N x 56 x places, everything in pixels, scores through the sigmoid."""

    def __init__(self, size: tuple[int, int], widths: tuple[int, ...], repeats: tuple[int, ...]) -> None:
        super().__init__()
        levels = widths[2:]
        self.trunk = Trunk(widths, repeats)
        wide, narrow = max(16, levels[0] // 4, 4 * BINS), max(levels[0] // 4, 3 * JOINTS)
        self.sides = nn.ModuleList(tower(inputs, wide, 4 * BINS) for inputs in levels)
        self.scores = nn.ModuleList(tower(inputs, levels[0], 1) for inputs in levels)
        self.joints = nn.ModuleList(tower(inputs, narrow, 3 * JOINTS) for inputs in levels)
        anchors, strides = self.places(size)
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).reshape(1, 1, BINS, 1), persistent=False)

    @staticmethod
    def places(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The cells' centres (1, 2, places), in cells, and their strides (1, 1, places)."""
        anchors, strides = [], []
        for stride in STRIDES:
            y, x = torch.meshgrid(*(torch.arange(side // stride) + 0.5 for side in size), indexing="ij")
            anchors.append(torch.stack([x.flatten(), y.flatten()]))
            strides.append(torch.full((1, x.numel()), float(stride)))
        return torch.cat(anchors, dim=1)[None], torch.cat(strides, dim=1)[None]

    def raw_scores(self, features: list[Tensor]) -> Tensor:
        return torch.cat([head(x).flatten(2) for head, x in zip(self.scores, features, strict=True)], dim=2)

    def forward(self, picture: Tensor) -> Tensor:
        features = self.trunk(picture)
        sides, joints = (
            torch.cat([head(x).flatten(2) for head, x in zip(heads, features, strict=True)], dim=2)
            for heads in (self.sides, self.joints)
        )
        batch, _, places = sides.shape
        lengths = (sides.reshape(batch, 4, BINS, places).softmax(dim=2) * self.bins).sum(dim=2)
        low, high = self.anchors - lengths[:, :2], self.anchors + lengths[:, 2:]
        boxes = torch.cat([(low + high) / 2, high - low], dim=1) * self.strides
        joints = joints.reshape(batch, JOINTS, 3, places)
        offsets = joints[:, :, :2] * 2 + (self.anchors - 0.5)[:, None]
        places_of_joints = offsets * self.strides[:, None]
        visible = joints[:, :, 2:].sigmoid()
        rows = torch.cat([places_of_joints, visible], dim=2).reshape(batch, 3 * JOINTS, places)
        return torch.cat([boxes, self.raw_scores(features).sigmoid(), rows], dim=1)


def build(
    size: tuple[int, int] = SIZE, widths: tuple[int, ...] = WIDTHS, repeats: tuple[int, ...] = REPEATS
) -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        net = YoloPose(size, widths, repeats)
        randomize(net)
        pictures = (synthetic_pictures(PICTURES, size) / 4 + 0.5).clamp(0, 1)
        calibrate(net, pictures)
        raw = net.raw_scores(net.trunk(pictures)).flatten()
        threshold, spread = raw.topk(PEOPLE * PICTURES).values[-1], raw.std()
        for head in net.scores:
            head[-1].weight.mul_(1 / spread)
            head[-1].bias.copy_((head[-1].bias - threshold) / spread)
        return net.eval()
