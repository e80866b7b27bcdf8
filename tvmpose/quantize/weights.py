"""Weights in int8, symmetric, each output channel with a scale of its own."""

import numpy as np

from tvmpose.qdq import Quantization

LARGEST = 127
_BIAS_STEPS = 2.0**22  # a bias beyond is stored in coarser units: sums then stay small enough to be rounded quickly
_SHARES = np.linspace(1.0, 0.6, 21)  # of the largest weight: ranges that the search for the least error tries


def weight_quantization(
    weight: np.ndarray, outputs_axis: int, bias: np.ndarray, data_scale: float, least_error: bool
) -> Quantization:
    """Scales of (outputs,) for float32 weights; least_error: cut off the largest where that costs less than rounding.

    data_scale: of the layer's input, in whose units with these the bias is stored.
    """
    rows = np.moveaxis(weight, outputs_axis, 0).reshape(weight.shape[outputs_axis], -1).astype("float64")
    largest = np.abs(rows).max(axis=1)
    scale = largest / LARGEST
    if least_error:
        errors = np.stack([_error(rows, largest * share / LARGEST) for share in _SHARES])
        scale = largest * _SHARES[errors.argmin(axis=0)] / LARGEST
    smallest = np.maximum(np.abs(bias.astype("float64")) / (data_scale * _BIAS_STEPS), 1e-12)
    scale = np.maximum(scale, smallest).astype("float32")
    return Quantization(scale, np.zeros(len(scale), "int32"), "int8", outputs_axis)


def _error(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    step = np.maximum(scale, 1e-12)[:, None]
    return np.square(np.clip(np.rint(rows / step), -LARGEST, LARGEST) * step - rows).sum(axis=1)


def integers(values: np.ndarray, quantization: Quantization) -> np.ndarray:
    """int8, as many as ``values``."""
    shape = [1] * values.ndim
    shape[quantization.axis] = -1
    steps = np.rint(values.astype("float64") / quantization.scale.reshape(shape))
    return np.clip(steps, -LARGEST, LARGEST).astype("int8")


def rounded(values: np.ndarray, quantization: Quantization) -> np.ndarray:
    """float32: what the integers stand for."""
    shape = [1] * values.ndim
    shape[quantization.axis] = -1
    return integers(values, quantization).astype("float32") * quantization.scale.reshape(shape)
