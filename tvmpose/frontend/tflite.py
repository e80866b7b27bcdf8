"""TFLite in: a table of operators, each a few lines, straight to Relax in TFLite's own NHWC layout.

TVM's own TFLite importer is not used: it drops the fused activation of TRANSPOSE_CONV and has no NHWC lowering for it.
Semantics follow the LiteRT reference kernels (tensorflow/lite/kernels/internal/reference).
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from tvm import relax
from tvm.ir import IRModule
from tvm.relax import op as R

from tvmpose.errors import ModelError
from tvmpose.frontend.module_spec import first_line
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
# What flatbuffers, NumPy and Relax raise where a length, an index, a type or a shape is not what it should be.
_DAMAGE = (struct.error, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError, RuntimeError)
_MAX_RANK, _MAX_ELEMENTS = 8, 2**31
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


def load(path: str | Path, outputs: Sequence[str] | None = None) -> tuple[IRModule, ModelSpec]:
    """Import a float TFLite file (fp16 weights included).

    outputs: names of tensors to return in place of the model's own outputs, to compare intermediate results.
    Raises ModelError for what is not TFLite, is damaged, is quantized, or has an operator we lack (all are named).
    """
    with _reading(path) as importer:
        return importer.run(outputs)


def tensor_names(path: str | Path) -> list[str]:
    """The float tensors that the file's operators compute, in order. Raises ModelError as load does."""
    constant = {"DEQUANTIZE", "DENSIFY"}  # of weights: nothing to compare
    with _reading(path) as importer:
        computing = [op for op in importer.operators() if importer.operator_name(op) not in constant]
        computed = [importer.spec(int(i)) for operator in computing for i in operator.OutputsAsNumpy()]
        return [spec.name for spec in computed if spec.dtype == "float32"]


