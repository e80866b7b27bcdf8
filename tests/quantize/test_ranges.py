"""Ranges: what they hold, and that the searches find less error than the whole range has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmpose.quantize.observe import binned
from tvmpose.quantize.ranges import Histogram, RangeMethod, byte_quantization, wide_quantization


def histogram(values: np.ndarray) -> Histogram:
    low, high = float(values.min()), float(values.max())
    return Histogram(binned(values, low, high).astype("float64"), low, high)


def through_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """float64, from the definition of affine quantization."""
    q = byte_quantization(low, high)
    scale, zero_point = float(q.scale), int(q.zero_point)
    return (np.clip(np.round(values / scale) + zero_point, -128, 127) - zero_point) * scale


@given(st.floats(-100, 0), st.floats(0, 100))
def test_byte_quantization__any_range__holds_zero_exactly_and_the_rest_to_half_a_step(low: float, high: float):
    if high - low < 1e-3:
        return
    values = np.linspace(low, high, 1001)
    step = (high - low) / 255
    # the zero point is whole, so that one end may be cut by up to half a step
    assert np.abs(through_bytes(values, low, high) - values).max() <= step * 1.001
    assert through_bytes(np.zeros(1), low, high)[0] == 0.0


def test_wide_quantization__twice_what_was_seen__is_held():
    q = wide_quantization(-3.0, 1.0)
    assert float(q.scale) * 32767 == pytest.approx(6.0)
    assert int(q.zero_point) == 0


@pytest.mark.parametrize("method", RangeMethod)
def test_range_of__any_method__holds_zero_and_no_more_than_was_seen(method: RangeMethod):
    values = np.random.default_rng(0).gamma(2.0, 1.0, 20_000) + 0.5
    low, high = method.range_of(histogram(values))
    assert low == 0.0
    assert 1.0 < high <= values.max()


def test_minmax__all_that_was_seen__is_in_it():
    values = np.random.default_rng(0).standard_normal(1000)
    assert RangeMethod.MINMAX.range_of(histogram(values)) == (values.min(), values.max())


def test_percentile__one_outlier_in_a_million__is_left_out():
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 1_000_000), 50.0)
    _, high = RangeMethod.PERCENTILE.range_of(histogram(values))
    assert 0.9 < high < 1.1


@pytest.mark.parametrize("seed", range(3))
def test_mse__long_tails__less_squared_error_than_minmax(seed: int):
    values = np.random.default_rng(seed).standard_t(3, 50_000)
    whole = np.square(through_bytes(values, values.min(), values.max()) - values).mean()
    found = np.square(through_bytes(values, *RangeMethod.MSE.range_of(histogram(values))) - values).mean()
    assert found < 0.95 * whole


def test_entropy__outliers_far_away__are_cut_off():
    values = np.append(np.random.default_rng(0).standard_normal(100_000), [40.0, -40.0])
    low, high = RangeMethod.ENTROPY.range_of(histogram(values))
    assert -20 < low < -2 and 2 < high < 20


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=50))
def test_binned__any_numbers__each_is_counted_once_near_its_place(numbers: list[float]):
    values = np.array(numbers, "float32")
    counts = binned(values, -10.0, 10.0)
    assert counts.sum() == len(numbers)
    expected, _ = np.histogram(values, bins=len(counts), range=(-10.0, 10.0))
    assert np.abs((counts * np.arange(len(counts))).sum() - (expected * np.arange(len(counts))).sum()) <= len(numbers)
