"""PoseNet on MobileNetV1 0.75: 1x3x257x257 in; heatmaps, offsets and displacements along the tree of joints out.

Papandreou et al., PersonLab, arXiv:1803.08225, as TensorFlow.js publishes it at stride 16; the trunk is Howard et
al.'s, arXiv:1704.04861, its last stride a dilation. The weights are random, see tvmpose/nets/random_weights.py;
displacements are as long as a limb, and the heatmaps' floor is low enough for a few people.
"""

import torch
from torch import Tensor, nn

from tvmpose.nets.layers import conv_norm
from tvmpose.nets.random_weights import PICTURES, calibrate, randomize, seeded, synthetic_pictures

SIZE = (257, 257)
JOINTS, EDGES = 17, 16
WIDTH = 0.75
# output channels, stride, dilation of the depthwise 3x3 that comes before
LAYERS = (
    *((64, 1, 1), (128, 2, 1), (128, 1, 1), (256, 2, 1), (256, 1, 1), (512, 2, 1)),
    *((512, 1, 1),) * 5,
    *((1024, 1, 1), (1024, 1, 2)),
)
SPREADS = (2.0, 8.0, 40.0, 40.0)  # of heat, offsets and displacements over places and channels
PARTS = 6  # of all joints that begin a person, on average, in a synthetic picture
SEED = 1803_08225


def layer(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Sequential:
    """A depthwise 3x3 and a 1x1 convolution, each with batch norm and ReLU6."""
    filtered = nn.Conv2d(inputs, inputs, 3, stride, padding=dilation, dilation=dilation, groups=inputs, bias=False)
    return nn.Sequential(filtered, nn.BatchNorm2d(inputs), nn.ReLU6(), *conv_norm(inputs, outputs), nn.ReLU6())


class PoseNet(nn.Module):
    """Pictures N x 3 x H x W to heatmaps (17), offsets (34), forward and backward displacements (32 each) at 1/16."""

    def __init__(self, width: float) -> None:
        super().__init__()
        inputs = int(32 * width)
        layers = [nn.Sequential(*conv_norm(3, inputs, 3, 2), nn.ReLU6())]
        for channels, stride, dilation in LAYERS:
            layers.append(layer(inputs, int(channels * width), stride, dilation))
            inputs = int(channels * width)
        self.trunk = nn.Sequential(*layers)
        depths = (JOINTS, 2 * JOINTS, 2 * EDGES, 2 * EDGES)
        self.heads = nn.ModuleList(nn.Conv2d(inputs, depth, 1) for depth in depths)

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        features = self.trunk(picture)
        return tuple(head(features) for head in self.heads)


def build(size: tuple[int, int] = SIZE, width: float = WIDTH) -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        net = PoseNet(width)
        randomize(net)
        pictures = synthetic_pictures(PICTURES, size)
        calibrate(net, pictures)
        for head, found, spread in zip(net.heads, net(pictures), SPREADS, strict=True):
            factor = spread / found.std()
            head.weight.mul_(factor)
            head.bias.copy_((head.bias - found.mean((0, 2, 3))) * factor)
        heat = torch.cat([maps.flatten() for maps in net(pictures)[0]])
        net.heads[0].bias.sub_(heat.topk(PARTS * PICTURES).values[-1])
        return net.eval()
