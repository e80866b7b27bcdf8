"""The few numbers that a measurement becomes, against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmpose.benchmark.timing import geometric_mean, summarize

nanoseconds = st.integers(1, 10**10)


@given(st.lists(st.lists(nanoseconds, min_size=1, max_size=30), min_size=1, max_size=5))
def test_summarize__any_rounds__as_numpy_says(rounds):
    timing, frames = summarize(rounds), np.concatenate(rounds)
    medians = [np.median(times) for times in rounds]
    assert timing.median_ms == pytest.approx(np.median(frames) / 1e6)
    assert timing.p95_ms == pytest.approx(np.percentile(frames, 95, method="inverted_cdf") / 1e6)
    assert timing.best_ms == frames.min() / 1e6
    assert timing.spread == pytest.approx(np.ptp(medians) / np.median(frames))
    assert timing.frames == len(frames)


def test_trusted__rounds_eleven_percent_apart__no():
    assert summarize([[100], [109]]).trusted
    assert not summarize([[100], [112]]).trusted


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=10))
def test_geometric_mean__of_inverses__is_the_inverse(ratios):
    assert geometric_mean(ratios) * geometric_mean([1 / ratio for ratio in ratios]) == pytest.approx(1)
