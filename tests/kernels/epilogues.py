"""What may follow a convolution, in Relax and in NumPy."""

from collections.abc import Callable

import numpy as np
from tvm import relax

Epilogue = tuple[Callable[[relax.Expr], relax.Expr], Callable[[np.ndarray], np.ndarray]]


def hard_swish(value: relax.Expr) -> relax.Expr:
    gate = relax.op.clip(relax.op.add(value, relax.const(np.float32(3))), 0.0, 6.0)
    return relax.op.multiply(relax.op.multiply(value, gate), relax.const(np.float32(1 / 6)))


def epilogues(channels: int) -> dict[str, Epilogue]:
    """By name, for a convolution's (1, 12, 10, channels)."""
    residual = np.random.default_rng(3).standard_normal((1, 12, 10, channels), dtype="float32")
    bias = np.random.default_rng(4).standard_normal(channels, dtype="float32")
    return {
        # what follows the convolution, in Relax and in NumPy
        "nothing": (lambda c: c, lambda c: c),
        "bias": (lambda c: relax.op.add(c, relax.const(bias)), lambda c: c + bias),
        "residual": (lambda c: relax.op.add(relax.const(residual), c), lambda c: c + residual),
        "relu6": (lambda c: relax.op.clip(c, 0.0, 6.0), lambda c: np.clip(c, 0, 6)),
        "hard swish": (hard_swish, lambda c: c * np.clip(c + 3, 0, 6) / 6),
        "bias, relu, residual": (
            lambda c: relax.op.add(relax.op.nn.relu(relax.op.add(c, relax.const(bias))), relax.const(residual)),
            lambda c: np.maximum(c + bias, 0) + residual,
        ),
        "two consumers": (
            lambda c: relax.op.add(relax.op.nn.relu(c), relax.op.sigmoid(c)),
            lambda c: np.maximum(c, 0) + 1 / (1 + np.exp(-c)),
        ),
        "reshape": (lambda c: relax.op.reshape(c, (1, 120, channels)), lambda c: c.reshape(1, 120, channels)),
        "mean": (lambda c: relax.op.mean(c, [1, 2]), lambda c: c.mean((1, 2))),
        "sum over itself shifted": (
            lambda c: relax.op.add(
                relax.op.strided_slice(c, [1], [0], [11]), relax.op.strided_slice(c, [1], [1], [12])
            ),
            lambda c: c[:, :11] + c[:, 1:],
        ),
    }
