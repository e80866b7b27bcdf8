"""Values of constant expressions against NumPy's, and what keeps integer weights integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.ir import GenericConst, IRModule

from tests.native import network
from tvmpose.passes.constants import constant_integers, constant_value, keeping_quantized_constants
from tvmpose.qdq import Quantization, dequantize, operator_name, per_tensor

RANDOM = np.random.default_rng(4)


def bound(*expressions: relax.Expr) -> tuple[relax.Var, dict[relax.Var, relax.Expr]]:
    """The last of a chain of expressions, each made of the one before by a function, with the definitions."""
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        with builder.dataflow():
            value = expressions[0]
            for expression in (lambda v: v, *expressions[1:]):
                value = builder.emit(expression(value))
            output = builder.emit_output(value)
        builder.emit_func_output(output)
    bindings = builder.get()["main"].body.blocks[0].bindings
    return output, {binding.var: binding.value for binding in bindings}


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 3))
def test_constant_value__dequantized_along_an_axis_then_transposed__is_numpy_s(axes: list[int], axis: int):
    integers = RANDOM.integers(-128, 128, (2, 3, 4, 5)).astype("int8")
    count = integers.shape[axis]
    quantization = Quantization(
        RANDOM.uniform(0.01, 0.1, count).astype("float32"), RANDOM.integers(-9, 9, count).astype("int32"), "int8", axis
    )
    output, definitions = bound(
        dequantize(relax.const(integers), quantization), lambda v: relax.op.permute_dims(v, list(axes))
    )
    shape = [-1 if i == axis else 1 for i in range(4)]
    scale, zero_point = quantization.scale.reshape(shape), quantization.zero_point.reshape(shape)
    exact = ((integers.astype("float64") - zero_point) * scale).transpose(axes)
    np.testing.assert_allclose(constant_value(output, definitions), exact, rtol=1e-6)
    moved, of_moved = constant_integers(output, definitions)
    np.testing.assert_array_equal(moved, integers.transpose(axes))
    assert moved.shape[of_moved.axis] == count
    assert of_moved.axis == list(axes).index(axis)


def test_constant_integers__reshaped__axis_follows_where_it_is_clear():
    integers, ones = RANDOM.integers(-128, 128, (6, 5)).astype("int8"), np.zeros(6, "int32")
    scales = Quantization(np.linspace(0.1, 0.2, 6, dtype="float32"), ones, "int8", 0)
    clear, definitions = bound(dequantize(relax.const(integers), scales), lambda v: relax.op.reshape(v, (1, 5, 6)))
    reshaped, quantization = constant_integers(clear, definitions)
    assert (reshaped.shape, quantization.axis) == ((1, 5, 6), 2)
    unclear, definitions = bound(dequantize(relax.const(integers), scales), lambda v: relax.op.reshape(v, (6, 5, 1, 1)))
    assert constant_integers(unclear, definitions) is not None
    twice = Quantization(scales.scale[:5], ones[:5], "int8", 1)
    square, definitions = bound(dequantize(relax.const(integers[:5]), twice), lambda v: relax.op.reshape(v, (5, 1, 5)))
    assert constant_integers(square, definitions) is None


@pytest.mark.parametrize("value", [np.float32(3), np.arange(6, dtype="float32").reshape(2, 3)])
def test_constant_value__plain_constant__is_itself(value: np.ndarray):
    np.testing.assert_array_equal(constant_value(relax.const(value), {}), value)


def test_constant_value__parameter__is_none():
    assert constant_value(relax.Var("x", relax.TensorType((2,), "float32")), {}) is None


def test_keeping_quantized_constants__folding__leaves_integers_and_folds_the_rest():
    weight = relax.const(RANDOM.integers(-128, 128, (4, 4)).astype("int8"))

    def build(x: relax.Expr) -> relax.Expr:
        number = relax.op.multiply(dequantize(weight, per_tensor(0.1, 0, "int8")), relax.op.exp(relax.const(1.0)))
        return relax.op.add(x, number)

    def operators(module: IRModule) -> list[str]:
        return [operator_name(binding.value) for binding in module["main"].body.blocks[0].bindings]

    module = relax.transform.Normalize()(network(build, (4, 4)))
    fold = relax.transform.FoldConstant()
    assert "relax.dequantize" not in operators(fold(module))
    kept = keeping_quantized_constants(fold)(module)
    assert "relax.dequantize" in operators(kept) and "relax.exp" not in operators(kept)
    (call,) = (b.value for b in kept["main"].body.blocks[0].bindings if operator_name(b.value) == "relax.dequantize")
    assert isinstance(call.args[0], GenericConst) and str(call.args[0].ty.dtype) == "int8"
    assert len(kept["main"].params) == 1