@contextmanager
def _reading(path: str | Path) -> Iterator["_Importer"]:
    """The file's importer, its errors and those of using it as ModelErrors."""
    try:
        data = Path(path).read_bytes()
        if data[4:8] != b"TFL3":
            raise ModelError(f"{path} is not a TFLite model (no TFL3 identifier)")
        yield _Importer(tflite.Model.GetRootAs(data, 0), data, str(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise ModelError(f"{path} is damaged or truncated ({type(error).__name__}: {first_line(error)})") from error


class _Importer:
    def __init__(self, model: tflite.Model, data: bytes, path: str):
        self.model, self.data, self.path = model, data, path
        if model.SubgraphsLength() != 1:
            raise ModelError(f"{path} has {model.SubgraphsLength()} subgraphs; one is supported")
        self.graph = model.Subgraphs(0)
        self.tensors = [self.graph.Tensors(i) for i in range(self.graph.TensorsLength())]
        self.values: dict[int, relax.Expr] = {}  # tensor index -> expression
        self.arrays: dict[int, np.ndarray] = {}  # tensor index -> constant

    def run(self, outputs: Sequence[str] | None) -> tuple[IRModule, ModelSpec]:
        operators = self.operators()
        self._refuse_unsupported(operators)
        builder = relax.BlockBuilder()
        input_indices = [int(i) for i in self.graph.InputsAsNumpy()]
        variables = [relax.Var(_identifier(self.spec(i).name), self._type(i)) for i in input_indices]
        self.values.update(zip(input_indices, variables, strict=True))
        result: relax.Expr = relax.Tuple([])
        with builder.function("main", variables):
            try:
                with builder.dataflow():
                    for operator in operators:
                        self._convert(builder, operator)
                    output_indices = self._output_indices(outputs)
                    result = builder.emit_output(relax.Tuple([self._expression(i) for i in output_indices]))
            finally:  # of a function left open, TVM warns on stderr
                builder.emit_func_output(result)
        specs = ModelSpec("tflite", *(tuple(map(self.spec, ids)) for ids in (input_indices, output_indices)))
        return builder.get(), specs

    def operators(self) -> list[tflite.Operator]:
        """In order of execution."""
        return [self.graph.Operators(i) for i in range(self.graph.OperatorsLength())]

    def _refuse_unsupported(self, operators: list[tflite.Operator]) -> None:
        missing = defaultdict(list)
        for position, operator in enumerate(operators):
            name = self.operator_name(operator)
            if name not in OPERATORS:
                missing[name].append(f"#{position} -> {self.spec(operator.Outputs(0)).name}")
        if missing:
            places = "; ".join(f"{name} at {_some(where)}" for name, where in missing.items())
            raise ModelError(f"{self.path} has unsupported operators: {places}")
        for index, tensor in enumerate(self.tensors):
            quantization = tensor.Quantization()
            if quantization is not None and quantization.ScaleLength() and self.spec(index).dtype != "float32":
                raise ModelError(
                    f"{self.path} is quantized (tensor {self.spec(index).name}); float models only for now"
                )

    def operator_name(self, operator: tflite.Operator) -> str:
        code = _entry(self.model.OperatorCodes, self.model.OperatorCodesLength(), operator.OpcodeIndex())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if builtin == tflite.BuiltinOperator.CUSTOM:
            return f"CUSTOM {code.CustomCode().decode()}"
        return _OPERATOR_NAMES.get(builtin, f"operator {builtin}")

    def _convert(self, builder: relax.BlockBuilder, operator: tflite.Operator) -> None:
        ids = [int(operator.Inputs(i)) for i in range(operator.InputsLength())]
        results = [int(operator.Outputs(i)) for i in range(operator.OutputsLength())]
        name = self.operator_name(operator)
        described = _Operator(
            builder,
            name,
            self._options(operator),
            tuple(None if i < 0 else self._expression(i) for i in ids),
            tuple(None if i < 0 else self._array(i) for i in ids),
            tuple(self.spec(i).shape for i in results),
            self.spec(results[0]).dtype,
        )
        if name == "DEQUANTIZE" and described.constants[0] is not None:  # fp16 weights: exact in fp32
            self.arrays[results[0]] = described.constants[0].astype("float32")
            return
        for index, value in zip(results, self._emitted(described, results), strict=True):
            self.values[index] = value
            if _static_shape(value) != self.spec(index).shape:
                found, expected = _static_shape(value), self.spec(index).shape
                raise ModelError(f"{name} -> {self.spec(index).name} has shape {found}, the file says {expected}")

    def _emitted(self, operator: _Operator, results: list[int]) -> list[relax.Var]:
        """The operator's outputs in the graph, where Relax checks what it was given."""
        names = [self.spec(index).name for index in results]
        try:
            converted = OPERATORS[operator.name](operator)
            values = converted if isinstance(converted, list) else [converted]
            return [operator.builder.emit(v, _identifier(name)) for v, name in zip(values, names, strict=True)]
        except _DAMAGE as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ModelError(f"{operator.name} -> {names[0]} cannot be imported ({reason})") from error

    def _options(self, operator: tflite.Operator) -> Any:
        table = operator.BuiltinOptions()
        if table is None:
            return None
        options = getattr(tflite, _OPTION_NAMES[operator.BuiltinOptionsType()])()
        options.Init(table.Bytes, table.Pos)
        return options

    def _output_indices(self, names: Sequence[str] | None) -> list[int]:
        if names is None:
            return [int(i) for i in self.graph.OutputsAsNumpy()]
        known = {self.spec(i).name: i for i in range(len(self.tensors))}
        if unknown := [name for name in names if name not in known]:
            raise ModelError(f"{self.path} computes no tensor {', '.join(unknown)}")
        return [known[name] for name in names]

    def _expression(self, index: int) -> relax.Expr:
        if index not in self.values:
            array = self._array(index)
            if array is None:
                raise ModelError(f"tensor {self.spec(index).name} is used before anything computes it")
            self.values[index] = relax.const(array)
        return self.values[index]

    def _array(self, index: int) -> np.ndarray | None:
        if index in self.arrays:
            return self.arrays[index]
        spec = self.spec(index)
        buffer = _entry(self.model.Buffers, self.model.BuffersLength(), self.tensors[index].Buffer())
        if buffer.DataLength():
            raw = buffer.DataAsNumpy().tobytes()
        elif buffer.Offset() > 1:  # files over 2 GB, and ai-edge-quantizer's, keep their data behind the flatbuffer
            raw = self.data[buffer.Offset() : buffer.Offset() + buffer.Size()]
        elif 0 in spec.shape:  # the shape of a scalar, for one
            raw = b""
        else:
            return None
        self.arrays[index] = np.frombuffer(raw, spec.dtype).reshape(spec.shape)
        return self.arrays[index]

    def spec(self, index: int) -> TensorSpec:
        """Name, shape and dtype of a tensor of the file."""
        tensor = _entry(self.tensors.__getitem__, len(self.tensors), index)
        name = (tensor.Name() or b"").decode()
        dtype = _DTYPES.get(tensor.Type())
        if dtype is None:
            raise ModelError(f"tensor {name} has the unsupported type {tensor.Type()}")
        shape = tuple(map(int, tensor.ShapeAsNumpy())) if tensor.ShapeLength() else ()
        if len(shape) > _MAX_RANK or any(n < 0 for n in shape) or prod(shape) > _MAX_ELEMENTS:
            raise ModelError(f"tensor {name} has the unsupported shape {list(shape[:_MAX_RANK])}")
        return TensorSpec(name, shape, dtype)

    def _type(self, index: int) -> relax.TensorType:
        return relax.TensorType(self.spec(index).shape, self.spec(index).dtype)


# -- operators ---------------------------------------------------------------------------------------------------------


def _activation(operator: _Operator, value: relax.Expr) -> relax.Expr:
    kind = operator.options.FusedActivationFunction() if operator.options is not None else 0
    functions: dict[int, Callable[[relax.Expr], relax.Expr]] = {
        tflite.ActivationFunctionType.NONE: lambda x: x,
        tflite.ActivationFunctionType.RELU: R.nn.relu,
        tflite.ActivationFunctionType.RELU6: lambda x: R.clip(x, 0.0, 6.0),
        tflite.ActivationFunctionType.RELU_N1_TO_1: lambda x: R.clip(x, -1.0, 1.0),
    }
    if kind not in functions:  # TANH and SIGN_BIT are in the schema, but LiteRT's kernels ignore them
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
    multiplier = channels // operator.shape(0)[3]
    data = operator.inputs[0] if multiplier == 1 else operator.emit(R.repeat(operator.inputs[0], multiplier, axis=3))
    weight = operator.constant(1).reshape(height, width, channels, 1)  # HWOI, channels in TFLite's own order
    dilation = (operator.options.DilationHFactor(), operator.options.DilationWFactor())
    window = _window(operator, (height, width), dilation)
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWOI"}
    value = R.nn.conv2d(data, _const(weight), groups=channels, **window, **layouts)
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
    nearest = method == "nearest_neighbor"

    def convert(operator: _Operator) -> relax.Expr:
        options = operator.options
        mode = "asymmetric"
        if options.AlignCorners():
            mode = "align_corners"
        elif options.HalfPixelCenters():  # LiteRT's nearest takes the pixel that (x + 1/2) * scale lies in
            mode = "tf_half_pixel_for_nn" if nearest else "half_pixel"
        # LiteRT rounds align_corners half away from zero and floors in the other modes
        rounding = "round_prefer_ceil" if options.AlignCorners() else "floor"
        return R.image.resize2d(
            operator.inputs[0],
            tuple(int(n) for n in operator.constant(1)),
            layout="NHWC",
            method=method,
            coordinate_transformation_mode=mode,
            rounding_method=rounding if nearest else "round",
        )

    return convert


def _concatenation(operator: _Operator) -> relax.Expr:
    return _activation(operator, R.concat(list(operator.inputs), operator.options.Axis()))


def _split(operator: _Operator) -> list[relax.Expr]:
    count = operator.options.NumSplits()
    if count == 1:  # not a tuple in Relax
        return [operator.inputs[1]]
    parts = operator.emit(R.split(operator.inputs[1], count, int(operator.constant(0).item())))
    return [relax.TupleGetItem(parts, i) for i in range(count)]


def _strided_slice(operator: _Operator) -> relax.Expr:
    options = operator.options
    if options.EllipsisMask() or options.NewAxisMask():
        raise ModelError("STRIDED_SLICE with an ellipsis or a new axis is not supported")
    begin, end, strides = (operator.constant(i).astype(int).tolist() for i in (1, 2, 3))
    for axis, (stride, size) in enumerate(zip(strides, operator.shape(0), strict=False)):
        first = None if options.BeginMask() >> axis & 1 else begin[axis]
        last = None if options.EndMask() >> axis & 1 else end[axis]
        begin[axis], end[axis], _ = slice(first, last, stride).indices(size)
        if options.ShrinkAxisMask() >> axis & 1:
            begin[axis] = (first or 0) % size
            end[axis], strides[axis] = begin[axis] + 1, 1
        elif end[axis] < 0:  # behind the first, going backwards; -1 would be the last
            end[axis] = -size - 1
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
    batch, height, width, channels = operator.shape(0)
    block = operator.options.BlockSize()
    value = R.reshape(operator.inputs[0], (batch, height, width, block, block, channels // block**2))
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


def _entry(get: Callable[[int], Any], count: int, index: int) -> Any:
    """One element of a vector. flatbuffers itself reads on past its end, and Python's lists from behind."""
    if not 0 <= index < count:
        raise IndexError(f"index {index} into {count} entries")
    return get(index)


def _const(array: np.ndarray) -> relax.Expr:
    return relax.const(np.asarray(array, order="C"))  # ascontiguousarray would make a scalar one-dimensional


def _static_shape(expression: relax.Expr) -> tuple[int, ...]:
    return tuple(int(n) for n in expression.ty.shape)


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name) or "tensor"


def _some(places: list[str], limit: int = 4) -> str:
    more = f" and {len(places) - limit} more" if len(places) > limit else ""
    return ", ".join(places[:limit]) + more
