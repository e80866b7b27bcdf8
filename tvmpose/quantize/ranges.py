"""From what a tensor's numbers were to the range that its bytes stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tvmpose.qdq import Quantization, per_tensor

BINS = 2048
LEVELS = 256
WIDE_ROOM = 2.0  # a wide tensor has bits to spare for what the pictures did not show
_CANDIDATES = 80  # ranges that a search tries on each side
_SMALLEST_SHARE = 0.15  # of the whole range


@dataclass(frozen=True)
class Histogram:
    """counts: float64 (BINS,) of numbers between low and high, in equal steps."""

    counts: np.ndarray
    low: float
    high: float

    @property
    def centres(self) -> np.ndarray:
        step = (self.high - self.low) / len(self.counts)
        return self.low + step * (np.arange(len(self.counts)) + 0.5)


class RangeMethod(Enum):
    """How far a range reaches; zero is always in it."""

    MINMAX = "minmax"  # all that was seen
    PERCENTILE = "percentile"  # all but one in ten thousand at each end
    MSE = "mse"  # the least squared error, rounding within against cutting off without
    ENTROPY = "entropy"  # the least information lost (Kullback-Leibler), as TensorRT calibrates

    def range_of(self, histogram: Histogram) -> tuple[float, float]:
        """(low, high), low <= 0 <= high."""
        low, high = _METHODS[self](histogram)
        return min(low, 0.0), max(high, 0.0)


def byte_quantization(low: float, high: float) -> Quantization:
    """int8, asymmetric; zero is one of its numbers."""
    scale = np.float32(max((high - low) / (LEVELS - 1), 1e-9))
    return per_tensor(float(scale), int(np.clip(np.rint(-128 - low / scale), -128, 127)), "int8")


def wide_quantization(low: float, high: float) -> Quantization:
    """int16, symmetric, with room for more than was seen."""
    return per_tensor(max(-low, high, 1e-9) * WIDE_ROOM / 32767, 0, "int16")


def _minmax(histogram: Histogram) -> tuple[float, float]:
    return histogram.low, histogram.high


def _percentile(histogram: Histogram) -> tuple[float, float]:
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    step = (histogram.high - histogram.low) / len(share)
    first, last = np.searchsorted(share, [1e-4, 1 - 1e-4])
    return histogram.low + step * first, histogram.low + step * (last + 1)


def _mse(histogram: Histogram) -> tuple[float, float]:
    centres = histogram.centres

    def error(low: float, high: float) -> float:
        step = max((high - low) / (LEVELS - 1), 1e-12)
        zero = np.rint(-low / step)
        nearest = (np.clip(np.rint(centres / step) + zero, 0, LEVELS - 1) - zero) * step
        return float(histogram.counts @ np.square(nearest - centres))

    return _search(histogram, error)


def _entropy(histogram: Histogram) -> tuple[float, float]:
    total = histogram.counts.sum()

    def divergence(low: float, high: float) -> float:
        inside = (histogram.centres >= low) & (histogram.centres <= high)
        counts = histogram.counts[inside]
        if counts.sum() < total / 2:
            return float("inf")
        wanted = counts.copy()
        wanted[0] += histogram.counts[histogram.centres < low].sum()
        wanted[-1] += histogram.counts[histogram.centres > high].sum()
        level = np.arange(len(counts)) * LEVELS // len(counts)
        filled = counts > 0
        sums = np.bincount(level, counts, LEVELS)
        places = np.bincount(level, filled, LEVELS)
        spread = np.where(filled, sums[level] / np.maximum(places[level], 1), 0.0)
        both = (wanted > 0) & (spread > 0)
        lost = wanted[(wanted > 0) & (spread == 0)].sum() / total  # numbers that no level stands for
        p, q = wanted[both] / total, spread[both] / spread.sum()
        return float((p * np.log(p / q)).sum() + lost * np.log(total))

    return _search(histogram, divergence)


def _search(histogram: Histogram, cost: Callable[[float, float], float]) -> tuple[float, float]:
    """The cheapest range: both ends moved in alike, then each by itself."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    shares = np.linspace(1.0, _SMALLEST_SHARE, _CANDIDATES)
    best = min(((cost(low * s, high * s), low * s, high * s) for s in shares), key=lambda c: c[0])
    for _ in range(2):
        _, a, b = best
        if low < 0:
            best = min([best, *((cost(low * s, b), low * s, b) for s in shares)], key=lambda c: c[0])
        _, a, b = best
        if high > 0:
            best = min([best, *((cost(a, high * s), a, high * s) for s in shares)], key=lambda c: c[0])
    return best[1:]


_METHODS: dict[RangeMethod, Callable[[Histogram], tuple[float, float]]] = {
    RangeMethod.MINMAX: _minmax,
    RangeMethod.PERCENTILE: _percentile,
    RangeMethod.MSE: _mse,
    RangeMethod.ENTROPY: _entropy,
}
