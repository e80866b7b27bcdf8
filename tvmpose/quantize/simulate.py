"""A quantized network in float arithmetic, any part of it switched on and off when it runs: compiled once.

Each layer has both its own weights and what rounding them adds; each tensor passes through its quantization, or not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from tvm import relax, te, tirx

from tvmpose.qdq import Quantization
from tvmpose.quantize.insert import layer_weight_quantization
from tvmpose.quantize.library import running
from tvmpose.quantize.network import Layer, Network, Unit, byte_readers
from tvmpose.quantize.rebuild import convolved, rebuild
from tvmpose.quantize.weights import rounded

if TYPE_CHECKING:
    from tvmpose.runtime import Pose


Read = tuple[str, str]
"""A unit and a tensor that it reads in bytes."""


class Simulation:
    """The network, compiled; see ``simulation``."""

    def __init__(self, pose: "Pose", network: Network, reads: Mapping[Read, Quantization]) -> None:
        self.pose, self.network, self.reads = pose, network, reads

    def run(self, tensor: np.ndarray, layers: Sequence[str], reads: Sequence[Read]) -> list[np.ndarray]:
        """The model's outputs with the weights of these layers in integers, and these tensors where they are read."""
        integer, in_bytes = set(layers), set(reads)
        switches = [np.array([layer.name in integer], "float32") for layer in self.network.layers]
        ranges = [_range(quantization, read in in_bytes) for read, quantization in self.reads.items()]
        return self.pose.run_tensors([tensor, *switches, *ranges])

    def run_without(self, tensor: np.ndarray, float_layers: Sequence[str]) -> list[np.ndarray]:
        """The model's outputs where these layers stay float and the others do not."""
        units = self.network.integer_units(float_layers)
        layers = [unit.name for unit in units if isinstance(unit, Layer)]
        return self.run(tensor, layers, byte_reads(self.network, units))


def byte_reads(network: Network, units: Sequence[Unit]) -> list[Read]:
    """All that these integer units read in bytes."""
    return [(unit.name, name) for name in network.tensors for unit in byte_readers(network, units, name)]


@contextmanager
def simulation(
    network: Network,
    in_bytes: Mapping[str, Quantization],
    corrected: Mapping[str, np.ndarray],
    least_error_weights: bool,
) -> Iterator[Simulation]:
    """in_bytes: of every tensor that an integer unit may read; corrected: added to the biases of integer layers."""
    switches = {layer.name: _parameter(f"switch_{i}", 1) for i, layer in enumerate(network.layers)}
    reads = byte_reads(network, network.integer_units())
    ranges = {read: _parameter(f"range_{i}", 4) for i, read in enumerate(reads)}

    def on_layer(builder: relax.BlockBuilder, layer: Layer, data: relax.Expr) -> relax.Expr:
        correction = corrected.get(layer.name, np.zeros_like(layer.bias))
        source = in_bytes[layer.operands[0]]
        quantization = layer_weight_quantization(layer, layer.bias + correction, source, least_error_weights)
        error = rounded(layer.weight, quantization) - layer.weight
        sums = builder.emit(convolved(layer, data, relax.const(layer.weight)))
        extra = builder.emit(convolved(layer, data, relax.const(error)))
        extra = builder.emit(relax.op.multiply(relax.op.add(extra, relax.const(correction)), switches[layer.name]))
        return relax.op.add(builder.emit(relax.op.add(sums, relax.const(layer.bias))), extra)

    def on_read(builder: relax.BlockBuilder, unit: Unit, name: str, value: relax.Expr) -> relax.Expr:
        if (limits := ranges.get((unit.name, name))) is None:
            return value
        return builder.emit(builder.call_te(_through_bytes, value, limits, primfunc_name_hint="through_bytes"))

    module = rebuild(network, on_layer=on_layer, on_read=on_read, parameters=[*switches.values(), *ranges.values()])
    outputs = [f"output_{i}" for i in range(len(module["main"].ret_ty.fields))]
    with running(module, outputs, "simulation") as pose:
        yield Simulation(pose, network, {read: in_bytes[read[1]] for read in reads})


def _parameter(name: str, extent: int) -> relax.Var:
    return relax.Var(name, relax.TensorType((extent,), "float32"))


def _range(quantization: Quantization, on: bool) -> np.ndarray:
    """Scale (0: off), its inverse, the smallest and the largest step."""
    scale, zero_point = float(quantization.scale) if on else 0.0, float(quantization.zero_point)
    return np.array([scale, 1 / scale if on else 0.0, -128 - zero_point, 127 - zero_point], "float32")


def _through_bytes(data: te.Tensor, limits: te.Tensor) -> te.Tensor:
    def value(*indices: tirx.Var) -> tirx.Expr:
        number = data[indices]
        steps = tirx.min(tirx.max(tirx.nearbyint(number * limits[1]), limits[2]), limits[3])
        return tirx.Select(limits[0] > tirx.const(0.0, "float32"), steps * limits[0], number)

    return te.compute(data.shape, value, name="through_bytes")
