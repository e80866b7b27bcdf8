"""Quantized ONNX to the QDQ form: operators on integers as float ones between DequantizeLinear and QuantizeLinear.

That is done in the ONNX graph, before its shapes are folded: the float operator is then imported like any other, with
all its attributes, and no tool meets an operator of com.microsoft whose shape it does not know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax import op as R

from tvmpose import qdq
from tvmpose.errors import ModelError
from tvmpose.qdq import Quantization

KNOWN_DTYPES = ("int8", "uint8", "int16", "int32")


@dataclass(frozen=True)
class QOperator:
    """A float operator on quantized tensors. Scale and zero point follow each operand.

    operands: the inputs' places; axes: along which an operand's scale runs, where it is one per element; result: the
    place of the result's scale, or None for the operands of QLinearConcat, behind it; bias: the int32 operand's place.
    """

    name: str
    operands: tuple[int, ...] | None
    result: int
    axes: tuple[int, ...] = (0, 0)
    bias: int | None = None


QOPERATORS = {
    "QLinearMul": QOperator("Mul", (0, 3), 6),
    "QLinearMatMul": QOperator("MatMul", (0, 3), 6, axes=(-2, -1)),
    "QLinearConv": QOperator("Conv", (0, 3), 6, bias=8),
    "QGemm": QOperator("Gemm", (0, 3), 7, axes=(0, 1), bias=6),
    "QLinearSigmoid": QOperator("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": QOperator("LeakyRelu", (0,), 3),
    "QLinearAveragePool": QOperator("AveragePool", (0,), 3),
    "QLinearGlobalAveragePool": QOperator("GlobalAveragePool", (0,), 3),
    "QLinearConcat": QOperator("Concat", None, 0),
}


def expand_quantized(model: onnx.ModelProto) -> None:
    """Replace every operator of QOPERATORS, and ConvInteger, by float and integer operators of ONNX, in place.

    Raises ModelError for an operator without its result's zero point, or with the channels last.
    """
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    expanded = [part for node in model.graph.node for part in expansion(node, ranks)]
    del model.graph.node[:]
    model.graph.node.extend(expanded)


def expansion(node: NodeProto, ranks: dict[str, int]) -> list[NodeProto]:
    """The nodes in place of one; itself where it is no operator on integers. ``ranks``: the initializers'."""
    if node.op_type == "QLinearAdd":
        return sum_nodes(node)
    if node.op_type in QOPERATORS:
        return float_nodes(node, QOPERATORS[node.op_type])
    return convolution_nodes(node, ranks) if node.op_type == "ConvInteger" else [node]


def float_nodes(node: NodeProto, kind: QOperator) -> list[NodeProto]:
    """DequantizeLinear of each operand, the float operator, QuantizeLinear of its result."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if attributes.pop("channels_last", 0):
        raise ModelError(f"ONNX operator {node.op_type} at {name_of(node)}: channels_last is not supported")
    parts = Parts(node)
    axes = (0, 0 if attributes.get("transB") else 1) if node.op_type == "QGemm" else kind.axes
    places = range(2, len(node.input), 3) if kind.operands is None else kind.operands
    operands = [
        parts.add("DequantizeLinear", node.input[place : place + 3], axis=axes[min(i, len(axes) - 1)])
        for i, place in enumerate(places)
    ]
    if kind.bias is not None and (bias := parts.optional(kind.bias)):
        scale = parts.add("Mul", [node.input[place + 1] for place in places])
        if (alpha := attributes.get("alpha", 1.0)) != 1.0:
            scale = parts.add("Mul", [scale, parts.constant(np.float32(alpha))])
        operands.append(parts.add("DequantizeLinear", [bias, scale], axis=0))
    if not parts.optional(kind.result):  # QGemm alone may return its float result
        return [*parts.nodes, helper.make_node(kind.name, operands, node.output, name_of(node), **attributes)]
    if not (zero_point := parts.optional(kind.result + 1)):
        raise ModelError(f"ONNX operator {node.op_type} at {name_of(node)}: its result has no zero point")
    result = parts.add(kind.name, operands, **attributes)
    quantize = [result, node.input[kind.result], zero_point]
    return [*parts.nodes, helper.make_node("QuantizeLinear", quantize, node.output, name_of(node))]


def sum_nodes(node: NodeProto) -> list[NodeProto]:
    """QLinearAdd in its own order: in units of its result, whose zero point is added before the sum is rounded.

    An odd one turns ties to the other side (MlasQLinearAdd of onnxruntime/core/mlas/lib/qladd.cpp).
    """
    parts = Parts(node)
    result_scale, zero_point = node.input[6], parts.optional(7)
    if not zero_point:
        raise ModelError(f"ONNX operator QLinearAdd at {name_of(node)}: its result has no zero point")
    operands = []
    for data, scale, zero in (node.input[0:3], node.input[3:6]):
        ratio = parts.add("Div", [scale, result_scale])
        operands.append(parts.add("DequantizeLinear", [data, ratio, zero]))
    total = parts.add("Add", [parts.add("Add", operands), parts.add("Cast", [zero_point], to=TensorProto.FLOAT)])
    units = [parts.constant(np.float32(1)), parts.add("Sub", [zero_point, zero_point])]
    return [*parts.nodes, helper.make_node("QuantizeLinear", [total, *units], node.output, name_of(node))]


def convolution_nodes(node: NodeProto, ranks: dict[str, int]) -> list[NodeProto]:
    """ConvInteger as a Conv of int32, the zero points subtracted before."""
    parts = Parts(node)
    data, kernel = (parts.add("Cast", [name], to=TensorProto.INT32) for name in node.input[:2])
    if zero_point := parts.optional(2):
        data = parts.add("Sub", [data, parts.add("Cast", [zero_point], to=TensorProto.INT32)])
    if zero_point := parts.optional(3):
        widened = parts.add("Cast", [zero_point], to=TensorProto.INT32)
        along_output = parts.constant(np.array([-1] + [1] * (ranks.get(node.input[1], 4) - 1)))
        kernel = parts.add("Sub", [kernel, parts.add("Reshape", [widened, along_output])])
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return [*parts.nodes, helper.make_node("Conv", [data, kernel], node.output, name_of(node), **attributes)]


class Parts:
    """The nodes that replace one, each result named after the replaced node's."""

    def __init__(self, node: NodeProto) -> None:
        self.node = node
        self.nodes: list[NodeProto] = []

    def optional(self, place: int) -> str:
        """The replaced node's input at ``place``; empty where it is left out."""
        return self.node.input[place] if place < len(self.node.input) else ""

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node; its result's name."""
        result = f"{self.node.output[0]}/{len(self.nodes)}"
        named = f"{name_of(self.node)}/{operator}"
        self.nodes.append(helper.make_node(operator, inputs, [result], named, **attributes))
        return result

    def constant(self, array: np.ndarray) -> str:
        return self.add("Constant", [], value=numpy_helper.from_array(np.asarray(array)))


