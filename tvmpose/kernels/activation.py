"""What a score still has to go through, inside decode kernels."""

from tvmpose.kernels.script import T


def activated(value, activation):
    """``value``, float32, or its sigmoid."""
    return T.float32(1) / (T.float32(1) + T.exp(-value)) if activation == "sigmoid" else value
