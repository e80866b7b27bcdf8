"""TFLite files: the flatbuffer read, checked and turned into a graph, an operator at a time.

TVM's own TFLite importer is not used: it drops the fused activation of TRANSPOSE_CONV and has no NHWC lowering for it.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from tvm import relax
from tvm.ir import IRModule

from tvmpose.errors import ModelError
from tvmpose.frontend.module_spec import first_line
from tvmpose.frontend.tflite_operators import OPERATORS, Operator, static_shape
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
        described = Operator(
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
            if static_shape(value) != self.spec(index).shape:
                found, expected = static_shape(value), self.spec(index).shape
                raise ModelError(f"{name} -> {self.spec(index).name} has shape {found}, the file says {expected}")

    def _emitted(self, operator: Operator, results: list[int]) -> list[relax.Var]:
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


def _entry(get: Callable[[int], Any], count: int, index: int) -> Any:
    """One element of a vector. flatbuffers itself reads on past its end, and Python's lists from behind."""
    if not 0 <= index < count:
        raise IndexError(f"index {index} into {count} entries")
    return get(index)


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name) or "tensor"


def _some(places: list[str], limit: int = 4) -> str:
    more = f" and {len(places) - limit} more" if len(places) > limit else ""
    return ", ".join(places[:limit]) + more
