"""The walk over a quantized network that makes integer kernels of it: where tensors are, and what its rows may ask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from tvm import relax, te, tirx
from tvm.ir import GenericConst, IRModule

from tvmpose import qdq
from tvmpose.kernels.cost import OPAQUE
from tvmpose.kernels.integer import Output
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.requantize import Rounding, quantize_value
from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.qdq import Quantization, operator_name

# What can make int16 of bytes, and the additions of int16: residual streams may have them.
WIDE = {"relax.add", "relax.subtract", "relax.nn.conv2d", "relax.nn.conv2d_transpose"}
# They move elements of one tensor, or pick the largest, whatever the elements stand for.
MOVEMENTS = {
    f"relax.{name}"
    for name in (
        "broadcast_to expand_dims flip gather_nd nn.max_pool2d permute_dims repeat reshape squeeze strided_slice take "
        "tile"
    ).split()
}


@dataclass(frozen=True)
class Refusal:
    """A quantize whose operator stays in float arithmetic."""

    tensor: str
    operator: str
    reason: str


class NotLowered(Exception):
    """Why a pattern does not become an integer kernel."""


@dataclass(frozen=True)
class Integer:
    """An integer tensor as it is kept: its variable and what its integers mean."""

    value: relax.Expr
    quantization: Quantization

    @property
    def scale(self) -> float:
        return float(self.quantization.scale)

    @property
    def zero_point(self) -> int:
        return int(self.quantization.zero_point)


class Walk:
    def __init__(self, function: relax.Function, isa: VectorISA, rounding: Rounding, rows: "Mapping[str, Row]"):
        self.function, self.isa, self.rounding, self.rows = function, isa, rounding, rows
        self.builder = relax.BlockBuilder()
        self.definitions: dict[relax.Var, relax.Expr] = {}  # of the source
        self.values: dict[relax.Var, relax.Expr] = {}  # what a variable of the source became
        self.integers: dict[relax.Var, Integer] = {}
        self.refusals: list[Refusal] = []

    def run(self) -> IRModule:
        parameters = list(self.function.params)
        (block,) = self.function.body.blocks
        with self.builder.function("main", parameters):
            with self.builder.dataflow():
                for binding in block.bindings:
                    self.definitions[binding.var] = binding.value
                    self._bind(binding.var, binding.value)
                result = self.function.body.body
                while isinstance(result, relax.Var) and isinstance(
                    self.definitions.get(result), relax.Tuple | relax.Var
                ):
                    result = self.definitions[result]
                fields = result.fields if isinstance(result, relax.Tuple) else [result]
                outputs = [self.value(field) for field in fields]
                output = outputs[0] if not isinstance(result, relax.Tuple) else relax.Tuple(outputs)
                output = self.builder.emit_output(output)
            self.builder.emit_func_output(output)
        return self.builder.get()

    def _bind(self, var: relax.Var, value: relax.Expr) -> None:
        if operator_name(value) == "relax.dequantize":
            return  # made where it is needed, so that it fuses there
        if (
            operator_name(value) == "relax.quantize"
            and (target := qdq.quantization_of(value))
            and not target.scale.ndim
        ):
            self.integers[var] = self._quantized(var, value, self.as_stored(target))
        elif not isinstance(value, relax.Tuple):
            self.values[var] = self.builder.emit(self._rebuilt(value), var.name)

    def as_stored(self, quantization: Quantization) -> Quantization:
        """Bytes of the one sign that the target prefers."""
        if quantization.dtype not in ("int8", "uint8") or quantization.dtype == self.isa.byte:
            return quantization
        shift = 128 if self.isa.byte == "uint8" else -128
        return replace(quantization, zero_point=quantization.zero_point + np.int32(shift), dtype=self.isa.byte)

    def _quantized(self, var: relax.Var, call: relax.Call, target: Quantization) -> Integer:
        try:
            lowered = self.lowered(call.args[0], target)
        except NotLowered as reason:
            operator = operator_name(self.resolve(call.args[0])).removeprefix("relax.") or "input"
            self.refusals.append(Refusal(var.name, operator, str(reason)))
            lowered = self.call(
                "quantize", lambda x: quantize_value(x, target, self.rounding), self.value(call.args[0])
            )
        return Integer(self.builder.emit(lowered, var.name), target)

    def lowered(self, expression: relax.Expr, target: Quantization) -> relax.Expr:
        """The integers of a float expression, quantized as `target`. Raises NotLowered."""
        low, high = np.iinfo(target.dtype).min, np.iinfo(target.dtype).max
        if target.dtype not in ("int8", "uint8") and not self.takes_wide(target.dtype):
            raise NotLowered(f"its result is {target.dtype}")
        source, activated = self.resolve(expression), False
        while (bounds := _bounds(source)) is not None:
            steps = [float(np.round(b / target.scale)) + float(target.zero_point) for b in bounds]
            low, high = int(max(low, min(steps[0], high))), int(min(high, max(steps[1], low)))
            source, activated = self.resolve(source.args[0]), True
        output = Output(target.dtype, int(target.zero_point), low, high, activated)
        row = self.rows.get(operator_name(source))
        if row is None:
            raise NotLowered("no integer kernel for it")
        if target.dtype == "int16" and operator_name(source) not in WIDE:
            raise NotLowered("its result is int16")
        return row(self, source, target, output)

    # what rows need

    def resolve(self, expression: relax.Expr) -> relax.Expr:
        """A variable's definition in the source; a parameter is itself."""
        while isinstance(expression, relax.Var) and expression in self.definitions:
            expression = self.definitions[expression]
        return expression

    def takes_wide(self, dtype: str) -> bool:
        """Whether int16 may stand for bytes: its arithmetic is that of floats, which only one rounding has anyway."""
        return dtype == "int16" and self.rounding.is_float

    def integer(self, expression: relax.Expr, wide: bool = False) -> Integer:
        """The integer tensor that a float operand is the dequantized form of, or that form moved or cast.

        wide: int16 will do as well as bytes.
        """
        call = self.resolve(expression)
        if isinstance(call, relax.TupleGetItem):
            return self._part(call)
        if operator_name(call) in MOVEMENTS:
            data = self.integer(call.args[0])
            moved = rebuild_call(call, [data.value, *map(self.value, call.args[1:])])
            return Integer(self.builder.emit(moved), data.quantization)
        if operator_name(call) == "relax.astype" and str(call.args[0].ty.dtype) in ("int8", "uint8"):
            return self.stored(call.args[0], qdq.per_tensor(1, 0, str(call.args[0].ty.dtype)))
        if operator_name(call) == "relax.astype":
            raise NotLowered(f"an operand is {call.args[0].ty.dtype}")
        if operator_name(call) != "relax.dequantize":
            raise NotLowered("an operand is not quantized")
        quantization = qdq.quantization_of(call)
        if quantization is None or quantization.scale.ndim:
            raise NotLowered("an operand is not quantized per tensor with constants")
        if quantization.dtype not in ("int8", "uint8") and not (wide and self.takes_wide(quantization.dtype)):
            raise NotLowered(f"an operand is {quantization.dtype}")
        # a consumer's scale counts, should it differ from the producer's
        return Integer(self.stored(call.args[0], quantization).value, self.as_stored(quantization))

    def _part(self, item: relax.TupleGetItem) -> Integer:
        split = self.resolve(item.tuple_value)
        if operator_name(split) != "relax.split":
            raise NotLowered("an operand is not quantized")
        data = self.integer(split.args[0])
        parts = self.builder.emit(rebuild_call(split, [data.value]))
        return Integer(self.builder.emit(relax.TupleGetItem(parts, item.index)), data.quantization)

    def stored(self, integers: relax.Expr, quantization: Quantization) -> Integer:
        """An integer tensor of the source in the target's byte."""
        if isinstance(integers, GenericConst):
            wanted, array = self.as_stored(quantization), integers.value.numpy()
            moved = array.astype("int32") + (wanted.zero_point - quantization.zero_point)
            return Integer(relax.const(moved.astype(wanted.dtype)), wanted)
        if integers not in self.integers:  # a parameter, or made by an operator on plain integers
            value, wanted = self.value(integers), self.as_stored(quantization)
            self.integers[integers] = Integer(self._other_sign(value, wanted.dtype), wanted)
        return self.integers[integers]

    def _other_sign(self, value: relax.Expr, dtype: str) -> relax.Expr:
        if str(value.ty.dtype) == dtype:
            return value
        flip = lambda x: te.compute(x.shape, lambda *i: _flip(x[i], dtype), name="flip_sign")  # noqa: E731
        return self.builder.emit(self.call("flip_sign", flip, value))

    def value(self, expression: relax.Expr) -> relax.Expr:
        """The expression as the source has it, dtype included."""
        if isinstance(expression, relax.Tuple):
            return relax.Tuple([self.value(field) for field in expression.fields])
        if not isinstance(expression, relax.Var):
            return expression
        if expression in self.values:
            return self.values[expression]
        if expression in self.integers:
            self.values[expression] = self._other_sign(self.integers[expression].value, str(expression.ty.dtype))
            return self.values[expression]
        definition = self.definitions.get(expression)
        if operator_name(definition) == "relax.dequantize":
            return self._dequantized(definition)
        if isinstance(definition, relax.Tuple):
            return self.value(definition)
        return expression  # a parameter

    def _dequantized(self, call: relax.Call) -> relax.Expr:
        integers, quantization = call.args[0], qdq.quantization_of(call)
        if isinstance(integers, GenericConst) or quantization is None or quantization.dtype not in ("int8", "uint8"):
            return self.builder.emit(self._rebuilt(call))
        kept = self.integers.get(integers)
        if kept is None:
            return self.builder.emit(self._rebuilt(call))
        return self.builder.emit(qdq.dequantize(kept.value, self.as_stored(quantization)))

    def _rebuilt(self, value: relax.Expr) -> relax.Expr:
        if isinstance(value, relax.Call):
            return rebuild_call(value, [self.value(argument) for argument in value.args])
        if isinstance(value, relax.TupleGetItem):
            return relax.TupleGetItem(self.value(value.tuple_value), value.index)
        return self.value(value)

    def call_kernel(
        self, name: str, function: tirx.PrimFunc, shape: relax.Expr, dtype: str, data: relax.Expr, *tables: np.ndarray
    ) -> relax.Expr:
        """A call of a kernel that is written down loop by loop."""
        kernel = self.builder.add_func(function, name)
        return relax.call_tir(kernel, [data, *map(relax.const, tables)], relax.TensorType(shape, dtype))

    def call(
        self, name: str, compute: Callable[..., te.Tensor], *arguments: relax.Expr, fused: bool = True
    ) -> relax.Expr:
        """A kernel as TE computes it. fused: with its neighbours, where the fusion finds that it can be."""
        attrs = {} if fused else {"op_pattern": OPAQUE}
        return self.builder.call_te(compute, *arguments, primfunc_name_hint=name, primfunc_attrs=attrs)


def stored_above(walk: Walk, operand: relax.Expr, data: Integer) -> tuple[int, str]:
    """What the stored bytes of a float operand are above those of the source, and the source's dtype."""
    definition = walk.resolve(operand)
    source = qdq.quantization_of(definition) if operator_name(definition) == "relax.dequantize" else None
    source = source or data.quantization
    return data.zero_point - int(source.zero_point), source.dtype


def _flip(value: tirx.Expr, dtype: str) -> tirx.Expr:
    """A byte of one sign as the byte of the other, zero points moved by 128."""
    return (value.astype("int32") + (128 if dtype == "uint8" else -128)).astype(dtype)


def _bounds(call: relax.Expr) -> tuple[float, float] | None:
    """Of an operator that only cuts off its operand."""
    if operator_name(call) == "relax.nn.relu":
        return 0.0, float("inf")
    if operator_name(call) == "relax.clip":
        low, high = (float(getattr(bound, "value", bound)) for bound in call.args[1:3])
        return low, high
    return None


Row = Callable[[Walk, relax.Call, Quantization, Output], relax.Expr]
"""(walk, call, quantization and range of its result) -> the integer kernel's call. Raises NotLowered."""
