"""TFLite in: a table of operators, each a few lines, straight to Relax in TFLite's own NHWC layout.

TVM's own TFLite importer is not used: it drops the fused activation of TRANSPOSE_CONV and has no NHWC lowering for it.
Semantics follow the LiteRT reference kernels (tensorflow/lite/kernels/internal/reference).
"""

import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from tvm import relax
from tvm.ir import IRModule
from tvm.relax import op as R

from tvmpose.errors import ModelError
from tvmpose.modelspec import ModelSpec, TensorSpec

_DTYPES = {
    tflite.TensorType.FLOAT32: "float32",
    tflite.TensorType.FLOAT16: "float16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.UINT8: "uint8",
    tflite.TensorType.INT64: "int64",
    tflite.TensorType.BOOL: "bool",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT8: "int8",
}
_OPERATOR_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_OPTION_NAMES = {code: name for name, code in vars(tflite.BuiltinOptions).items() if isinstance(code, int)}


@dataclass(frozen=True)
class _Operator:
    """One operator of the file, with its operands as Relax expressions and, where constant, as arrays."""

    builder: relax.BlockBuilder
    name: str
    options: Any  # the flatbuffer's options table, or None
    inputs: tuple[relax.Expr | None, ...]
    constants: tuple[np.ndarray | None, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    output_dtype: str

    def shape(self, index: int) -> tuple[int, ...]:
        return _static_shape(self.inputs[index])

    def constant(self, index: int) -> np.ndarray:
        value = self.constants[index]
        if value is None:
            raise ModelError(f"operand {index} of {self.name} must be a constant")
        return value

    def emit(self, expression: relax.Expr) -> relax.Expr:
        return self.builder.emit(expression)


def load(path: str | Path, outputs: list[str] | None = None) -> tuple[IRModule, ModelSpec]:
    """Import a float TFLite file (fp16 weights included).

    outputs: names of tensors to return in place of the model's own outputs, to compare intermediate results.
    Raises ModelError for what is not TFLite, is damaged, is quantized, or has an operator we lack (all are named).
    """
    data = Path(path).read_bytes()
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path} is not a TFLite model (no TFL3 identifier)")
    try:
        return _Importer(tflite.Model.GetRootAs(data, 0), data, str(path)).run(outputs)
    except (struct.error, IndexError, ValueError, TypeError, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise ModelError(f"{path} is damaged or truncated ({type(error).__name__}: {_first_line(error)})") from error


def tensor_names(path: str | Path) -> list[str]:
    """The float tensors that the file's operators compute, in order."""
    data = Path(path).read_bytes()
    importer = _Importer(tflite.Model.GetRootAs(data, 0), data, str(path))
    operators = [importer.graph.Operators(i) for i in range(importer.graph.OperatorsLength())]
    computed = [importer._spec(int(i)) for operator in operators for i in operator.OutputsAsNumpy()]
    constant = {"DEQUANTIZE", "DENSIFY"}  # of weights: nothing to compare
    kinds = [importer._operator_name(operator) for operator in operators for _ in operator.OutputsAsNumpy()]
    return [spec.name for spec, kind in zip(computed, kinds, strict=True) if kind not in constant and spec.dtype == "float32"]


class _Importer:
    def __init__(self, model: tflite.Model, data: bytes, path: str):
        self.model, self.data, self.path = model, data, path
        if model.SubgraphsLength() != 1:
            raise ModelError(f"{path} has {model.SubgraphsLength()} subgraphs; one is supported")
        self.graph = model.Subgraphs(0)
        self.tensors = [self.graph.Tensors(i) for i in range(self.graph.TensorsLength())]
        self.values: dict[int, relax.Expr] = {}  # tensor index -> expression
        self.arrays: dict[int, np.ndarray] = {}  # tensor index -> constant

    def run(self, outputs: list[str] | None) -> tuple[IRModule, ModelSpec]:
        operators = [self.graph.Operators(i) for i in range(self.graph.OperatorsLength())]
        self._refuse_unsupported(operators)
        builder = relax.BlockBuilder()
        input_indices = [int(i) for i in self.graph.InputsAsNumpy()]
        variables = [relax.Var(_identifier(self._spec(i).name), self._type(i)) for i in input_indices]
        self.values.update(zip(input_indices, variables, strict=True))
        with builder.function("main", variables):
            with builder.dataflow():
                for operator in operators:
                    self._convert(builder, operator)
                output_indices = self._output_indices(outputs)
                result = builder.emit_output(relax.Tuple([self._expression(i) for i in output_indices]))
            builder.emit_func_output(result)
        specs = ModelSpec("tflite", *(tuple(map(self._spec, ids)) for ids in (input_indices, output_indices)))
        return builder.get(), specs

    def _refuse_unsupported(self, operators: list[tflite.Operator]) -> None:
        missing = defaultdict(list)
        for position, operator in enumerate(operators):
            name = self._operator_name(operator)
            if name not in OPERATORS:
                missing[name].append(f"#{position} -> {self._spec(operator.Outputs(0)).name}")
        if missing:
            places = "; ".join(f"{name} at {_some(where)}" for name, where in missing.items())
            raise ModelError(f"{self.path} has unsupported operators: {places}")
        for index, tensor in enumerate(self.tensors):
            quantization = tensor.Quantization()
            if quantization is not None and quantization.ScaleLength() and self._spec(index).dtype != "float32":
                raise ModelError(f"{self.path} is quantized (tensor {self._spec(index).name}); float models only for now")

    def _operator_name(self, operator: tflite.Operator) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if builtin == tflite.BuiltinOperator.CUSTOM:
            return f"CUSTOM {code.CustomCode().decode()}"
        return _OPERATOR_NAMES.get(builtin, f"operator {builtin}")

    def _convert(self, builder: relax.BlockBuilder, operator: tflite.Operator) -> None:
        ids = [int(operator.Inputs(i)) for i in range(operator.InputsLength())]
        results = [int(operator.Outputs(i)) for i in range(operator.OutputsLength())]
        name = self._operator_name(operator)
        described = _Operator(
            builder,
            name,
            self._options(operator),
            tuple(None if i < 0 else self._expression(i) for i in ids),
            tuple(None if i < 0 else self._array(i) for i in ids),
            tuple(self._spec(i).shape for i in results),
            self._spec(results[0]).dtype,
        )
        if name == "DEQUANTIZE" and described.constants[0] is not None:  # fp16 weights: exact in fp32
            self.arrays[results[0]] = described.constants[0].astype("float32")
            return
        converted = OPERATORS[name](described)
        for index, value in zip(results, converted if isinstance(converted, list) else [converted], strict=True):
            self.values[index] = builder.emit(value, _identifier(self._spec(index).name))
            if _static_shape(self.values[index]) != self._spec(index).shape:
                found, expected = _static_shape(self.values[index]), self._spec(index).shape
                raise ModelError(f"{name} -> {self._spec(index).name} has shape {found}, the file says {expected}")

    def _options(self, operator: tflite.Operator) -> Any:
        table = operator.BuiltinOptions()
        if table is None:
            return None
        options = getattr(tflite, _OPTION_NAMES[operator.BuiltinOptionsType()])()
        options.Init(table.Bytes, table.Pos)
        return options

    def _output_indices(self, names: list[str] | None) -> list[int]:
        if names is None:
            return [int(i) for i in self.graph.OutputsAsNumpy()]
        known = {self._spec(i).name: i for i in range(len(self.tensors))}
        return [known[name] for name in names]

    def _expression(self, index: int) -> relax.Expr:
        if index not in self.values:
            array = self._array(index)
            if array is None:
                raise ModelError(f"tensor {self._spec(index).name} is used before anything computes it")
            self.values[index] = relax.const(array)
        return self.values[index]

    def _array(self, index: int) -> np.ndarray | None:
        if index in self.arrays:
            return self.arrays[index]
        buffer = self.model.Buffers(self.tensors[index].Buffer())
        if buffer.DataLength():
            raw = buffer.DataAsNumpy().tobytes()
        elif buffer.Offset() > 1:  # files over 2 GB, and ai-edge-quantizer's, keep their data behind the flatbuffer
            raw = self.data[buffer.Offset() : buffer.Offset() + buffer.Size()]
        else:
            return None
        spec = self._spec(index)
        self.arrays[index] = np.frombuffer(raw, spec.dtype).reshape(spec.shape)
        return self.arrays[index]

    def _spec(self, index: int) -> TensorSpec:
        tensor = self.tensors[index]
        dtype = _DTYPES.get(tensor.Type())
        if dtype is None:
            raise ModelError(f"tensor {tensor.Name().decode()} has the unsupported type {tensor.Type()}")
        shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
        return TensorSpec(tensor.Name().decode(), tuple(int(n) for n in shape), dtype)

    def _type(self, index: int) -> relax.TensorType:
        return relax.TensorType(self._spec(index).shape, self._spec(index).dtype)


# -- operators ---------------------------------------------------------------------------------------------------------


def _activation(operator: _Operator, value: relax.Expr) -> relax.Expr:
    kind = operator.options.FusedActivationFunction() if operator.options is not None else 0
    functions: dict[int, Callable[[relax.Expr], relax.Expr]] = {
        tflite.ActivationFunctionType.NONE: lambda x: x,
        tflite.ActivationFunctionType.RELU: R.nn.relu,
        tflite.ActivationFunctionType.RELU6: lambda x: R.clip(x, 0.0, 6.0),
        tflite.ActivationFunctionType.RELU_N1_TO_1: lambda x: R.clip(x, -1.0, 1.0),
        tflite.ActivationFunctionType.TANH: R.tanh,
    }
    if kind not in functions:
        raise ModelError(f"{operator.name} has the unsupported fused activation {kind}")
    return functions[kind](value if kind == 0 else operator.emit(value))


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's SAME: the odd pixel goes behind."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _window(operator: _Operator, kernel: tuple[int, int], dilation: tuple[int, int]) -> dict[str, Any]:
    """Strides and explicit padding (top, left, bottom, right) of a convolution or pooling."""
    options = operator.options
    strides = (options.StrideH(), options.StrideW())
    padding = [0, 0, 0, 0]
    if options.Padding() == tflite.Padding.SAME:
        for axis in (0, 1):
            size = operator.shape(0)[1 + axis]
            padding[axis], padding[axis + 2] = _same_padding(size, kernel[axis], strides[axis], dilation[axis])
    return {"strides": strides, "padding": tuple(padding), "dilation": dilation}


def _bias_and_activation(operator: _Operator, value: relax.Expr, bias: int) -> relax.Expr:
    if len(operator.inputs) > bias and operator.inputs[bias] is not None:
        value = R.add(operator.emit(value), operator.inputs[bias])
    return _activation(operator, value)


def _conv_2d(operator: _Operator) -> relax.Expr:
    weight = operator.constant(1).transpose(1, 2, 3, 0)  # OHWI -> HWIO
    dilation = (operator.options.DilationHFactor(), operator.options.DilationWFactor())
    window = _window(operator, weight.shape[:2], dilation)
    groups = operator.shape(0)[3] // weight.shape[2]
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    value = R.nn.conv2d(operator.inputs[0], _const(weight), groups=groups, **window, **layouts)
    return _bias_and_activation(operator, value, 2)


def _depthwise_conv_2d(operator: _Operator) -> relax.Expr:
    _, height, width, channels = operator.constant(1).shape
    groups = operator.shape(0)[3]
    weight = operator.constant(1).reshape(height, width, channels, 1)  # HWOI, channels in TFLite's own order
    dilation = (operator.options.DilationHFactor(), operator.options.DilationWFactor())
    window = _window(operator, (height, width), dilation)
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWOI"}
    value = R.nn.conv2d(operator.inputs[0], _const(weight), groups=groups, **window, **layouts)
    return _bias_and_activation(operator, value, 2)


def _transpose_conv(operator: _Operator) -> relax.Expr:
    weight = operator.constant(1).transpose(3, 0, 1, 2)  # OHWI -> IOHW
    _, out_height, out_width, _ = operator.output_shapes[0]
    strides = (operator.options.StrideH(), operator.options.StrideW())
    padding, output_padding = [0, 0, 0, 0], [0, 0]
    for axis, out_size in enumerate((out_height, out_width)):
        full = (operator.shape(2)[1 + axis] - 1) * strides[axis] + weight.shape[2 + axis]
        before = 0
        if operator.options.Padding() == tflite.Padding.SAME:
            before = max(full - out_size, 0) // 2
        padding[axis], padding[axis + 2] = before, max(full - out_size - before, 0)
        output_padding[axis] = max(out_size - full, 0)
    value = R.nn.conv2d_transpose(
        operator.inputs[2],
        _const(weight),
        strides=strides,
        padding=tuple(padding),
        output_padding=tuple(output_padding),
        data_layout="NHWC",
        kernel_layout="IOHW",
    )
    return _bias_and_activation(operator, value, 3)


def _fully_connected(operator: _Operator) -> relax.Expr:
    """A dense layer is a 1x1 convolution over an image of one row."""
    weight = operator.constant(1)  # (outputs, inputs)
    rows = int(np.prod(operator.shape(0))) // weight.shape[1]
    flat = operator.emit(R.reshape(operator.inputs[0], (1, 1, rows, weight.shape[1])))
    value = R.nn.conv2d(flat, _const(weight.T[None, None]), data_layout="NHWC", kernel_layout="HWIO")
    value = operator.emit(_bias_and_activation(operator, value, 2))
    return R.reshape(value, operator.output_shapes[0])


def _pool(function: Callable[..., relax.Expr], **extra: Any) -> Callable[[_Operator], relax.Expr]:
    def convert(operator: _Operator) -> relax.Expr:
        size = (operator.options.FilterHeight(), operator.options.FilterWidth())
        window = _window(operator, size, (1, 1))
        return _activation(operator, function(operator.inputs[0], size, layout="NHWC", **window, **extra))

    return convert


def _pad(operator: _Operator) -> relax.Expr:
    widths = operator.constant(1).astype(int)
    value = float(operator.constant(2).item()) if len(operator.inputs) > 2 else 0.0
    return R.nn.pad(operator.inputs[0], widths.flatten().tolist(), "constant", value)


def _resize(method: str) -> Callable[[_Operator], relax.Expr]:
    def convert(operator: _Operator) -> relax.Expr:
        options = operator.options
        mode = "align_corners" if options.AlignCorners() else "half_pixel" if options.HalfPixelCenters() else "asymmetric"
        size = tuple(int(n) for n in operator.constant(1))
        # LiteRT rounds align_corners half away from zero and floors in the other modes
        rounding = "round_prefer_ceil" if options.AlignCorners() else "floor"
        return R.image.resize2d(
            operator.inputs[0],
            size,
            layout="NHWC",
            method=method,
            coordinate_transformation_mode=mode,
            rounding_method=rounding if method == "nearest_neighbor" else "round",
        )

    return convert


def _concatenation(operator: _Operator) -> relax.Expr:
    return _activation(operator, R.concat(list(operator.inputs), operator.options.Axis()))


def _split(operator: _Operator) -> list[relax.Expr]:
    parts = operator.emit(R.split(operator.inputs[1], operator.options.NumSplits(), int(operator.constant(0).item())))
    return [relax.TupleGetItem(parts, i) for i in range(operator.options.NumSplits())]


def _strided_slice(operator: _Operator) -> relax.Expr:
    options = operator.options
    if options.EllipsisMask() or options.NewAxisMask():
        raise ModelError("STRIDED_SLICE with an ellipsis or a new axis is not supported")
    begin, end, strides = (operator.constant(i).astype(int).tolist() for i in (1, 2, 3))
    for axis, size in enumerate(operator.shape(0)):
        begin[axis] = 0 if options.BeginMask() >> axis & 1 else begin[axis]
        end[axis] = size if options.EndMask() >> axis & 1 else end[axis]
        if options.ShrinkAxisMask() >> axis & 1:
            begin[axis] %= size
            end[axis] = begin[axis] + 1
    axes = list(range(len(begin)))
    value = operator.emit(R.strided_slice(operator.inputs[0], axes, begin, end, strides))
    return R.reshape(value, operator.output_shapes[0])


def _slice(operator: _Operator) -> relax.Expr:
    begin, size = (operator.constant(i).astype(int) for i in (1, 2))
    end = np.where(size < 0, operator.shape(0), begin + size)
    return R.strided_slice(operator.inputs[0], list(range(len(begin))), begin.tolist(), end.tolist())


def _mean(operator: _Operator) -> relax.Expr:
    axes = [int(axis) for axis in operator.constant(1).flatten()]
    return R.mean(operator.inputs[0], axes, bool(operator.options.KeepDims()))


def _softmax(operator: _Operator) -> relax.Expr:
    beta = operator.options.Beta()
    value = operator.inputs[0] if beta == 1 else operator.emit(R.multiply(operator.inputs[0], _const(np.float32(beta))))
    return R.nn.softmax(value)


def _hard_swish(operator: _Operator) -> relax.Expr:
    x = operator.inputs[0]
    gate = R.clip(operator.emit(R.add(x, _const(np.float32(3)))), 0.0, 6.0)
    return R.multiply(operator.emit(R.multiply(x, operator.emit(gate))), _const(np.float32(1 / 6)))


def _prelu(operator: _Operator) -> relax.Expr:
    x, slope = operator.inputs[:2]
    zero = _const(np.float32(0))
    negative = operator.emit(R.multiply(operator.emit(R.minimum(x, zero)), slope))
    return R.add(operator.emit(R.maximum(x, zero)), negative)


def _depth_to_space(operator: _Operator) -> relax.Expr:
    _, height, width, channels = operator.shape(0)
    block = operator.options.BlockSize()
    value = R.reshape(operator.inputs[0], (1, height, width, block, block, channels // block**2))
    value = operator.emit(R.permute_dims(operator.emit(value), [0, 1, 3, 2, 4, 5]))
    return R.reshape(value, operator.output_shapes[0])


def _unary(function: Callable[[relax.Expr], relax.Expr]) -> Callable[[_Operator], relax.Expr]:
    return lambda operator: function(operator.inputs[0])


def _binary(function: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Callable[[_Operator], relax.Expr]:
    return lambda operator: _activation(operator, function(*operator.inputs))


def _reshape(operator: _Operator) -> relax.Expr:
    return R.reshape(operator.inputs[0], operator.output_shapes[0])


OPERATORS: dict[str, Callable[[_Operator], relax.Expr | list[relax.Expr]]] = {
    "ADD": _binary(R.add),
    "AVERAGE_POOL_2D": _pool(R.nn.avg_pool2d, count_include_pad=False),
    "CAST": lambda operator: R.astype(operator.inputs[0], operator.output_dtype),
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DEQUANTIZE": lambda operator: R.astype(operator.inputs[0], "float32"),
    "DIV": _binary(R.divide),
    "EXP": _unary(R.exp),
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": lambda operator: R.nn.leakyrelu(operator.inputs[0], operator.options.Alpha()),
    "LOGISTIC": _unary(R.sigmoid),
    "MAXIMUM": _binary(R.maximum),
    "MAX_POOL_2D": _pool(R.nn.max_pool2d),
    "MEAN": _mean,
    "MINIMUM": _binary(R.minimum),
    "MUL": _binary(R.multiply),
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": _prelu,
    "RELU": _unary(R.nn.relu),
    "RELU6": _unary(lambda x: R.clip(x, 0.0, 6.0)),
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest_neighbor"),
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _binary(R.subtract),
    "TANH": _unary(R.tanh),
    "TRANSPOSE": lambda operator: R.permute_dims(operator.inputs[0], [int(i) for i in operator.constant(1)]),
    "TRANSPOSE_CONV": _transpose_conv,
}


def _const(array: np.ndarray) -> relax.Expr:
    return relax.const(np.ascontiguousarray(array))


def _static_shape(expression: relax.Expr) -> tuple[int, ...]:
    return tuple(int(n) for n in expression.ty.shape)


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name) or "tensor"


def _some(places: list[str], limit: int = 4) -> str:
    more = f" and {len(places) - limit} more" if len(places) > limit else ""
    return ", ".join(places[:limit]) + more


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
