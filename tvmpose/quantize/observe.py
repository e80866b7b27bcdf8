"""What the tensors of a float network are on the calibration pictures: ranges, histograms, mean layer inputs.

The compiled network runs with all of them as outputs, twice: the first time over finds the ends of the histograms.
Memory does not grow with the number of pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvmpose.errors import InputError
from tvmpose.quantize.library import running
from tvmpose.quantize.network import Network
from tvmpose.quantize.ranges import BINS, Histogram
from tvmpose.quantize.rebuild import rebuild


@dataclass(frozen=True)
class Observations:
    """By tensor.

    histograms: of each group's tensors together, by the group's name. largest: absolute, for each channel. means: of
    what a layer reads, its mean over the pictures, float32 (height, width, channels).
    """

    histograms: Mapping[str, Histogram]
    largest: Mapping[str, np.ndarray]
    means: Mapping[str, np.ndarray]


def observed(network: Network) -> tuple[str, ...]:
    """The tensors whose numbers quantization needs, in order."""
    units = network.integer_units()
    names = {name for unit in units for name in (*unit.operands, unit.name)}
    return tuple(name for name in network.tensors if name in names)


def observe(network: Network, inputs: Sequence[np.ndarray], ranges: bool = True) -> Observations:
    """Run the network on its inputs, one at a time. ranges: histograms are wanted as well."""
    names = observed(network)
    layer_inputs = {layer.operands[0] for layer in network.layers}
    moved = {unit.name for unit in network.units if unit.is_movement}
    low, high = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    largest: dict[str, np.ndarray] = {}
    means: dict[str, np.ndarray] = {}
    with running(rebuild(network, outputs=names), names, "observe") as pose:
        for tensor in inputs:
            for name, array in zip(names, pose.run_tensors([tensor]), strict=True):
                ends = np.minimum.reduce(array, axis=None), np.maximum.reduce(array, axis=None)
                if not np.isfinite(ends).all():
                    raise InputError(f"tensor {name} is not finite on a calibration picture: it cannot be quantized")
                low[name], high[name] = min(low[name], float(ends[0])), max(high[name], float(ends[1]))
                rows = array.reshape(-1, array.shape[-1])
                reach = np.maximum(rows.max(axis=0), -rows.min(axis=0))
                largest[name] = np.maximum(largest.get(name, reach), reach)
                if name in layer_inputs:
                    means[name] = means.get(name, 0.0) + array[0] / len(inputs)
        ends_of: dict[str, tuple[float, float]] = {}
        for name in names:
            a, b = ends_of.get(network.groups[name], (np.inf, -np.inf))
            ends_of[network.groups[name]] = min(a, low[name]), max(b, high[name])
        counts = {group: np.zeros(BINS) for group in ends_of}
        for tensor in inputs if ranges else ():
            for name, array in zip(names, pose.run_tensors([tensor]), strict=True):
                if name not in moved:  # its elements were counted where they came from
                    group = network.groups[name]
                    counts[group] += binned(array, *ends_of[group])
    histograms = {group: Histogram(counts[group], *ends) for group, ends in ends_of.items()}
    return Observations(histograms, largest, means)


def binned(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """How many of the numbers, all between low and high, fall into each of BINS equal steps."""
    places = ((array.reshape(-1) - low) * (BINS / max(high - low, 1e-30))).astype("int32")
    return np.bincount(np.minimum(places, BINS - 1), minlength=BINS)
