"""Lite-HRNet-18: 1x3x256x192 in, 1x17x64x48 heatmaps out; structure and random weights: tvmpose/nets/litehrnet.py."""

from torch import nn

from tvmpose.nets.litehrnet import MODULES, litehrnet


def build() -> nn.Module:
    """The network in eval mode: the same weights on every call."""
    return litehrnet(MODULES[18])
