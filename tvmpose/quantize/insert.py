"""Choices put into a network: quantize and dequantize around what becomes integers, weights and biases as integers."""

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from tvmpose import qdq
from tvmpose.errors import InputError
from tvmpose.qdq import Quantization
from tvmpose.quantize.choices import Choices
from tvmpose.quantize.equalize import equalized
from tvmpose.quantize.network import Layer, Network, Unit, byte_readers, prepare, read_network
from tvmpose.quantize.rebuild import as_it_is, convolved, rebuild
from tvmpose.quantize.weights import integers, weight_quantization


def quantized_module(module: IRModule, choices: Choices) -> IRModule:
    """An imported float module in the QDQ form. Raises InputError where the choices are of another network."""
    network = equalized(read_network(prepare(module)), choices.equalizations)
    known = {*network.tensors, *(layer.name for layer in network.layers)}
    if strange := {*choices.bytes, *choices.wide, *choices.float_layers, *choices.corrections} - known:
        raise InputError(f"the model has no tensor {min(strange)!r}, which the quantization names: quantize again")
    return insert(network, choices)


def insert(network: Network, choices: Choices) -> IRModule:
    """The same of a network that is equalized already."""

    def on_layer(builder: relax.BlockBuilder, layer: Layer, data: relax.Expr) -> relax.Expr:
        source = choices.bytes.get(layer.operands[0])
        if source is None or layer.name in choices.float_layers:
            return as_it_is(builder, layer, data)
        bias = layer.bias + choices.corrections.get(layer.name, np.float32(0))
        quantization = layer_weight_quantization(layer, bias, source, choices.least_error_weights)
        weight = relax.const(integers(layer.weight, quantization))
        sums = builder.emit(convolved(layer, data, builder.emit(qdq.dequantize(weight, quantization))))
        unit = (quantization.scale.astype("float64") * float(source.scale)).astype("float32")
        whole = relax.const(np.rint(bias.astype("float64") / unit).astype("int32"))
        stored = Quantization(unit, np.zeros(len(unit), "int32"), "int32", 0)
        return relax.op.add(sums, builder.emit(qdq.dequantize(whole, stored)))

    def through(builder: relax.BlockBuilder, value: relax.Expr, quantization: Quantization) -> relax.Expr:
        return builder.emit(qdq.dequantize(builder.emit(qdq.quantize(value, quantization)), quantization))

    units = network.integer_units(choices.float_layers)
    in_bytes: dict[str, relax.Expr] = {}

    def on_tensor(builder: relax.BlockBuilder, name: str, value: relax.Expr) -> relax.Expr:
        if name in choices.wide:
            value = through(builder, value, choices.wide[name])
        if name in choices.bytes:
            in_bytes[name] = through(builder, value, choices.bytes[name])
        made_in_bytes = name in choices.bytes and name not in choices.wide and name in network.producers
        return in_bytes[name] if made_in_bytes else value

    def on_read(builder: relax.BlockBuilder, unit: Unit, name: str, value: relax.Expr) -> relax.Expr:
        return in_bytes[name] if name in in_bytes and unit in byte_readers(network, units, name) else value

    return rebuild(network, on_layer=on_layer, on_tensor=on_tensor, on_read=on_read)


def layer_weight_quantization(layer: Layer, bias: np.ndarray, source: Quantization, least_error: bool) -> Quantization:
    return weight_quantization(layer.weight, layer.outputs_axis, bias, float(source.scale), least_error)
