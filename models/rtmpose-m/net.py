"""RTMPose-m: 1x3x256x192 in, SimCC's bins of x, 1x17x384, and y, 1x17x512, out; structure: tvmpose/nets/rtmpose.py."""

from torch import nn

from tvmpose.nets.rtmpose import rtmpose


def build() -> nn.Module:
    """The network in eval mode: the same weights on every call."""
    return rtmpose("m")
