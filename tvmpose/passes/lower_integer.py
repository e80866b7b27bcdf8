"""Quantized networks in integers: QDQ islands, float operators between dequantize and quantize, become integer kernels.

One walk over the bindings. An integer tensor is kept in the byte that the target's dot products take, uint8 or int8,
its zero point moved along. At each quantize the float operators in front of it are matched against a table; what has
no row stays float arithmetic between its own dequantize and quantize, which fuse with it, and is listed with a reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.ir import GenericConst, IRModule

from tvmpose import qdq
from tvmpose.kernels.convolution import Window
from tvmpose.kernels.integer import (
    Output,
    integer_conv2d,
    integer_conv2d_transpose,
    integer_depthwise_conv2d,
    pack_integer_weights,
    pack_transposed_integer_weights,
    pad_integer,
    window_sums,
)
from tvmpose.kernels.integer_depthwise import Depthwise, integer_depthwise_kernel
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.requantize import Requantize, Rounding, quantize_value
from tvmpose.passes.constants import constant_integers, constant_value
from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.qdq import Quantization

_EXACT_IN_FLOAT = 2**24


@dataclass(frozen=True)
class Refusal:
    """A quantize whose operator stays in float arithmetic."""

    tensor: str
    operator: str
    reason: str


class NotLowered(Exception):
    """Why a pattern does not become an integer kernel."""


class LowerInteger:
    """The pass. refusals: what stayed float, of the module it was last called with."""

    def __init__(self, isa: VectorISA, rounding: Rounding):
        self.isa, self.rounding = isa, rounding
        self.refusals: list[Refusal] = []

    def __call__(self, mod: IRModule) -> IRModule:
        if not _is_quantized(mod["main"]):
            return mod
        walk = _Walk(mod["main"], self.isa, self.rounding)
        lowered = walk.run()
        self.refusals = walk.refusals
        for name, function in mod.functions_items():
            if name.name_hint != "main":
                lowered.update_func(name, function)
        return lowered


def _is_quantized(function: relax.Function) -> bool:
    return any(_name(binding.value) == "relax.quantize" for block in function.body.blocks for binding in block.bindings)


def _name(expression: relax.Expr) -> str:
    return getattr(expression.op, "name", "") if isinstance(expression, relax.Call) else ""


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


class _Walk:
    def __init__(self, function: relax.Function, isa: VectorISA, rounding: Rounding):
        self.function, self.isa, self.rounding = function, isa, rounding
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
        if _name(value) == "relax.dequantize":
            return  # made where it is needed, so that it fuses there
        if _name(value) == "relax.quantize" and (target := qdq.quantization_of(value)) and not target.scale.ndim:
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
            lowered = self._lowered(call.args[0], target)
        except NotLowered as reason:
            operator = _name(self.resolve(call.args[0])).removeprefix("relax.") or "input"
            self.refusals.append(Refusal(var.name, operator, str(reason)))
            lowered = self.call(
                "quantize", lambda x: quantize_value(x, target, self.rounding), self.value(call.args[0])
            )
        return Integer(self.builder.emit(lowered, var.name), target)

    def _lowered(self, expression: relax.Expr, target: Quantization) -> relax.Expr:
        low, high = np.iinfo(target.dtype).min, np.iinfo(target.dtype).max
        if target.dtype not in ("int8", "uint8"):
            raise NotLowered(f"its result is {target.dtype}")
        source = self.resolve(expression)
        while (bounds := _bounds(source)) is not None:
            steps = [float(np.round(b / target.scale)) + float(target.zero_point) for b in bounds]
            low, high = int(max(low, min(steps[0], high))), int(min(high, max(steps[1], low)))
            source = self.resolve(source.args[0])
        output = Output(target.dtype, int(target.zero_point), low, high)
        row = _ROWS.get(_name(source))
        if row is None:
            raise NotLowered("no integer kernel for it")
        return row(self, source, target, output)

    # what rows need

    def resolve(self, expression: relax.Expr) -> relax.Expr:
        """A variable's definition in the source; a parameter is itself."""
        while isinstance(expression, relax.Var) and expression in self.definitions:
            expression = self.definitions[expression]
        return expression

    def integer(self, expression: relax.Expr) -> Integer:
        """The integer tensor that a float operand is the dequantized form of."""
        call = self.resolve(expression)
        if _name(call) != "relax.dequantize":
            raise NotLowered("an operand is not quantized")
        quantization = qdq.quantization_of(call)
        if quantization is None or quantization.scale.ndim:
            raise NotLowered("an operand is not quantized per tensor with constants")
        if quantization.dtype not in ("int8", "uint8"):
            raise NotLowered(f"an operand is {quantization.dtype}")
        return self.stored(call.args[0], quantization)

    def stored(self, integers: relax.Expr, quantization: Quantization) -> Integer:
        """An integer tensor of the source in the target's byte."""
        if isinstance(integers, GenericConst):
            raise NotLowered("an operand is constant")
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
        if _name(definition) == "relax.dequantize":
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
        return self.builder.emit(qdq.dequantize(kept.value, replace(quantization, **_mapping(kept.quantization))))

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

    def call(self, name: str, compute: Callable[..., te.Tensor], *arguments: relax.Expr) -> relax.Expr:
        return self.builder.call_te(compute, *arguments, primfunc_name_hint=name)


