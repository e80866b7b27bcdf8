"""ONNX files: read, check, fold shapes, import through TVM with the converters below in place of some of its own."""

import contextlib
import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import tvm
from google.protobuf.message import DecodeError
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvmpose.errors import ModelError
from tvmpose.frontend import onnx_quantized, onnx_recurrent
from tvmpose.frontend.alternatives import listed
from tvmpose.frontend.module_spec import REFUSED, first_line, with_spec
from tvmpose.modelspec import ModelSpec

# What onnx and onnxslim raise for a graph they cannot make sense of.
INVALID_GRAPH = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, TypeError)


def load(
    path: str | Path,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] | None = None,
) -> tuple[tvm.IRModule, ModelSpec]:
    """Import an ONNX file.

    ``input_shapes`` fixes dynamic dimensions by input name; a dynamic batch becomes 1 by itself. ``outputs`` names
    tensors to return in place of the model's own, to compare intermediate results. Layout and dtypes are the file's.
    Raises ModelError for a file that is not ONNX, is damaged, or has dynamic shapes or operators we lack.
    """
    model = read(path)
    freeze_inputs(model, input_shapes or {})
    onnx_quantized.expand_quantized(model)
    if outputs is not None:
        select_outputs(model, outputs)
    refuse_unsupported(model)
    model = fold_shapes(model)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the importer prints what it then raises
            module = Importer(shape_dict={}, dtype_dict="float32", sanitize=False).run(model)
    except REFUSED as error:
        raise ModelError(f"{path}: cannot be imported: {first_line(error)}") from error
    inputs = [parameter.name for parameter in module["main"].params]
    return with_spec(module, "onnx", inputs, [value.name for value in model.graph.output])


def tensor_names(path: str | Path) -> list[str]:
    """The float32 and byte tensors that the file's nodes compute from its inputs, in order: what load can return."""
    model = read(path)
    freeze_inputs(model, {})
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    constants = {tensor.name for tensor in graph.initializer}
    varying = {value.name for value in graph.input} - constants
    kinds, names = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8), list[str]()
    for node in graph.node:
        if varying.intersection(node.input):
            varying.update(node.output)
            names += [name for name in node.output if typed.get(name) in kinds]
    return names


def read(path: str | Path) -> onnx.ModelProto:
    """The checked model, weights in external files included. Raises ModelError."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX file, or truncated") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except INVALID_GRAPH as error:
        raise ModelError(f"{path}: not a valid ONNX model: {first_line(error)}") from error
    refuse_unknown_types(model, path)
    return model


def refuse_unknown_types(model: onnx.ModelProto, path: str | Path) -> None:
    """Raise ModelError for an element type that ONNX does not have, which its checker lets pass."""
    graph, known = model.graph, set(onnx.TensorProto.DataType.values())
    kinds = [(tensor.name, tensor.data_type) for tensor in graph.initializer]
    kinds += [(v.name, v.type.tensor_type.elem_type) for v in (*graph.input, *graph.output, *graph.value_info)]
    for name, kind in kinds:
        if kind not in known:
            raise ModelError(f"{path}: not a valid ONNX model: tensor {name} has elements of the type {kind}")


def freeze_inputs(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make every input's shape static, in place; shapes that were inferred from the dynamic ones are forgotten."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if unknown := sorted(set(shapes) - {value.name for value in inputs}):
        raise ModelError(f"no input {', '.join(unknown)}; the model has {', '.join(value.name for value in inputs)}")
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if value.name in shapes:
                dim.dim_value = shapes[value.name][axis]
            elif not dim.HasField("dim_value") and axis == 0:
                dim.dim_value = 1
            elif not dim.HasField("dim_value"):
                shown = ", ".join(str(d.dim_value or d.dim_param or "?") for d in dims)
                raise ModelError(f"input {value.name} has the dynamic shape [{shown}]; give its size with input_shapes")
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def select_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Let the graph return the named tensors, in place."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = {value.name: value for value in (*graph.value_info, *graph.output)}
    if unknown := [name for name in names if name not in typed]:
        raise ModelError(f"the model computes no tensor {', '.join(unknown)}")
    del model.graph.output[:]
    model.graph.output.extend(typed[name] for name in names)


def refuse_unsupported(model: onnx.ModelProto) -> None:
    """Raise ModelError naming every operator that has no converter, and each node that uses it."""
    known = (onnx_frontend._get_convert_map().keys() | CONVERTERS.keys() | RECURRENT.keys()) - {"If"}
    lacking = defaultdict(list)
    for index, node in enumerate(model.graph.node):
        if node.op_type not in known or node.domain not in ("", "ai.onnx", "com.microsoft"):
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            lacking[operator].append(node.name or f"#{index}")
    if lacking:
        raise ModelError(f"unsupported ONNX operators: {listed(lacking, known)}")


def fold_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what depends on shapes and constants alone, and fold batch norm into the convolutions before it."""
    try:
        return onnxslim.slim(model)
    except INVALID_GRAPH as error:
        raise ModelError(f"shapes do not fit together: {first_line(error)}") from error
    except REFUSED as error:  # its own slips on graphs that are damaged
        raise ModelError(f"onnxslim cannot read the graph: {type(error).__name__} {first_line(error)}") from error


