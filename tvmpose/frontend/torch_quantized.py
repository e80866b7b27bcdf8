"""Programs of torchao's PT2E quantization, after training or in it, to the QDQ form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators, without which no such .pt2 can be read
from torch import fx
from torch.export import ExportedProgram
from tvm import relax

from tvmpose import qdq
from tvmpose.qdq import Quantization

Converter = Callable[[fx.Node, Any], relax.Var]


def quantized_converters(program: ExportedProgram) -> dict[str, Converter]:
    """What TVM's importer lacks, for this program, whose scales and zero points may be its buffers."""
    constants = lifted_constants(program)

    def convert(build: Callable[..., relax.Expr], axis: int | None) -> Converter:
        def converter(node: fx.Node, importer: Any) -> relax.Var:
            if build is quantize and all(source.name in constants for source in node.all_input_nodes):
                return importer.block_builder.emit(relax.const(computed(node, constants)))
            data, quantization, lowest, highest = arguments_of(node, axis, constants)
            return importer.block_builder.emit(build(importer.env[data], quantization, lowest, highest))

        return converter

    return {f"{name}.{overload}": convert(build, axis) for name, overload, build, axis in OPERATORS}


def quantize(data: relax.Expr, quantization: Quantization, lowest: int, highest: int) -> relax.Expr:
    """quantize_per_*: a range that is narrower than its type's is a clip of the float tensor."""
    limits = np.iinfo(quantization.dtype)
    if (lowest, highest) != (limits.min, limits.max):
        if quantization.scale.ndim:
            raise NotImplementedError("a narrow range per channel")
        bounds = (float(quantization.scale * (end - quantization.zero_point)) for end in (lowest, highest))
        data = relax.op.clip(data, *bounds)
    return qdq.quantize(data, quantization)


def dequantize(data: relax.Expr, quantization: Quantization, *_: int) -> relax.Expr:
    return qdq.dequantize(data, quantization)


# "tensor": scale and zero point are tensors in place of numbers
OPERATORS = [
    (f"{name}_{granularity}", overload, build, axis)
    for name, build in (("quantize", quantize), ("dequantize", dequantize))
    for granularity, overload, axis in (
        ("per_tensor", "default", None),
        ("per_tensor", "tensor", None),
        ("per_channel", "default", 3),
    )
]


def arguments_of(
    node: fx.Node, axis: int | None, constants: dict[str, torch.Tensor]
) -> tuple[fx.Node, Quantization, int, int]:
    """Data, quantization and the integers' range of a call; ``axis``: the place of the axis among its arguments.

    Raises NotImplementedError where the network computes scale or zero point, and for dtypes the QDQ form lacks.
    """
    data, scale, zero_point, *rest = node.args
    lowest, highest, dtype = rest if axis is None else rest[1:]
    if node.kwargs.get("out_dtype") not in (None, torch.float32):
        raise NotImplementedError(f"{node.name}: dequantized to {node.kwargs['out_dtype']}")
    if dtype not in (torch.int8, torch.uint8, torch.int16, torch.int32):
        raise NotImplementedError(f"{node.name}: quantized as {dtype}")
    scales = array_of(scale, constants, node).astype("float32")
    zero_points = np.zeros_like(scales) if zero_point is None else array_of(zero_point, constants, node)
    if axis is None:
        scales, zero_points = scales.reshape(()), zero_points.reshape(())
    place = 0 if axis is None else node.args[axis] % data.meta["val"].ndim
    name = str(dtype).removeprefix("torch.")
    return data, Quantization(scales, zero_points.astype("int32"), name, place), lowest, highest


def array_of(value: Any, constants: dict[str, torch.Tensor], node: fx.Node) -> np.ndarray:
    """A number, or the tensor that an input of the graph stands for."""
    if not isinstance(value, fx.Node):
        return np.asarray(value)
    if value.name not in constants:
        raise NotImplementedError(f"{node.name}: the network computes its own scale or zero point")
    return constants[value.name].detach().numpy()


def computed(node: fx.Node, constants: dict[str, torch.Tensor]) -> np.ndarray:
    """The result of a call on constants: weights that the exporter left in float, rounded as torch does."""
    arguments = [constants[value.name] if isinstance(value, fx.Node) else value for value in node.args]
    return node.target(*arguments).detach().numpy()


def lifted_constants(program: ExportedProgram) -> dict[str, torch.Tensor]:
    """Parameters, buffers and constants by the names of the graph's inputs."""
    values = {**program.state_dict, **program.constants}
    specs = program.graph_signature.input_specs
    return {spec.arg.name: values[spec.target] for spec in specs if spec.target in values}