def _mapping(quantization: Quantization) -> dict[str, object]:
    return {"scale": quantization.scale, "zero_point": quantization.zero_point, "dtype": quantization.dtype}


def _flip(value: tirx.Expr, dtype: str) -> tirx.Expr:
    """A byte of one sign as the byte of the other, zero points moved by 128."""
    return (value.astype("int32") + (128 if dtype == "uint8" else -128)).astype(dtype)


def _bounds(call: relax.Expr) -> tuple[float, float] | None:
    """Of an operator that only cuts off its operand."""
    if _name(call) == "relax.nn.relu":
        return 0.0, float("inf")
    if _name(call) == "relax.clip":
        low, high = (float(getattr(bound, "value", bound)) for bound in call.args[1:3])
        return low, high
    return None


# Rows of the table: (walk, call, quantization of the result, range of the result) -> the integer kernel's call.


def _convolution(walk: _Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    return _convolve(walk, call, None, target, output)


def _add(walk: _Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    for operand, bias in (call.args, reversed(call.args)):
        source = walk.resolve(operand)
        if _name(source) in _CONVOLUTIONS and constant_value(bias, walk.definitions) is not None:
            return _convolve(walk, source, bias, target, output)
    return _sum(walk, call, target, output)


def _sum(walk: _Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """Each operand scaled to the result's units: two multiply-adds."""
    first, second = (walk.integer(operand) for operand in call.args)
    sign = -1.0 if _name(call) == "relax.subtract" else 1.0
    scales = (first.scale / float(target.scale), sign * second.scale / float(target.scale))
    offset = -scales[0] * first.zero_point - scales[1] * second.zero_point
    rounding = walk.rounding

    def compute(a: te.Tensor, b: te.Tensor) -> te.Tensor:
        def value(x, y):
            number = x.astype("float32") * scales[0] + (y.astype("float32") * scales[1] + offset)
            return rounding.nearest(number, output)

        return te_broadcast(value, a, b)

    return walk.call("integer_add", compute, first.value, second.value)


def _product(walk: _Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    first, second = (walk.integer(operand) for operand in call.args)
    scale, rounding = first.scale * second.scale / float(target.scale), walk.rounding

    def compute(a: te.Tensor, b: te.Tensor) -> te.Tensor:
        def value(x, y):
            whole = (x.astype("int32") - first.zero_point) * (y.astype("int32") - second.zero_point)
            return rounding.nearest(whole.astype("float32") * tirx.const(scale, "float32"), output)

        return te_broadcast(value, a, b)

    return walk.call("integer_multiply", compute, first.value, second.value)


def te_broadcast(value: Callable[..., tirx.Expr], a: te.Tensor, b: te.Tensor) -> te.Tensor:
    """Element by element over two tensors, NumPy's broadcasting."""
    shape = np.broadcast_shapes(*(tuple(int(n) for n in t.shape) for t in (a, b)))

    def at(tensor: te.Tensor, indices: Sequence[tirx.Expr]) -> tirx.Expr:
        missing = len(shape) - len(tensor.shape)
        # an extent of 1 on both sides keeps its index: TVM then sees that it is element by element, and fuses
        broadcast = (int(n) == 1 < shape[missing + axis] for axis, n in enumerate(tensor.shape))
        return tensor[tuple(0 if b else i for b, i in zip(broadcast, indices[missing:], strict=True))]

    return te.compute(shape, lambda *i: value(at(a, i), at(b, i)), name="elementwise")


def _requantize(walk: _Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """dequantize then quantize, with or without an activation between."""
    data = walk.integer(call)
    scale, rounding = data.scale / float(target.scale), walk.rounding
    whole_range = np.iinfo(output.dtype)
    if _mapping(data.quantization) == _mapping(target) and (output.low, output.high) == (
        whole_range.min,
        whole_range.max,
    ):
        return data.value
    if scale == 1.0 and data.zero_point == output.zero_point:
        bound = lambda x: tirx.min(tirx.max(x, tirx.const(output.low, x.dtype)), tirx.const(output.high, x.dtype))  # noqa: E731
    else:
        offset = tirx.const(-scale * data.zero_point, "float32")
        bound = lambda x: rounding.nearest(x.astype("float32") * tirx.const(scale, "float32") + offset, output)  # noqa: E731
    compute = lambda x: te.compute(x.shape, lambda *i: bound(x[i]), name="requantize")  # noqa: E731
    return walk.call("requantize", compute, data.value)


def _movement(walk: _Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """What only moves elements, or picks the largest, moves integers as well."""
    parts = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else [call.args[0]]
    data = [walk.integer(part) for part in parts]
    whole = np.iinfo(output.dtype)
    if (output.low, output.high) != (whole.min, whole.max):
        raise NotLowered("it is followed by an activation")
    operands = [_in_units_of(walk, part, target, output) for part in data]
    operand = relax.Tuple(operands) if isinstance(call.args[0], relax.Tuple) else operands[0]
    extra = {}
    if _name(call) == "relax.nn.pad":
        if call.attrs.pad_mode != "constant":
            raise NotLowered(f"padding by {call.attrs.pad_mode}")
        extra["pad_value"] = float(np.round(call.attrs.pad_value / target.scale)) + float(target.zero_point)
    return rebuild_call(call, [operand, *call.args[1:]], **extra)


def _in_units_of(walk: _Walk, data: Integer, target: Quantization, output: Output) -> relax.Expr:
    """An operand with a scale of its own, as the result's."""
    if _mapping(data.quantization) == _mapping(target):
        return data.value
    scale = tirx.const(data.scale / float(target.scale), "float32")
    offset, rounding = tirx.const(-data.scale / float(target.scale) * data.zero_point, "float32"), walk.rounding
    bound = lambda x: rounding.nearest(x.astype("float32") * scale + offset, output)  # noqa: E731
    compute = lambda x: te.compute(x.shape, lambda *i: bound(x[i]), name="requantize")  # noqa: E731
    return walk.builder.emit(walk.call("requantize", compute, data.value))


def _convolve(
    walk: _Walk, call: relax.Call, bias: relax.Expr | None, target: Quantization, output: Output
) -> relax.Expr:
    data = walk.integer(call.args[0])
    weights = constant_integers(call.args[1], walk.definitions)
    if weights is None:
        raise NotLowered("its weights are not constant integers")
    transposed = _name(call) == "relax.nn.conv2d_transpose"
    if call.attrs.data_layout != "NHWC":
        raise NotLowered(f"its layout is {call.attrs.data_layout}")
    integers, quantization = weights
    outputs_axis = 1 if transposed else {"HWIO": 3, "HWOI": 2}[str(call.attrs.kernel_layout)]
    count = int(call.ty.shape[3])
    if quantization.scale.ndim and quantization.axis != outputs_axis:
        raise NotLowered("its weights are quantized along another axis than their outputs")
    scale = np.broadcast_to(quantization.scale, (count,))
    zero_points = np.broadcast_to(quantization.zero_point, (count,))
    unit = np.float64(data.quantization.scale) * scale.astype("float64")  # of the sums
    offset = _bias(walk, bias, unit, count)
    kernel = _Kernel(integers, zero_points, offset, outputs_axis)
    requantize = Requantize.of(walk.rounding, data.quantization.scale, scale, target.scale, output)
    if transposed:
        return _transposed(walk, call, data, kernel, requantize)
    top, left, bottom, right = (int(n) for n in call.attrs.padding)
    window = Window(_pair(call.attrs.strides), (top, left, bottom, right), _pair(call.attrs.dilation))
    if int(call.attrs.groups) > 1:
        return _depthwise(walk, call, data, kernel, window, requantize)
    return _dense(walk, call, data, kernel, window, requantize)


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    first, second = (int(n) for n in numbers)
    return first, second


def _bias(walk: _Walk, bias: relax.Expr | None, unit: np.ndarray, count: int) -> np.ndarray:
    """int64, in units of the sums."""
    if bias is None:
        return np.zeros(count, "int64")
    stored = constant_integers(bias, walk.definitions)
    if stored is not None and not stored[1].zero_point.any() and np.allclose(stored[1].scale, unit, rtol=1e-5):
        return np.broadcast_to(stored[0].astype("int64").reshape(-1), (count,))
    value = constant_value(bias, walk.definitions)
    assert value is not None  # the caller looked
    if value.size not in (1, count) or (value.ndim and value.shape[-1] not in (1, count)):
        raise NotLowered("what is added to it is no bias of its channels")
    return np.broadcast_to(np.round(value.astype("float64").reshape(-1) / unit).astype("int64"), (count,))


@dataclass(frozen=True)
class _Kernel:
    """Weights as the source stores them, their zero points and the bias, one for each output."""

    integers: np.ndarray
    zero_points: np.ndarray
    bias: np.ndarray
    outputs_axis: int

    def signed(self) -> tuple[np.ndarray, np.ndarray]:
        """int8 weights and the zero points that are left, all 0 where they could be subtracted."""
        shape = [1] * self.integers.ndim
        shape[self.outputs_axis] = -1
        numbers = self.integers.astype("int32") - self.zero_points.reshape(shape)
        if numbers.min() >= -128 and numbers.max() <= 127:
            return numbers.astype("int8"), np.zeros_like(self.zero_points)
        shift = 128 if self.integers.dtype == np.uint8 else 0
        return (self.integers.astype("int32") - shift).astype("int8"), self.zero_points - shift

    def largest(self) -> np.ndarray:
        """What the sums of each output cannot exceed."""
        others = tuple(axis for axis in range(self.integers.ndim) if axis != self.outputs_axis)
        return 255 * np.abs(self.numbers()).astype("int64").sum(others) + np.abs(self.bias)

    def numbers(self) -> np.ndarray:
        """The weights less their zero points, int32."""
        shape = [1] * self.integers.ndim
        shape[self.outputs_axis] = -1
        return self.integers.astype("int32") - self.zero_points.reshape(shape)


def _dense(
    walk: _Walk, call: relax.Call, data: Integer, kernel: _Kernel, window: Window, requantize: Requantize
) -> relax.Expr:
    weight, left_over = kernel.signed()
    height, width, inputs, outputs = weight.shape
    packed = pack_integer_weights(weight, walk.isa.lanes_for(outputs))
    channels = packed.shape[3] * packed.shape[5]  # those behind the source's hold the zero point
    taken = weight.astype("int64").sum((0, 1, 2))
    bias = kernel.bias - data.zero_point * (taken - height * width * channels * left_over.astype("int64"))
    bounded = requantize.bounded(kernel.largest())
    shape = tuple(int(n) for n in call.ty.shape)
    size = (shape[1], shape[2])

    def compute(x: te.Tensor, w: te.Tensor, start: te.Tensor, *constants: te.Tensor) -> te.Tensor:
        padded = pad_integer(x, window.padding, channels, data.zero_point)
        sums = integer_conv2d(padded, w, window, size, walk.isa.registers)
        if not left_over.any():
            return requantize.store(lambda n, y, x, c: sums[n, y, x, c] + start[c], shape, constants, bounded)
        totals, (zeros, *scales) = window_sums(padded, (height, width), window, size), constants
        corrected = lambda n, y, x, c: sums[n, y, x, c] + start[c] - zeros[c] * totals[n, y, x]  # noqa: E731
        return requantize.store(corrected, shape, scales, bounded)

    constants = [packed, bias.astype("int32"), *[left_over.astype("int32")] * bool(left_over.any())]
    return walk.call("integer_conv2d", compute, data.value, *map(relax.const, [*constants, *requantize.constants()]))


def _depthwise(
    walk: _Walk, call: relax.Call, data: Integer, kernel: _Kernel, window: Window, requantize: Requantize
) -> relax.Expr:
    channels = int(call.args[0].ty.shape[3])
    if int(call.attrs.groups) != channels or int(call.ty.shape[3]) != channels:
        raise NotLowered(f"{call.attrs.groups} groups from {channels} channels")
    numbers = kernel.numbers()
    numbers = numbers[..., 0] if kernel.outputs_axis == 2 else numbers[:, :, 0]  # HWOI, HWIO -> (kh, kw, C)
    largest = int(np.abs(numbers).sum((0, 1)).max()) * 255
    if largest >= _EXACT_IN_FLOAT:
        raise NotLowered(f"its sums reach {largest}")
    if walk.rounding is not Rounding.REFERENCE and numbers.shape[1] <= 8:
        size = (int(call.args[0].ty.shape[1]), int(call.args[0].ty.shape[2]))
        depthwise = Depthwise(size, channels, numbers.shape[:2], window, data.zero_point, requantize.output)
        dot = depthwise.dot_product(walk.isa)
        if dot and requantize.bounded(kernel.largest()):
            bias = kernel.bias - data.zero_point * numbers.sum((0, 1))
            tables = depthwise.tables(numbers, bias, requantize.scale, dot.lanes)
            function = integer_depthwise_kernel(depthwise, dot, terms=tables[0].shape[1])
            return walk.call_kernel(
                "integer_depthwise_conv2d", function, call.ty.shape, requantize.output.dtype, data.value, *tables
            )
    lanes = walk.isa.lanes_for(channels)
    weight = np.pad(numbers, ((0, 0), (0, 0), (0, -channels % lanes))).astype("float32")
    shape = tuple(int(n) for n in call.ty.shape)
    small, bounded = int(kernel.largest().max()) < _EXACT_IN_FLOAT, requantize.bounded(kernel.largest())
    exact = "float32" if small and walk.rounding is not Rounding.REFERENCE else "int32"

    def compute(x: te.Tensor, w: te.Tensor, bias: te.Tensor, *scales: te.Tensor) -> te.Tensor:
        sums = integer_depthwise_conv2d(x, w, window, data.zero_point)
        return requantize.store(lambda n, y, x, c: sums[n, y, x, c].astype(exact) + bias[c], shape, scales, bounded)

    constants = [weight, kernel.bias.astype(exact), *requantize.constants()]
    return walk.call("integer_depthwise_conv2d", compute, data.value, *map(relax.const, constants))


def _transposed(walk: _Walk, call: relax.Call, data: Integer, kernel: _Kernel, requantize: Requantize) -> relax.Expr:
    weight, left_over = kernel.signed()
    strides, (top, left) = _pair(call.attrs.strides), _pair(call.attrs.padding[:2])
    size = (int(call.ty.shape[1]), int(call.ty.shape[2]))
    whole = all(n % stride == 0 for n, stride in zip(size, strides, strict=True))
    if left_over.any() or not whole or int(call.attrs.groups) != 1 or any(int(n) != 1 for n in call.attrs.dilation):
        raise NotLowered("its weights' zero points, size, groups or dilation")
    outputs = weight.shape[1]
    packed = pack_transposed_integer_weights(weight, walk.isa.lanes_for(outputs), strides, (top, left))
    # each output phase has taps of its own, so its share of the input's zero point is its own as well
    _, sy, sx, *_ = packed.shape
    taken = packed.astype("int64").sum((3, 4, 5, 7)).transpose(1, 2, 0, 3).reshape(sy, sx, -1)[..., :outputs]
    bias = kernel.bias - data.zero_point * taken

    bounded = requantize.bounded(kernel.largest())

    def compute(x: te.Tensor, w: te.Tensor, start: te.Tensor, *scales: te.Tensor) -> te.Tensor:
        sums = integer_conv2d_transpose(x, w, (top, left), size, data.zero_point)
        at = lambda n, y, x, c: sums[n, y // sy, x // sx, y % sy, x % sx, c] + start[y % sy, x % sx, c]  # noqa: E731
        return requantize.store(at, (1, *size, outputs), scales, bounded)

    constants = [packed, bias.astype("int32"), *requantize.constants()]
    return walk.call("integer_conv2d_transpose", compute, data.value, *map(relax.const, constants))


_CONVOLUTIONS = {"relax.nn.conv2d", "relax.nn.conv2d_transpose"}
_ROWS: dict[str, Callable[[_Walk, relax.Call, Quantization, Output], relax.Expr]] = {
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    "relax.add": _add,
    "relax.subtract": _sum,
    "relax.multiply": _product,
    "relax.dequantize": _requantize,
    **{
        f"relax.{name}": _movement
        for name in "reshape permute_dims strided_slice concat nn.pad nn.max_pool2d squeeze expand_dims".split()
    },
}