def name_of(node: NodeProto) -> str:
    """A node's name, or that of its result."""
    return node.name or node.output[0]


def quantize_linear(inputs: list[relax.Expr], attributes: dict[str, Any]) -> relax.Expr:
    """QuantizeLinear as relax.quantize with an int32 zero point; TVM keeps it in the file's type."""
    data, scale, zero_point = (*inputs, None)[:3]
    stated = attributes.get("output_dtype", TensorProto.UNDEFINED) or TensorProto.UINT8
    dtype = helper.tensor_dtype_to_np_dtype(stated).name if zero_point is None else str(zero_point.ty.dtype)
    refuse_unknown(dtype, scale, attributes)
    data = data if str(data.ty.dtype) == "float32" else R.astype(data, "float32")
    axis = axis_of(attributes, data.ty.ndim)
    zero_point = relax.const(0, dtype) if zero_point is None else zero_point
    if (quantization := constant_quantization(scale, zero_point, dtype, axis)) is not None:
        return qdq.quantize(data, quantization)
    return R.quantize(data, scale, zero_point, axis, dtype)


def dequantize_linear(inputs: list[relax.Expr], attributes: dict[str, Any]) -> relax.Expr:
    """DequantizeLinear as relax.dequantize with an int32 zero point; TVM keeps it in the file's type."""
    data, scale, zero_point = (*inputs, None)[:3]
    dtype = str(data.ty.dtype)
    refuse_unknown(dtype, scale, attributes)
    axis = axis_of(attributes, data.ty.ndim)
    zero_point = relax.const(0, dtype) if zero_point is None else zero_point
    if (quantization := constant_quantization(scale, zero_point, dtype, axis)) is not None:
        return qdq.dequantize(data, quantization)
    return R.dequantize(data, scale, zero_point, axis, "float32")


def refuse_unknown(dtype: str, scale: relax.Expr, attributes: dict[str, Any]) -> None:
    """Raise NotImplementedError for what the QDQ form does not have."""
    if dtype not in KNOWN_DTYPES:
        raise NotImplementedError(f"quantized as {dtype}; {', '.join(KNOWN_DTYPES)} are supported")
    if attributes.get("block_size", 0):
        raise NotImplementedError("a scale for each block of an axis")
    if str(scale.ty.dtype) != "float32":
        raise NotImplementedError(f"a scale of {scale.ty.dtype}")


def axis_of(attributes: dict[str, Any], rank: int) -> int:
    """The axis that the scale runs along, counted from the front; of no meaning where there is one scale."""
    axis = attributes.get("axis", 1)
    return axis % rank if -rank <= axis < rank else 0


def constant_quantization(scale: relax.Expr, zero_point: relax.Expr, dtype: str, axis: int) -> Quantization | None:
    """None where the network computes its own scale or zero point."""
    if not isinstance(scale, GenericConst) or not isinstance(zero_point, GenericConst):
        return None
    scales, zero_points = (a.reshape(()) if a.size == 1 else a for a in (scale.value.numpy(), zero_point.value.numpy()))
    if scales.ndim > 1:
        raise NotImplementedError(f"a scale of shape {scales.shape}")
    zero_points = np.ascontiguousarray(np.broadcast_to(zero_points.astype("int32"), scales.shape))
    return Quantization(scales, zero_points.reshape(scales.shape), dtype, axis)


def dynamic_quantize_linear(inputs: list[relax.Expr], _: dict[str, Any]) -> relax.Expr:
    """DynamicQuantizeLinear to uint8; TVM's divides by zero where the tensor is all zeros."""
    (data,) = inputs
    zero = relax.const(0.0, "float32")
    low, high = R.minimum(R.min(data), zero), R.maximum(R.max(data), zero)
    span = R.subtract(high, low)
    scale = R.where(R.equal(span, zero), relax.const(1.0, "float32"), R.divide(span, relax.const(255.0, "float32")))
    zero_point = R.astype(R.clip(R.round(R.divide(R.negative(low), scale)), 0, 255), "uint8")
    return relax.Tuple([R.quantize(data, scale, zero_point, 0, "uint8"), scale, zero_point])


CONVERTERS = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
}
