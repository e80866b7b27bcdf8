"""Equalization across layers: channels that reach as far as their neighbours, so that one scale serves them all.

A stream is a set of tensors joined by what is positively homogeneous: additions, ReLU, resizing, pooling. Dividing one
of its channels by a positive number in every layer that writes it, and multiplying in every layer that reads it,
changes nothing but how far the channel reaches (Nagel et al., arXiv:1906.04721, for pairs of layers; streams take in
residual connections as well). ReLU6 then cuts off at six times the factor: below 1, that is where bytes would end
anyway, as long as it is beyond all that the channel was seen to reach.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tvmpose.errors import InputError
from tvmpose.quantize.choices import Equalization
from tvmpose.quantize.network import Layer, Network, Unit, byte_operands

_HOMOGENEOUS = {"relax.add", "relax.subtract", "relax.nn.relu", "relax.image.resize2d", "relax.nn.max_pool2d"}
_ROOM = 1.25  # of a channel that is cut off, beyond what it was seen to reach
_LARGEST_FACTOR = 256.0  # between channels: those that hardly reach anywhere are noise


def streams(network: Network) -> list[tuple[str, ...]]:
    """Their tensors, streams in the order of their first ones."""
    parents = {name: name for name in network.tensors}

    def root(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    fixed = {name for name in network.tensors if name not in network.producers} | network.read_elsewhere
    for unit in network.units:
        if isinstance(unit, Layer):
            fixed |= set() if _keeps_factors(unit) else {unit.name}
        elif unit.call.op.name in _HOMOGENEOUS and _keeps_factors(unit) and _same_channels(network, unit):
            for operand in unit.operands:
                parents[root(operand)] = root(unit.name)
        else:
            fixed |= {unit.name, *unit.operands}
    members: dict[str, list[str]] = {}
    for name in network.tensors:
        members.setdefault(root(name), []).append(name)
    return [tuple(names) for names in members.values() if not fixed.intersection(names)]


def _keeps_factors(unit: Unit) -> bool:
    return unit.bounds[0] in (0.0, -np.inf) and unit.bounds[1] > 0


def _same_channels(network: Network, unit: Unit) -> bool:
    shapes = [network.variables[name].ty.shape for name in (unit.name, *unit.operands)]
    return all(len(shape) == 4 and int(shape[3]) == int(shapes[0][3]) for shape in shapes)


def equalizations(network: Network, largest: Mapping[str, np.ndarray]) -> tuple[Equalization, ...]:
    """Factors for all streams. largest: of each tensor the largest absolute number of each channel, (channels,).

    Each channel is divided by how far it reaches: then rounding adds least to what layers make of the stream.
    """
    in_bytes = byte_operands(network, network.integer_units())
    chosen = []
    for names in streams(network):
        if not in_bytes.intersection(names):
            continue
        shares = [_share(network, name, largest[name]) for name in names if name in in_bytes or _is_cut(network, name)]
        factors = np.clip(np.max(shares, axis=0), 1 / _LARGEST_FACTOR, 1.0)
        chosen.append(Equalization(names, factors.astype("float32")))
    return tuple(chosen)


def _is_cut(network: Network, name: str) -> bool:
    return bool(np.isfinite(network.producers[name].bounds[1]))


def _share(network: Network, name: str, largest: np.ndarray) -> np.ndarray:
    """How far channels reach, as shares of the furthest; where they are cut off, of that, with some room."""
    reach = largest.astype("float64")
    furthest = network.producers[name].bounds[1] / _ROOM if _is_cut(network, name) else max(reach.max(), 1e-30)
    return reach / furthest


def equalized(network: Network, chosen: Sequence[Equalization]) -> Network:
    """The network with these factors in its weights. Raises InputError where they are of another network."""
    layers = {layer.name: layer for layer in network.layers}
    for stream in chosen:
        for layer in list(layers.values()):
            if layer.name in stream.tensors:
                over = 1 / stream.factors
                weight = _scaled(layer, layer.outputs_axis, over)
                layers[layer.name] = layer = replace(layer, weight=weight, bias=layer.bias * over)
            if layer.operands[0] in stream.tensors:
                weight = _scaled(layer, layer.inputs_axis, stream.factors)
                layers[layer.name] = replace(layer, weight=weight)
    return replace(network, units=tuple(layers.get(unit.name, unit) for unit in network.units))


def _scaled(layer: Layer, axis: int, factors: np.ndarray) -> np.ndarray:
    """float32 weights, times a factor for each index of an axis."""
    if layer.weight.shape[axis] != len(factors):
        raise InputError(f"layer {layer.name} has {layer.weight.shape[axis]} channels, not {len(factors)}")
    shape = [1] * layer.weight.ndim
    shape[axis] = -1
    return layer.weight * factors.reshape(shape)
