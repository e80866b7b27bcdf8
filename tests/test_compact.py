"""Smaller formats of weights: as torch rounds to them, and not a bit lost of what they hold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tvmpose.compact import Compact, compacted

HALVES = {Compact.FLOAT16: torch.float16, Compact.BFLOAT16: torch.bfloat16}
floats = arrays.arrays("float32", 9, elements=st.floats(-1000, 1000, width=32))


@pytest.mark.parametrize("form", HALVES)
@given(floats)
def test_rounded__any_numbers__as_torch(form: Compact, array: np.ndarray):
    expected = torch.from_numpy(array).to(HALVES[form]).float().numpy()
    np.testing.assert_array_equal(form.rounded(array), expected)
    stored = form.stored(expected)
    assert stored is not None
    np.testing.assert_array_equal(stored.view("uint16"), torch.from_numpy(expected).to(HALVES[form]).view(torch.uint16))


@pytest.mark.parametrize(
    ("numbers", "form"),
    [
        ([-127, 0, 127], Compact.INT8),
        ([0.5, -3], Compact.FLOAT16),
        ([128, 1], Compact.FLOAT16),
        ([1e30, 2.0**-100], None),
        ([2.0**30, 1], Compact.BFLOAT16),
        ([65504, 65520], None),
        ([0.1, 1], None),
    ],
)
def test_compacted__numbers__in_the_smallest_format_that_holds_them(numbers: list[float], form: Compact | None):
    found = compacted(np.array(numbers, "float32"))
    assert (found[0] if found else None) == form
    assert found is None or found[1].itemsize == (1 if form is Compact.INT8 else 2)


def test_rounded__number_beyond_the_range__all_stay_as_they_are():
    array = np.array([1e6, 0.1], "float32")
    assert Compact.FLOAT16.rounded(array) is array
