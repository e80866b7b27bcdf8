"""Functions of one quantized tensor, element by element, as tables of 256 bytes computed at compile time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tvm
from tvm import relax, te
from tvm.ir import Expr

from tvmpose.kernels.integer import Output
from tvmpose.kernels.integer_elementwise import rescale_formula
from tvmpose.kernels.requantize import Rounding
from tvmpose.passes.constants import constant_value
from tvmpose.passes.integer_walk import Integer, NotLowered, Walk, operator_name
from tvmpose.qdq import Quantization

_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "abs": np.abs,
    "add": np.add,
    "divide": np.divide,
    "exp": np.exp,
    "log": np.log,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "negative": np.negative,
    "nn.relu": lambda x: np.maximum(x, 0),
    "nn.silu": lambda x: x / (1 + np.exp(-x)),
    "power": np.power,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sqrt": np.sqrt,
    "square": np.square,
    "subtract": np.subtract,
    "tanh": np.tanh,
}
TABULATED = {f"relax.{name}" for name in _FUNCTIONS} | {"relax.astype", "relax.nn.leakyrelu", "relax.clip"}
_TABLES_OF_TFLITE = {"relax.exp", "relax.log", "relax.sigmoid", "relax.tanh"}


def tabulated(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """A table for any chain of such functions of one tensor and of constants. Raises NotLowered."""
    chain = _Chain(walk)
    with np.errstate(all="ignore"):  # an infinity is cut to range like any other number
        numbers = np.clip(chain.value(call), -1e20, 1e20)
    if chain.source is None:
        raise NotLowered("no operand is quantized")
    integers = _all_integers(chain.source)
    if operator_name(call) == "relax.nn.leakyrelu" and not walk.rounding.is_float:
        table = _leaky(walk, chain.source, float(call.attrs.alpha), target, output)
    else:
        by_table = operator_name(call) in _TABLES_OF_TFLITE
        whole = _nearest(np.nan_to_num(numbers, nan=0), walk.rounding, target, by_table) + int(target.zero_point)
        table = np.clip(whole, output.low, output.high).astype(output.dtype)
    if np.array_equal(table, integers):
        return chain.source.value
    offset = int(integers[0])

    def compute(x: te.Tensor, entries: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda *i: entries[x[i].astype("int32") - offset], name="table")

    return walk.call("integer_table", compute, chain.source.value, relax.const(table))


class _Chain:
    """Evaluates an expression for each of the 256 integers that its one tensor may hold."""

    def __init__(self, walk: Walk):
        self.walk = walk
        self.source: Integer | None = None

    def value(self, expression: relax.Expr) -> np.ndarray:
        constant = constant_value(expression, self.walk.definitions)
        if constant is not None:
            if constant.size != 1:
                raise NotLowered("an operand is a constant with more than one value")
            return constant.astype("float32").reshape(())
        call = self.walk.resolve(expression)
        name = operator_name(call).removeprefix("relax.")
        if name == "nn.leakyrelu":
            x = self.value(call.args[0])
            return np.where(x >= 0, x, x * np.float32(call.attrs.alpha))
        if name == "clip":
            low, high = (np.float32(getattr(bound, "value", bound)) for bound in call.args[1:3])
            return np.clip(self.value(call.args[0]), low, high)
        if name in _FUNCTIONS:
            return np.asarray(_FUNCTIONS[name](*map(self.value, call.args)), "float32")
        return self._numbers(expression)

    def _numbers(self, expression: relax.Expr) -> np.ndarray:
        data = self.walk.integer(expression)
        if self.source is not None and not self._is_source(data):
            raise NotLowered("it has several operands")
        self.source = data
        return (_all_integers(data).astype("int32") - data.zero_point).astype("float32") * data.quantization.scale

    def _is_source(self, data: Integer) -> bool:
        assert self.source is not None
        return data.value.same_as(self.source.value) and data.quantization.same_as(self.source.quantization)


def _nearest(numbers: np.ndarray, rounding: Rounding, target: Quantization, by_table: bool) -> np.ndarray:
    """float32 to integers in the result's units, without its zero point, as requantize.quantize_value.

    by_table: TensorFlow Lite has a table for it as well, made by multiplying.
    """
    if rounding.inverts or (rounding is Rounding.REFERENCE and by_table):
        units = numbers * (np.float32(1) / target.scale)
    else:
        units = numbers / target.scale
    units = np.clip(units, -512, 512).astype("float64")
    return np.trunc(units + np.copysign(0.5, units)) if rounding is Rounding.REFERENCE else np.rint(units)


def _leaky(walk: Walk, data: Integer, alpha: float, target: Quantization, output: Output) -> np.ndarray:
    """As tensorflow/lite/kernels/activations.cc, QuantizeLeakyRelu, or XNNPACK's vlrelu: two scales."""
    integers = _all_integers(data)
    slope = replace(data.quantization, scale=data.quantization.scale * np.float32(alpha))
    above, below = (
        evaluate(rescale_formula(walk.rounding, of, target, output), integers) for of in (data.quantization, slope)
    )
    return np.where(integers.astype("int64") >= data.zero_point, above, below)


def _all_integers(data: Integer) -> np.ndarray:
    kind = np.iinfo(data.quantization.dtype)
    return np.arange(kind.min, kind.max + 1).astype(data.quantization.dtype)


def is_identity(formula: Callable[[Expr], Expr], data: Integer) -> bool:
    """Whether the formula leaves every integer that the tensor can hold as it is."""
    integers = _all_integers(data)
    return np.array_equal(evaluate(formula, integers), integers)


def evaluate(formula: Callable[[Expr], Expr], integers: np.ndarray) -> np.ndarray:
    """What the kernel that is made of the formula computes."""
    x = te.placeholder(integers.shape, integers.dtype.name, "x")
    result = te.compute(x.shape, lambda i: formula(x[i]), name="formula")
    kernel = tvm.compile(te.create_prim_func([x, result]), tvm.target.Target("llvm"))
    values = tvm.runtime.tensor(np.zeros(integers.shape, str(result.dtype)))
    kernel["main"](tvm.runtime.tensor(integers), values)
    return values.numpy()
