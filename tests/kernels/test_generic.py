"""The one schedule for everything that is no convolution, against NumPy in float64 or OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tests.native import network, run_pipelined
from tvmpose.targets import host_target, load_target

R = relax.op
RANDOM = np.random.default_rng(2)
BIG, ODD = (1, 24, 31, 40), (1, 23, 29, 17)  # of more than PARALLEL_WORK elements; whole vectors, and none


def windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """The pooling windows of an NHWC tensor, without padding: (1, OH, OW, C, size, size)."""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def resized(x: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(x[0], (width, height), interpolation=cv2.INTER_LINEAR)[None]


def linear(x: relax.Expr, height: int, width: int) -> relax.Expr:
    mode = {"method": "linear", "coordinate_transformation_mode": "half_pixel"}
    return R.image.resize2d(x, (height, width), layout="NHWC", **mode)


GRID = RANDOM.permutation(23 * 29 * 17).reshape(ODD).astype("float32")  # no two alike
OPERATORS = {
    # in Relax, in NumPy, shape
    "max pooling": (lambda x: R.nn.max_pool2d(x, 3, 2, layout="NHWC"), lambda x: windows(x, 3, 2).max((-1, -2)), BIG),
    "average pooling": (
        lambda x: R.nn.avg_pool2d(x, 2, 2, layout="NHWC"),
        lambda x: windows(x, 2, 2).mean((-1, -2)),
        ODD,
    ),
    "enlarging": (lambda x: linear(x, 48, 62), lambda x: resized(x, 62, 48), BIG),
    "resizing by an odd factor": (lambda x: linear(x, 31, 40), lambda x: resized(x, 40, 31), ODD),
    "softmax": (R.nn.softmax, softmax, BIG),
    "softmax of odd rows": (R.nn.softmax, softmax, ODD),
    "mean over space": (lambda x: R.mean(x, [1, 2]), lambda x: x.mean((1, 2)), BIG),
    "mean over channels": (lambda x: R.mean(x, [3], True), lambda x: x.mean(3, keepdims=True), ODD),
    "mean of all": (lambda x: R.mean(x), lambda x: x.mean(), BIG),
    "maximum of all": (lambda x: R.max(x), lambda x: x.max(), ODD),
    "concatenation": (
        lambda x: R.concat([x, R.nn.relu(x)], 3),
        lambda x: np.concatenate([x, np.maximum(x, 0)], 3),
        ODD,
    ),
    "transpose": (lambda x: R.permute_dims(x, [0, 3, 1, 2]), lambda x: x.transpose(0, 3, 1, 2), ODD),
    "padding": (
        lambda x: R.nn.pad(x, [0, 0, 1, 2, 3, 0, 0, 1]),
        lambda x: np.pad(x, [(0, 0), (1, 2), (3, 0), (0, 1)]),
        BIG,
    ),
    "elementwise chain": (lambda x: R.exp(R.negative(R.abs(R.add(x, x)))), lambda x: np.exp(-np.abs(x + x)), ODD),
    "broadcasting product": (
        lambda x: R.multiply(x, R.sigmoid(R.mean(x, [1, 2], True))),
        lambda x: x / (1 + np.exp(-x.mean((1, 2), keepdims=True))),
        ODD,
    ),
    "tiny": (lambda x: R.tanh(x), np.tanh, (3,)),
    "scalar": (lambda x: R.sqrt(R.abs(x)), lambda x: np.sqrt(np.abs(x)), ()),
}
EXACT = {
    "argmax over channels": (lambda x: R.argmax(x, 3), lambda x: x.argmax(3)),
    "argmax of all": (lambda x: R.argmax(R.reshape(x, (23 * 29 * 17,)), 0), lambda x: x.argmax()),
    "argmin over rows": (lambda x: R.argmin(x, 1), lambda x: x.argmin(1)),
    "gather": (
        lambda x: R.take(x, relax.const(np.array([5, 0, 28, 5], "int32")), 2),
        lambda x: x[:, :, [5, 0, 28, 5]],
    ),
    "integer division": (
        lambda x: R.floor_divide(R.astype(x, "int32"), relax.const(np.array(7, "int32"))),
        lambda x: x.astype("int32") // 7,
    ),
    "integer remainder": (
        lambda x: R.subtract(
            R.astype(x, "int32"),
            R.multiply(R.floor_divide(R.astype(x, "int32"), relax.const(np.int32(29))), relax.const(np.int32(29))),
        ),
        lambda x: x.astype("int32") % 29,
    ),
    "comparison": (lambda x: R.astype(R.greater(x, relax.const(np.float32(99))), "int32"), lambda x: (x > 99) * 1),
    "reversed": (lambda x: R.flip(x, 3), lambda x: x[..., ::-1]),
}


@pytest.mark.parametrize("target", ["x86-64-v2", "host"])
def test_generic__float_operators__agree_with_float64(target):
    shapes = [shape for *_, shape in OPERATORS.values()]
    inputs = [RANDOM.standard_normal(shape, dtype="float32") for shape in shapes]
    module = network(lambda *xs: [op(x) for (op, *_), x in zip(OPERATORS.values(), xs, strict=True)], *shapes)
    outputs = run_pipelined(module, load_target(target), *inputs)
    for (name, (_, expected, _)), x, found in zip(OPERATORS.items(), inputs, outputs, strict=True):
        theirs = np.asarray(expected(x.astype("float64")))
        assert found.shape == theirs.shape, name
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5 * max(1, np.abs(theirs).max()), err_msg=name)


def test_generic__indices_and_integers__are_exact():
    module = network(lambda x: [operator(x) for operator, _ in EXACT.values()], ODD)
    for (name, (_, expected)), found in zip(EXACT.items(), run_pipelined(module, host_target(), GRID), strict=True):
        np.testing.assert_array_equal(found, expected(GRID), err_msg=name)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.data())
def test_generic__reduction_of_any_axes__agrees_with_float64(shape, data):
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1), label="axes")
    keep = data.draw(st.booleans(), label="keep dimensions")
    x = RANDOM.standard_normal(shape, dtype="float32")
    module = network(lambda v: [R.sum(R.nn.relu(v), list(axes), keep), R.min(v, list(axes), keep)], shape)
    total, least = run_pipelined(module, host_target(), x)
    theirs = np.maximum(x, 0).astype("float64").sum(tuple(axes), keepdims=keep)
    rounded = np.sqrt(x.size) * 2.0**-24  # of so many float32, one after the other, what the last bits add up to
    np.testing.assert_allclose(total, theirs, rtol=1e-5 + rounded, atol=1e-5)
    np.testing.assert_array_equal(least, x.min(tuple(axes), keepdims=keep))