class Importer(onnx_frontend.ONNXGraphImporter):
    """TVM's importer with CONVERTERS looked up first, and the node's name in its errors."""

    def run(self, model: onnx.ModelProto) -> tvm.IRModule:
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        return self.from_onnx(model.graph, opset)

    def _check_for_unsupported_ops(self, graph):  # type: ignore[no-untyped-def]
        """refuse_unsupported has looked, and knows our converters too."""

    def _convert_operator(self, op_name, inputs, attrs, opset):  # type: ignore[no-untyped-def]
        name = attrs["tvm_custom"]["name"]
        try:
            if op_name in RECURRENT:
                return RECURRENT[op_name](self.bb, list(inputs), attrs)
            if op_name in CONVERTERS:
                return self.bb.normalize(CONVERTERS[op_name](list(inputs), attrs))
            return super()._convert_operator(op_name, inputs, attrs, opset)
        except REFUSED as error:
            raise ModelError(f"ONNX operator {op_name} at {name}: {first_line(error)}") from error


def clip(inputs: list[relax.Expr], attributes: dict[str, Any]) -> relax.Expr:
    """Clip as one relax.clip: TVM's converter emits loops of its own, which no later pass sees through.

    The bounds are attributes up to opset 6 and inputs from 11 on; NaN and a missing bound mean no bound.
    """
    data, *bounds = inputs
    low, high = (*map(scalar, bounds), None, None)[:2]
    low, high = attributes.get("min", low), attributes.get("max", high)
    dtype = str(data.ty.dtype)
    limits = np.iinfo(dtype) if "int" in dtype else Unlimited
    number = type(limits.max)
    low = limits.min if low is None or np.isnan(low) else number(low)
    high = limits.max if high is None or np.isnan(high) else number(high)
    return relax.op.clip(data, low, high)


def pad(inputs: list[relax.Expr], attributes: dict[str, Any]) -> relax.Expr:
    """Pad as one relax.nn.pad, for the same reason.

    Amounts, value and axes are attributes up to opset 10 and inputs from 11 on.
    """
    data, amounts, value, axes = (*inputs, None, None, None)[:4]
    rank = data.ty.ndim
    before, after = np.split(constant(amounts) if amounts is not None else np.array(attributes["pads"]), 2)
    selected = range(rank) if axes is None else constant(axes) % rank
    widths = np.zeros((rank, 2), "int64")
    widths[list(selected)] = np.stack([before, after], axis=1)
    mode = PAD_MODES[attributes.get("mode", b"constant").decode()]
    fill = attributes.get("value", 0.0) if value is None else scalar(value)
    return relax.op.nn.pad(data, widths.flatten().tolist(), mode, fill)


def constant(expression: relax.Expr) -> np.ndarray:
    """The value of an input that has to be constant."""
    if not isinstance(expression, tvm.ir.GenericConst):
        raise NotImplementedError("an argument that must be constant is computed by the network")
    return expression.value.numpy()


def scalar(expression: relax.Expr | None) -> float | None:
    """The value of a constant with one element; None for an input that is left out."""
    return None if expression is None else constant(expression).item()


class Unlimited:
    min, max = -np.inf, np.inf


PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
Converter = Callable[[list[relax.Expr], dict[str, Any]], relax.Expr]
RECURRENT = {name: onnx_recurrent.converter(name) for name in ("LSTM", "GRU", "RNN")}
CONVERTERS: dict[str, Converter] = {"Clip": clip, "Pad": pad, **onnx_quantized.CONVERTERS}
