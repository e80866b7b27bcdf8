"""Outputs dropped and cut: the same numbers as NumPy cuts out of the whole, computed from less."""

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax import op as R

from tests.native import network
from tvmpose import qdq
from tvmpose.passes.prune import prune
from tvmpose.selection import Part

RANDOM = np.random.default_rng(5)
KEPT = (0, 3, 4)
Numbers = np.ndarray


def numbers(*shape: int) -> Numbers:
    return RANDOM.standard_normal(shape, dtype="float32")


X = numbers(1, 4, 5, 6)
NHWC = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
W, BIAS, PLUS = numbers(1, 1, 6, 8), numbers(8), numbers(1, 1, 6, 2)
STEPS = RANDOM.integers(-127, 128, (1, 1, 6, 8)).astype("int8")
SCALES, ZEROS = RANDOM.uniform(0.01, 0.02, 8).astype("float32"), RANDOM.integers(-3, 4, 8).astype("int32")
TRANSPOSED = numbers(6, 8, 2, 2)


def emit(value: relax.Expr) -> relax.Var:
    return relax.BlockBuilder.current().emit(value)


def pointwise(x: relax.Expr, weights: relax.Expr | None = None) -> relax.Var:
    return emit(R.nn.conv2d(x, relax.const(W) if weights is None else weights, **NHWC))


def biased(x: relax.Expr) -> relax.Var:
    return emit(R.add(pointwise(x), relax.const(BIAS)))


def calls(module: tvm.IRModule, name: str) -> list[relax.Call]:
    found: list[relax.Call] = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call) and getattr(expression.op, "name", "") == f"relax.{name}":
            found.append(expression)

    relax.analysis.post_order_visit(module["main"], visit)
    return found


def extents(value: relax.Expr) -> list[int]:
    return [int(extent) for extent in value.ty.shape]


def run(module: tvm.IRModule, *inputs: Numbers) -> list[Numbers]:
    """By TVM's own operators, none of our kernels."""
    with tvm.transform.PassContext(opt_level=1):
        machine = relax.VirtualMachine(tvm.compile(relax.transform.LegalizeOps()(module), "llvm"), tvm.cpu())
    return [result.numpy() for result in machine["main"](*map(tvm.runtime.tensor, inputs))]


def product(x: Numbers, weights: Numbers) -> Numbers:
    return x.astype("float64") @ weights.reshape(weights.shape[-2:]).astype("float64")


# Each: the network, the whole output in NumPy, the axis, and the operators that hold its weights
def nhwc(x):
    small = emit(R.clip(biased(x), 0, 6))
    return R.image.resize2d(small, (8, 10), layout="NHWC", method="nearest_neighbor", rounding_method="floor",
                            coordinate_transformation_mode="asymmetric")  # fmt: skip


def nchw(x):
    kernel = relax.const(np.ascontiguousarray(W.transpose(3, 2, 0, 1)))
    maps = emit(R.nn.conv2d(emit(R.permute_dims(x, [0, 3, 1, 2])), kernel))
    return R.sigmoid(emit(R.add(maps, emit(R.reshape(relax.const(BIAS), (1, 8, 1, 1))))))


def turned(x):
    return R.permute_dims(emit(R.nn.max_pool2d(biased(x), (2, 1), strides=(2, 1), layout="NHWC")), [0, 3, 2, 1])


def transposed(x):
    return R.nn.conv2d_transpose(emit(R.permute_dims(x, [0, 3, 1, 2])), relax.const(TRANSPOSED), strides=(2, 2))


def joined(x):
    return R.concat([pointwise(x), pointwise(x, relax.const(PLUS))], axis=3)


def side_by_side(x):
    return R.concat([biased(x), pointwise(x)], axis=1)


def dense(x):
    flat = emit(R.reshape(x, (1, 4 * 5, 6)))
    return R.multiply(emit(R.matmul(flat, relax.const(W[0, 0]))), relax.const(np.float32(2)))


def integers(x):
    quantization = qdq.Quantization(SCALES, ZEROS, "int8", 3)
    return pointwise(x, emit(qdq.dequantize(relax.const(STEPS), quantization)))


def transposed_by_numpy() -> Numbers:
    blocks = np.einsum("yxi,ioab->oyaxb", X[0].astype("float64"), TRANSPOSED.astype("float64"))
    return blocks.reshape(1, 8, 8, 10)


WHOLE = product(X, W) + BIAS
CASES: dict[Callable[[relax.Expr], relax.Expr], tuple[Numbers, int]] = {
    nhwc: (np.clip(WHOLE, 0, 6).repeat(2, axis=1).repeat(2, axis=2), 3),
    nchw: (1 / (1 + np.exp(-WHOLE.transpose(0, 3, 1, 2))), 1),
    turned: (WHOLE.reshape(1, 2, 2, 5, 8).max(axis=2).transpose(0, 3, 2, 1), 1),
    transposed: (transposed_by_numpy(), 1),
    joined: (np.concatenate([product(X, W), product(X, PLUS)], axis=3), 3),
    side_by_side: (np.concatenate([WHOLE, product(X, W)], axis=1), 3),
    dense: (2 * product(X, W).reshape(1, 20, 8), 2),
    integers: (product(X, (STEPS.astype("float64") - ZEROS) * SCALES), 3),
}


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_prune__part_of_an_output__numpy_s_and_from_that_part_of_the_weights(build):
    whole, axis = CASES[build]
    module = prune(network(build, X.shape), [Part(0, axis, KEPT)])
    (found,) = run(module, X)
    np.testing.assert_allclose(found, np.take(whole, KEPT, axis), rtol=1e-5, atol=1e-5)
    assert not calls(module, "take")
    products = [*calls(module, "nn.conv2d"), *calls(module, "nn.conv2d_transpose"), *calls(module, "matmul")]
    assert products and all(len(KEPT) in extents(call.args[1]) for call in products)


