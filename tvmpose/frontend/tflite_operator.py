"""One operator of a TFLite file as its converter sees it, and what converters share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tflite
from tvm import relax
from tvm.relax import op as R

from tvmpose.errors import ModelError
from tvmpose.qdq import Quantization, dequantize


@dataclass(frozen=True)
class Operator:
    """One operator of the file, with its operands as Relax expressions and, where constant, as arrays."""

    builder: relax.BlockBuilder
    name: str
    options: Any  # the flatbuffer's options table, or None
    inputs: tuple[relax.Expr | None, ...]  # quantized ones as numbers, except where the table says INTEGERS
    constants: tuple[np.ndarray | None, ...]  # as they are in the file, quantized ones as integers
    quantizations: tuple[Quantization | None, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    output_dtype: str

    def shape(self, index: int) -> tuple[int, ...]:
        return static_shape(self.inputs[index])

    def constant(self, index: int) -> np.ndarray:
        value = self.constants[index]
        if value is None:
            raise ModelError(f"operand {index} of {self.name} must be a constant")
        return value

    def weight(self, array: np.ndarray, axis: int) -> relax.Expr:
        """Operand 1 in another layout, as numbers; ``axis`` is where its output channels are in that."""
        quantization = self.quantizations[1]
        if quantization is None:
            return constant(array)
        return self.emit(dequantize(constant(array), replace(quantization, axis=axis)))

    def emit(self, expression: relax.Expr) -> relax.Expr:
        return self.builder.emit(expression)


def activation(operator: Operator, value: relax.Expr) -> relax.Expr:
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


def constant(array: np.ndarray) -> relax.Expr:
    return relax.const(np.asarray(array, order="C"))  # ascontiguousarray would make a scalar one-dimensional


def static_shape(expression: relax.Expr) -> tuple[int, ...]:
    return tuple(int(n) for n in expression.ty.shape)
