"""HRNet-W48: 1x3x256x192 in, 1x17x64x48 heatmaps out; structure and random weights: tvmpose/nets/hrnet.py."""

from torch import nn

from tvmpose.nets.hrnet import hrnet


def build() -> nn.Module:
    """The network in eval mode: the same weights on every call."""
    return hrnet(48)