def test_prune__concatenation__parts_without_a_kept_one_are_not_computed():
    module = prune(network(joined, X.shape), [Part(0, 3, (8,))])
    (convolution,) = calls(module, "nn.conv2d")
    assert extents(convolution.args[1]) == [1, 1, 6, 1] and not calls(module, "concat")
    np.testing.assert_allclose(run(module, X)[0], CASES[joined][0][..., 8:9], rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.data())
def test_prune__any_reshape_of_a_matrix_product__numpy_s(after, data):
    """Also where the axis is no axis, nor blocks or parts of one, before the reshape: then the cut stays behind it."""
    before = data.draw(st.sampled_from([[1, int(np.prod(after))], [after[0], int(np.prod(after[1:]))]]))
    axis = data.draw(st.integers(0, len(after) - 1))
    kept = tuple(sorted(data.draw(st.sets(st.integers(0, after[axis] - 1), min_size=1))))
    x, weights = numbers(before[0], 3), numbers(3, before[1])

    def build(x: relax.Expr) -> relax.Expr:
        return R.reshape(emit(R.matmul(x, relax.const(weights))), after)

    (found,) = run(prune(network(build, x.shape), [Part(0, axis, kept)]), x)
    np.testing.assert_allclose(found, np.take(product(x, weights).reshape(after), kept, axis), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("before", "after", "axis", "kept", "columns"),
    [
        ((1, 1, 1, 12), (1, 12), 1, (3, 4, 5), 3),
        ((1, 12), (1, 4, 3), 1, (1, 3), 6),  # rows of three
        ((1, 4, 3), (1, 12), 1, (3, 4, 5, 9, 10, 11), 3),  # whole rows: the product's own columns stay
    ],
)
def test_prune__reshape__rows_are_found_in_the_weights(before, after, axis, kept, columns):
    weights = numbers(6, before[-1])
    x = numbers(*before[:-1], 6)

    def build(x: relax.Expr) -> relax.Expr:
        return R.reshape(emit(R.matmul(x, relax.const(weights))), after)

    module = prune(network(build, x.shape), [Part(0, axis, kept)])
    expected = np.take(product(x, weights).reshape(after), kept, axis)
    np.testing.assert_allclose(run(module, x)[0], expected, rtol=1e-5, atol=1e-5)
    if before != (1, 4, 3):
        assert extents(calls(module, "matmul")[0].args[1])[1] == columns


# Where it cannot move: the whole is computed, once, and the cut is the last thing


def also_an_output(x):
    maps = pointwise(x)
    return [R.nn.relu(maps), maps]


def grouped(x):
    kernel = relax.const(numbers(3, 3, 6, 1).reshape(3, 3, 6, 1))
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWOI"}
    return [R.nn.conv2d(x, kernel, padding=1, groups=6, **layouts)]


def mixed(x):
    return [R.nn.softmax(biased(x), axis=3)]


def without_weights(x):
    return [R.add(emit(R.nn.relu(x)), emit(R.exp(x)))]


@pytest.mark.parametrize("build", [also_an_output, grouped, mixed, without_weights], ids=lambda build: build.__name__)
def test_prune__value_that_is_needed_whole__cut_at_the_end(build):
    module = network(build, X.shape)
    parts = [Part(0, 3, KEPT), *(Part(i) for i in range(1, len(module["main"].ret_ty.fields)))]
    pruned = prune(module, parts)
    (take,) = calls(pruned, "take")
    assert extents(take.args[0])[3] > len(KEPT)
    for whole, found, part in zip(run(module, X), run(pruned, X), parts, strict=True):
        np.testing.assert_array_equal(found, part.of(whole))


def test_prune__outputs__order_as_asked_and_what_only_the_others_need_is_gone():
    def build(x: relax.Expr) -> list[relax.Expr]:
        first = pointwise(x)
        return [first, R.exp(pointwise(first, relax.const(numbers(1, 1, 8, 9)))), R.tanh(x)]

    module = prune(network(build, X.shape), [Part(2), Part(0)])
    assert len(calls(module, "nn.conv2d")) == 1 and not calls(module, "exp")
    tanh, product_ = run(module, X)
    np.testing.assert_allclose(tanh, np.tanh(X.astype("float64")), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(product_, product(X, W), rtol=1e-5, atol=1e-5)


def test_prune__constants__no_copy_of_the_whole_weights_is_left():
    module = prune(network(biased, X.shape), [Part(0, 3, (7,))])
    sizes = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, GenericConst):
            sizes.append(expression.value.numpy().size)

    relax.analysis.post_order_visit(module["main"], visit)
    assert sorted(sizes) == [1, 6]
