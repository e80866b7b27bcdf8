"""TFLite files: the flatbuffer read, checked and turned into a graph, an operator at a time.

TVM's own TFLite importer is not used: it drops the fused activation of TRANSPOSE_CONV and has no NHWC lowering for it.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from tvm import relax
from tvm.ir import IRModule

from tvmpose.errors import ModelError
from tvmpose.frontend.module_spec import first_line
from tvmpose.frontend.tflite_operator import Operator, static_shape
from tvmpose.frontend.tflite_operators import INTEGERS, OPERATORS
from tvmpose.frontend.tflite_tensors import Tensors, entry
from tvmpose.modelspec import ModelSpec
from tvmpose.qdq import dequantize, quantize

# What flatbuffers, NumPy and Relax raise where a length, an index, a type or a shape is not what it should be.
_DAMAGE = (struct.error, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError, RuntimeError)
_OPERATOR_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_OPTION_NAMES = {code: name for name, code in vars(tflite.BuiltinOptions).items() if isinstance(code, int)}
_UNPACKING = ("DENSIFY", "DEQUANTIZE")  # of weights: the result is a constant
# Why an operator is missing on purpose.
_INSTEAD = {
    "CUSTOM PosenetDecoderOp": "use the same network without this decoder: its outputs are heatmaps and offsets, which "
    "tvmpose decodes itself",
}


@dataclass(frozen=True)
class Step:
    """One operator of a file: the tensors it reads that are no constants, and those it computes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def load(
    path: str | Path, outputs: Sequence[str] | None = None, inputs: Sequence[str] | None = None
) -> tuple[IRModule, ModelSpec]:
    """Import a TFLite file, float (fp16 weights included) or quantized; the latter to the form of tvmpose.qdq.

    outputs: names of tensors to return in place of the model's own outputs, to compare intermediate results.
    inputs: names of tensors to take in place of the model's own inputs. What computes them is left out, unless they
    are outputs too: those are computed, from the other inputs.
    Raises ModelError for what is not TFLite, is damaged, or has an operator we lack (all are named).
    """
    with _reading(path) as importer:
        return importer.run(outputs, inputs)


def tensor_names(path: str | Path) -> list[str]:
    """The float and byte tensors that the file's operators compute, in order. Raises ModelError as load does."""
    with _reading(path) as importer:
        computed = [importer.tensors.spec(i) for operator in importer.computing() for i in importer.results(operator)]
        return [spec.name for spec in computed if spec.dtype in ("float32", "int8", "uint8")]


