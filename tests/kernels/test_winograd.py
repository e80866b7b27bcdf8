"""Winograd's convolutions against NumPy in float64, and where they are chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tvm import relax
from tvm.tirx import PrimFunc

from tests.kernels.epilogues import epilogues
from tests.kernels.test_convolution import TARGETS, Problem, assert_close, reference, transposed_reference
from tests.native import network, run_pipelined
from tvmpose.kernels.isa import vector_isa
from tvmpose.kernels.winograd import TRANSFORMS
from tvmpose.passes.lower_convolution import LowerConvolution
from tvmpose.targets import Target, host_target

SMALL = st.integers(-8, 8)
CHANNELS = st.sampled_from([32, 48, 64, 80])


def conv2d(x: relax.Expr, weight: np.ndarray, problem: Problem) -> relax.Expr:
    attributes = {"padding": problem.padding, "data_layout": "NHWC", "kernel_layout": "HWIO"}
    return relax.op.nn.conv2d(x, relax.const(weight), strides=problem.strides, **attributes)


def conv2d_transpose(x: relax.Expr, weight: np.ndarray, problem: Problem) -> relax.Expr:
    attributes = {"padding": problem.padding, "data_layout": "NHWC", "kernel_layout": "IOHW"}
    return relax.op.nn.conv2d_transpose(x, relax.const(weight), strides=problem.strides, **attributes)


def kernels(module, target: Target) -> list[str]:
    lowered = LowerConvolution(vector_isa(target.llvm()))(module)
    return [name.name_hint for name, function in lowered.functions_items() if isinstance(function, PrimFunc)]


@given(st.sampled_from(sorted(TRANSFORMS)), st.data())
def test_transforms__integers__give_exactly_the_filter(taps, data):
    transform = TRANSFORMS[taps]
    values = data.draw(arrays.arrays(np.int64, transform.points, elements=SMALL))
    kernel = data.draw(arrays.arrays(np.int64, taps, elements=SMALL))
    found = transform.output @ ((transform.weights @ kernel) * (transform.inputs @ values))
    assert found.tolist() == [values[i : i + taps] @ kernel for i in (0, 1)]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4), label="padding")
    half = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)), label="half the output")
    size = tuple(max(1, 2 * half[i] + 2 - padding[i] - padding[i + 2]) for i in (0, 1))
    return Problem((size[0], size[1]), draw(CHANNELS), draw(CHANNELS), (3, 3), padding=padding)


@settings(max_examples=10, deadline=None)
@given(problem=problems(), target=st.sampled_from(TARGETS))
def test_conv2d__3x3_of_many_channels__agrees_with_float64(problem: Problem, target: Target):
    data, weight = problem.arrays(3, 3, problem.inputs, problem.outputs)
    module = network(lambda x: conv2d(x, weight, problem), data.shape)
    (found,) = run_pipelined(module, target, data)
    assert ("winograd_conv2d" in kernels(module, target)) == (found.shape[1] % 2 == found.shape[2] % 2 == 0)
    assert_close(found, lambda d, w: reference(problem, d, w, "yxi,io->yxo"), data, weight)


@settings(max_examples=10, deadline=None)
@given(
    size=st.tuples(st.sampled_from([2, 4, 8, 14]), st.sampled_from([2, 6, 10])),
    channels=st.tuples(CHANNELS, CHANNELS),
    shape=st.sampled_from(
        [((4, 4), (1, 1, 1, 1)), ((4, 4), (2, 1, 0, 1)), ((3, 3), (1, 1, 0, 0)), ((3, 4), (0, 0, 1, 2))]
    ),
    target=st.sampled_from(TARGETS),
)
def test_conv2d_transpose__stride_2_of_many_channels__agrees_with_float64(size, channels, shape, target: Target):
    problem = Problem(size, *channels, shape[0], (2, 2), shape[1])
    data, weight = problem.arrays(*channels, *problem.kernel)
    module = network(lambda x: conv2d_transpose(x, weight, problem), data.shape)
    assert kernels(module, target) == ["winograd_conv2d_transpose"]
    (found,) = run_pipelined(module, target, data)
    assert_close(found, lambda d, w: transposed_reference(problem, d, w, found.shape[1:3]), data, weight)


EPILOGUES = epilogues(32)


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("transposed", [False, True])
def test_epilogues__behind_winograd__agree_with_float64(name, transposed):
    relaxed, plain = EPILOGUES[name]
    if transposed:
        problem = Problem((6, 5), 32, 32, (4, 4), (2, 2), (1, 1, 1, 1))
        data, weight = problem.arrays(32, 32, 4, 4)
        expected = transposed_reference(problem, data, weight, (12, 10))
    else:
        problem = Problem((12, 10), 32, 32, (3, 3), padding=(1, 1, 1, 1))
        data, weight = problem.arrays(3, 3, 32, 32)
        expected = reference(problem, data, weight, "yxi,io->yxo")
    operator = conv2d_transpose if transposed else conv2d
    module = network(lambda x: relaxed(operator(x, weight, problem)), data.shape)
    (found,) = run_pipelined(module, host_target(), data)
    theirs = plain(expected)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


DIRECT = {
    "few channels": Problem((12, 10), 16, 32, (3, 3)),
    "a part of a vector": Problem((12, 10), 32, 35, (3, 3)),
    "strides": Problem((13, 11), 32, 32, (3, 3), (2, 2)),
    "5x5": Problem((14, 12), 32, 32, (5, 5)),
    "weights for no cache": Problem((12, 10), 512, 512, (3, 3)),
}


@pytest.mark.parametrize("name", DIRECT)
def test_lower_convolution__no_case_for_winograd__is_direct(name):
    problem = DIRECT[name]
    _, weight = problem.arrays(*problem.kernel, problem.inputs, problem.outputs)
    module = network(lambda x: conv2d(x, weight, problem), (1, *problem.size, problem.inputs))
    assert kernels(module, host_target()) == ["conv2d"]
