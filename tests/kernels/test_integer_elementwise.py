"""Sums, products and rescalings of quantized numbers against float64, for any scales; exactness is tested on LiteRT."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te

from tests.kernels.test_requantize import computed
from tvmpose.kernels.integer import Output
from tvmpose.kernels.integer_elementwise import mean_formula, product_formula, rescale_formula, sum_formula
from tvmpose.kernels.requantize import Rounding
from tvmpose.qdq import Quantization, per_tensor

few = settings(max_examples=15, deadline=None)
BYTES = np.random.default_rng(5).integers(-128, 128, (2, 400)).astype("int8")
scales = st.floats(2.0**-9, 2.0, width=32)
quantizations = st.builds(lambda scale, zero: per_tensor(scale, zero, "int8"), scales, st.integers(-128, 127))


def numbers(integers: np.ndarray, quantization: Quantization) -> np.ndarray:
    return (integers.astype("float64") - int(quantization.zero_point)) * np.float64(quantization.scale)


def assert_near(found: np.ndarray, exact: np.ndarray, target: Quantization, error: float) -> None:
    """Within `error` steps of the real number."""
    steps = np.clip(exact / np.float64(target.scale) + int(target.zero_point), -128, 127)
    assert np.abs(found - steps).max() <= error


def whole(target: Quantization) -> Output:
    return Output("int8", int(target.zero_point), -128, 127)


@few
@given(st.sampled_from(Rounding), quantizations, quantizations, quantizations, st.sampled_from([-1, 1]))
def test_sum_formula__any_scales__is_the_nearest_integer(
    rounding: Rounding, a: Quantization, b: Quantization, target: Quantization, sign: int
):
    formula = sum_formula(rounding, a, b, target, whole(target), sign)
    found = computed(lambda x, y: te.compute(x.shape, lambda i: formula(x[i], y[i])), *BYTES)
    exact = numbers(BYTES[0], a) + sign * numbers(BYTES[1], b)
    assert_near(found, exact, target, 0.51)


@few
@given(st.sampled_from(Rounding), quantizations, quantizations, quantizations)
def test_product_formula__any_scales__is_the_nearest_integer(
    rounding: Rounding, a: Quantization, b: Quantization, target: Quantization
):
    formula = product_formula(rounding, a, b, target, whole(target))
    found = computed(lambda x, y: te.compute(x.shape, lambda i: formula(x[i], y[i])), *BYTES)
    assert_near(found, numbers(BYTES[0], a) * numbers(BYTES[1], b), target, 1.01)  # fixed point rounds twice


@few
@given(st.sampled_from(Rounding), quantizations, quantizations)
def test_rescale_formula__any_scales__is_the_nearest_integer(
    rounding: Rounding, data: Quantization, target: Quantization
):
    formula = rescale_formula(rounding, data, target, whole(target))
    found = computed(lambda x: te.compute(x.shape, lambda i: formula(x[i])), BYTES[0])
    # XNNPACK has 8 bits behind the point of a scale, so that 255 steps may be one off
    assert_near(found, numbers(BYTES[0], data), target, 1.01)


@few
@given(st.sampled_from(Rounding), quantizations, quantizations, st.integers(1, 400))
def test_mean_formula__any_count__is_the_nearest_integer(
    rounding: Rounding, data: Quantization, target: Quantization, count: int
):
    sums = BYTES[0].astype("int32") * count + np.arange(BYTES.shape[1], dtype="int32") % count
    formula = mean_formula(rounding, data, target, whole(target), count)
    found = computed(lambda x: te.compute(x.shape, lambda i: formula(x[i])), sums)
    assert_near(found, numbers(sums / count, data), target, 1.01)