def steps(path: str | Path) -> list[Step]:
    """The operators that compute something, in order of execution. Raises ModelError as load does."""
    with _reading(path) as importer:
        return [importer.step(operator) for operator in importer.computing()]


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
        self.model, self.path = model, path
        if model.SubgraphsLength() != 1:
            raise ModelError(f"{path} has {model.SubgraphsLength()} subgraphs; one is supported")
        self.graph = model.Subgraphs(0)
        self.tensors = Tensors(model, self.graph, data)
        self.operators = [self.graph.Operators(i) for i in range(self.graph.OperatorsLength())]  # in order of execution
        self.builder = relax.BlockBuilder()
        self.values: dict[int, relax.Expr] = {}  # tensor index -> expression, as the file has it
        self.numbers: dict[int, relax.Expr] = {}  # quantized tensor's index -> float expression
        self.results_of_inputs: dict[int, relax.Expr] = {}  # what is computed for a tensor that is an input as well

    def run(self, outputs: Sequence[str] | None, inputs: Sequence[str] | None) -> tuple[IRModule, ModelSpec]:
        output_ids = self._indices(outputs, self.graph.OutputsAsNumpy)
        input_ids = self._indices(inputs, self.graph.InputsAsNumpy)
        whole = outputs is None and inputs is None
        operators = self.operators if whole else self._needed(output_ids, input_ids)
        self._refuse_unsupported(operators)
        builder = self.builder
        variables = [relax.Var(_identifier(self.tensors.spec(i).name), self._type(i)) for i in input_ids]
        self.values.update(zip(input_ids, variables, strict=True))
        result: relax.Expr = relax.Tuple([])
        with builder.function("main", variables):
            try:
                with builder.dataflow():
                    for operator in operators:
                        self._convert(operator)
                    found = [self._result(i) for i in output_ids]
                    result = builder.emit_output(relax.Tuple(found))
            finally:  # of a function left open, TVM warns on stderr
                builder.emit_func_output(result)
        specs = ModelSpec("tflite", *(tuple(map(self.tensors.spec, ids)) for ids in (input_ids, output_ids)))
        return relax.transform.DeadCodeElimination()(builder.get()), specs  # weights as numbers in TFLite's layout

    def computing(self) -> list[tflite.Operator]:
        """The operators without those that only unpack weights, whose results become constants."""
        return [operator for operator in self.operators if not self._unpack(operator)]

    def step(self, operator: tflite.Operator) -> Step:
        read = [i for i in self.operands(operator) if i >= 0 and self.tensors.array(i) is None]
        names = [tuple(self.tensors.spec(i).name for i in ids) for ids in (read, self.results(operator))]
        return Step(self.operator_name(operator), *names)

    def operands(self, operator: tflite.Operator) -> list[int]:
        return [int(operator.Inputs(i)) for i in range(operator.InputsLength())]

    def results(self, operator: tflite.Operator) -> list[int]:
        return [int(operator.Outputs(i)) for i in range(operator.OutputsLength())]

    def _needed(self, output_ids: list[int], input_ids: list[int]) -> list[tflite.Operator]:
        """The operators that the outputs need, in order of execution."""
        wanted, needed = set(output_ids), []
        for operator in reversed(self.operators):
            if wanted.intersection(self.results(operator)):
                needed.append(operator)
                wanted.update(set(self.operands(operator)) - set(input_ids))
        return needed[::-1]

    def _refuse_unsupported(self, operators: list[tflite.Operator]) -> None:
        missing = defaultdict(list)
        for operator in operators:
            name = self.operator_name(operator)
            if name not in OPERATORS and name not in _UNPACKING:
                place = f"#{self.operators.index(operator)} -> {self.tensors.spec(operator.Outputs(0)).name}"
                missing[name].append(place)
        if missing:
            places = [f"{name} at {_some(where)}" for name, where in missing.items()]
            reasons = [_INSTEAD[name] for name in missing if name in _INSTEAD]
            raise ModelError(f"{self.path} has unsupported operators: {'; '.join(places + reasons)}")

    def operator_name(self, operator: tflite.Operator) -> str:
        code = entry(self.model.OperatorCodes, self.model.OperatorCodesLength(), operator.OpcodeIndex())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if builtin == tflite.BuiltinOperator.CUSTOM:
            return f"CUSTOM {code.CustomCode().decode()}"
        return _OPERATOR_NAMES.get(builtin, f"operator {builtin}")

    def _convert(self, operator: tflite.Operator) -> None:
        ids, results = self.operands(operator), self.results(operator)
        name, tensors = self.operator_name(operator), self.tensors
        if self._unpack(operator):
            return
        operand = self._expression if name in INTEGERS else self._number
        described = Operator(
            self.builder,
            name,
            self._options(operator),
            tuple(None if i < 0 else operand(i) for i in ids),
            tuple(None if i < 0 else tensors.array(i) for i in ids),
            tuple(None if i < 0 else tensors.quantization(i) for i in ids),
            tuple(tensors.spec(i).shape for i in results),
            tensors.spec(results[0]).dtype,
        )
        for index, value in zip(results, self._emitted(described, results), strict=True):
            expected = tensors.spec(index)
            if (static_shape(value), str(value.ty.dtype)) != (expected.shape, expected.dtype):
                found = f"is {value.ty.dtype} {list(static_shape(value))}"
                raise ModelError(
                    f"{name} -> {expected.name} {found}, the file says {expected.dtype} {list(expected.shape)}"
                )
            (self.results_of_inputs if index in self.values else self.values)[index] = value

    def _unpack(self, operator: tflite.Operator) -> bool:
        """Whether it only unpacks a constant; then its result is one as well."""
        if self.operator_name(operator) not in _UNPACKING:
            return False
        (source,), (result,) = self.operands(operator), self.results(operator)
        array = self.tensors.array(source)
        if array is not None and str(array.dtype) == "float16":  # exact in fp32
            self.tensors.arrays[result] = array.astype("float32")
        elif array is not None:
            self.tensors.alias(source, result)
        return array is not None

    def _emitted(self, operator: Operator, results: list[int]) -> list[relax.Var]:
        """The operator's outputs in the graph, where Relax checks what it was given."""
        names = [self.tensors.spec(index).name for index in results]
        try:
            converted = OPERATORS[operator.name](operator)
            values = converted if isinstance(converted, list) else [converted]
            return [self._stored(operator, *pair) for pair in zip(values, results, strict=True)]
        except _DAMAGE as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ModelError(f"{operator.name} -> {names[0]} cannot be imported ({reason})") from error

    def _stored(self, operator: Operator, value: relax.Expr, index: int) -> relax.Var:
        """A result as the file has it: where that is quantized, an integer."""
        quantization, name = self.tensors.quantization(index), _identifier(self.tensors.spec(index).name)
        if quantization is None or operator.name in INTEGERS:
            return self.builder.emit(value, name)
        return self.builder.emit(quantize(operator.emit(value), quantization), name)

    def _options(self, operator: tflite.Operator) -> Any:
        table = operator.BuiltinOptions()
        if table is None:
            return None
        options = getattr(tflite, _OPTION_NAMES[operator.BuiltinOptionsType()])()
        options.Init(table.Bytes, table.Pos)
        return options

    def _indices(self, names: Sequence[str] | None, own: Callable[[], np.ndarray]) -> list[int]:
        if names is None:
            return [int(i) for i in own()]
        known = {self.tensors.spec(i).name: i for i in range(len(self.tensors))}
        if unknown := [name for name in names if name not in known]:
            raise ModelError(f"{self.path} computes no tensor {', '.join(unknown)}")
        return [known[name] for name in names]

    def _expression(self, index: int) -> relax.Expr:
        if index not in self.values:
            array = self.tensors.array(index)
            if array is None:
                raise ModelError(f"tensor {self.tensors.spec(index).name} is used before anything computes it")
            self.values[index] = relax.const(array)
        return self.values[index]

    def _result(self, index: int) -> relax.Expr:
        return self.results_of_inputs[index] if index in self.results_of_inputs else self._expression(index)

    def _number(self, index: int) -> relax.Expr:
        """The float tensor that a quantized one stands for; others as they are."""
        quantization = self.tensors.quantization(index)
        if quantization is None:
            return self._expression(index)
        if index not in self.numbers:
            name = _identifier(self.tensors.spec(index).name) + "_number"
            self.numbers[index] = self.builder.emit(dequantize(self._expression(index), quantization), name)
        return self.numbers[index]

    def _type(self, index: int) -> relax.TensorType:
        return relax.TensorType(self.tensors.spec(index).shape, self.tensors.spec(index).dtype)


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name) or "tensor"


def _some(places: list[str], limit: int = 4) -> str:
    more = f" and {len(places) - limit} more" if len(places) > limit else ""
    return ", ".join(places[:limit]) + more
