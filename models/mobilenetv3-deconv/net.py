"""MobileNetV3-Large and three deconvolutions: 1x3x256x192 in, 1x17x64x48 heatmaps out.

The trunk is that of Howard et al. (arXiv:1905.02244, table 1) up to its last bottleneck: 3x3 and 5x5 depthwise filters,
squeeze and excite, hard swish. The head is the one of Simple Baselines (Xiao et al., arXiv:1804.06208) with 128
channels. The weights are random: see tvmpose/nets/random_weights.py.
"""

from torch import nn

from tvmpose.nets.layers import HeatmapNet, deconvolution_head
from tvmpose.nets.mobilenetv3 import OUTPUTS, mobilenetv3_large
from tvmpose.nets.random_weights import heatmap_net, seeded

SIZE = (256, 192)
JOINTS = 17
HEAD_CHANNELS = 128
SEED = 1905_02244


def build(size: tuple[int, int] = SIZE) -> nn.Module:
    """The network in eval mode: the same weights on every call, the caller's random state untouched."""
    with seeded(SEED):
        net = HeatmapNet(mobilenetv3_large(), deconvolution_head(OUTPUTS, HEAD_CHANNELS, JOINTS))
        *_, norm, features, last = net.head
        return heatmap_net(net, norm, features, last, size)
