"""Requantization in each arithmetic, against whole numbers of Python's and float64."""

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te

from tests.integer_judge import multiplied, quantized_multiplier, requantized
from tvmpose.kernels.integer import Output
from tvmpose.kernels.requantize import Requantize, Rounding, fixed_point, quantize_value
from tvmpose.qdq import per_tensor
from tvmpose.targets import host_target

few = settings(max_examples=20, deadline=None)
scales = st.floats(2.0**-12, 3.0, width=32)


def computed(build: Callable[..., te.Tensor], *arrays: np.ndarray) -> np.ndarray:
    """What a TE definition makes of arrays, compiled for this machine."""
    inputs = [te.placeholder(a.shape, a.dtype.name, f"x{i}") for i, a in enumerate(arrays)]
    result = build(*inputs)
    kernel = tvm.compile(te.create_prim_func([*inputs, result]), host_target().llvm())
    values = tvm.runtime.tensor(np.zeros(tuple(int(n) for n in result.shape), str(result.dtype)))
    kernel["main"](*map(tvm.runtime.tensor, arrays), values)
    return values.numpy()


@st.composite
def outputs(draw: st.DrawFn) -> Output:
    dtype = draw(st.sampled_from(["int8", "uint8"]))
    limits = np.iinfo(dtype)
    low = draw(st.integers(limits.min, limits.max - 1))
    return Output(dtype, draw(st.integers(limits.min, limits.max)), low, draw(st.integers(low + 1, limits.max)))


@given(st.floats(2.0**-40, 2.0**8))
def test_fixed_point__any_scale__is_the_source_s_multiplier(scale: float):
    multiplier, shift = fixed_point(np.float64(scale))
    assert (int(multiplier), int(shift)) == quantized_multiplier(scale)


@few
@given(
    st.sampled_from(Rounding),
    st.lists(scales, min_size=3, max_size=3),
    outputs(),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_requantize__sums_of_any_sign__are_the_judge_s(
    rounding: Rounding, factors: list[float], output: Output, seed: int, bounded: bool
):
    random = np.random.default_rng(seed)
    kind = "float64" if rounding is Rounding.REFERENCE else "float32"
    requantize = Requantize(rounding, np.array(factors, kind), output)
    small = random.integers(-600, 600, (1, 4, 30, 3))
    # sums that lie next to, or at, the middle between two results
    halves = np.rint((random.integers(-300, 300, small.shape) + 0.5) / np.array(factors)).astype("int64")
    sums = np.concatenate([small, halves]).astype("int32")[None].reshape(1, 8, 30, 3)

    def build(x: te.Tensor, *constants: te.Tensor) -> te.Tensor:
        return requantize.store(lambda n, y, x_, c: x[n, y, x_, c], (1, 8, 30, 3), constants, bounded)

    found = computed(build, sums, *requantize.constants())
    np.testing.assert_array_equal(found, requantized(sums.astype("int64"), requantize.scale, rounding, output))


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.REFERENCE, [-3, -2, -1, 1, 2, 3]),
        (Rounding.XNNPACK, [-2, -2, 0, 0, 2, 2]),
        (Rounding.ORT, [-2, -2, 0, 0, 2, 2]),
    ],
)
@pytest.mark.parametrize("zero_point", [0, 3, -7])
def test_requantize__halves__go_away_from_zero_or_to_the_even_one_before_the_zero_point(
    rounding: Rounding, expected: list[int], zero_point: int
):
    sums = np.array([-10, -6, -2, 2, 6, 10], "int32").reshape(1, 1, 6, 1)
    kind = "float64" if rounding is Rounding.REFERENCE else "float32"
    requantize = Requantize(rounding, np.array([0.25], kind), Output("int8", zero_point, -128, 127))

    def build(x: te.Tensor, *constants: te.Tensor) -> te.Tensor:
        return requantize.store(lambda n, y, x_, c: x[n, y, x_, c], sums.shape, constants, bounded=True)

    found = computed(build, sums, *requantize.constants()).ravel()
    assert (found - zero_point).tolist() == expected


def test_requantize_of__scales_of_uint8__are_multiplied_in_float32():
    """As LiteRT's legacy kernels; a value of 189.496 then comes out as 190, since it is rounded twice."""
    of_data, of_weight = np.float32(0.02352848), np.array([0.00733372], "float32")
    output = Output("uint8", 0, 0, 255)
    legacy, new = (
        Requantize.of(Rounding.REFERENCE, of_data, of_weight, of_data, output, dtype) for dtype in ("uint8", "int8")
    )
    assert legacy.scale[0] == np.float64(of_data * of_weight[0]) / np.float64(of_data) != new.scale[0]


@few
@given(st.sampled_from(Rounding), st.floats(2.0**-8, 2.0, width=32), st.integers(-128, 127), st.integers(0, 2**32))
def test_quantize_value__any_float__is_the_nearest_integer_within_range(
    rounding: Rounding, scale: float, zero_point: int, seed: int
):
    numbers = (np.random.default_rng(seed).standard_normal(200) * 200 * scale).astype("float32")
    numbers[:2] = 1e30, -1e30
    found = computed(lambda x: quantize_value(x, per_tensor(scale, zero_point, "int8"), rounding), numbers)
    exact = np.clip(numbers.astype("float64") / np.float64(np.float32(scale)) + zero_point, -128, 127)
    assert found[:2].tolist() == [127, -128]
    assert np.abs(found - exact).max() <= 0.5 + 1e-4


@given(st.integers(-(2**20), 2**20), st.floats(2.0**-20, 0.99))
def test_judge__fixed_point_product__is_near_the_real_one(value: int, scale: float):
    assert abs(multiplied(value, *quantized_multiplier(scale)) - value * scale) <= 1
