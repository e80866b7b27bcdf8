"""Choices by a recipe: ranges, weights and biases from observations."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tvmpose.qdq import Quantization
from tvmpose.quantize.bias import mean_sums
from tvmpose.quantize.insert import layer_weight_quantization
from tvmpose.quantize.network import Bounds, Network, byte_operands, wide_operands
from tvmpose.quantize.observe import Observations
from tvmpose.quantize.ranges import RangeMethod, byte_quantization, wide_quantization
from tvmpose.quantize.recipes import Steps
from tvmpose.quantize.weights import rounded


def byte_tensors(network: Network, observations: Observations, method: RangeMethod) -> dict[str, Quantization]:
    """Of every tensor that an integer unit may read. What no unit makes, as the input, keeps all its range."""
    made = {network.groups[unit.name] for unit in network.integer_units()}
    ends = {
        group: (method if group in made else RangeMethod.MINMAX).range_of(histogram)
        for group, histogram in observations.histograms.items()
    }
    needed = needed_ranges(network, ends)
    groups = {group: byte_quantization(*needed.get(group, ends[group])) for group in ends}
    read = {name for unit in network.integer_units() for name in unit.operands}
    return {name: groups[network.groups[name]] for name in network.tensors if name in read}


def needed_ranges(network: Network, ends: Mapping[str, Bounds]) -> dict[str, Bounds]:
    """Of tensors that one addition alone reads, and whose sum is cut off: what the other operand leaves to matter.

    From the ranges of all groups. Where clip(a + b, 0, 6) adds to an a from 0 to 6, no b beyond -6 to 6 makes a
    difference, however far it reaches.
    """
    alone = Counter(network.groups.values())
    found: dict[str, Bounds] = {}
    for unit in network.integer_units():
        low, high = unit.bounds
        if unit.call.op.name != "relax.add" or len(set(unit.operands)) != 2 or not np.isfinite([low, high]).any():
            continue
        for name, other in (unit.operands, unit.operands[::-1]):
            group = network.groups[name]
            if alone[group] == 1 and len(network.readers[name]) == 1 and name not in network.read_elsewhere:
                first, last = found.get(network.groups[other], ends[network.groups[other]])
                start, end = ends[group]
                found[group] = min(max(start, low - last), 0.0), max(min(end, high - first), 0.0)
    return found


def stored_bytes(
    network: Network, in_bytes: Mapping[str, Quantization], float_layers: Sequence[str]
) -> dict[str, Quantization]:
    """What is read in bytes where these layers stay float."""
    read = byte_operands(network, network.integer_units(float_layers))
    return {name: quantization for name, quantization in in_bytes.items() if name in read}


def stored_wide(
    network: Network, in_bytes: Mapping[str, Quantization], observations: Observations, float_layers: Sequence[str]
) -> dict[str, Quantization]:
    """How the integer units then store what others read."""
    read = wide_operands(network, network.integer_units(float_layers))
    return {
        name: wide_quantization(*_ends(in_bytes.get(name), observations.largest[name]))
        for name in network.tensors
        if name in read
    }


def _ends(quantization: Quantization | None, largest: np.ndarray) -> tuple[float, float]:
    """Of a wide tensor: of the range in bytes, if there is one, which may leave out what does not matter."""
    if quantization is None:
        return -float(largest.max()), float(largest.max())
    scale, zero_point = float(quantization.scale), int(quantization.zero_point)
    return scale * (-128 - zero_point), scale * (127 - zero_point)


def corrections(
    network: Network, in_bytes: Mapping[str, Quantization], observations: Observations, steps: Steps
) -> dict[str, np.ndarray]:
    """float32 (outputs,) by layer: what rounding its weights takes from its mean result."""
    if not steps.correct_bias:
        return {}
    found = {}
    for layer in network.layers:
        source = layer.operands[0]
        quantization = layer_weight_quantization(layer, layer.bias, in_bytes[source], steps.least_error_weights)
        error = rounded(layer.weight, quantization) - layer.weight
        found[layer.name] = -mean_sums(layer, observations.means[source], error).astype("float32")
    return found
