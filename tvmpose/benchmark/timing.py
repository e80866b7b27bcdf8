"""Frame times of one runtime, over rounds, as the few numbers that are reported."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TRUSTED_SPREAD = 0.10


@dataclass(frozen=True)
class Timing:
    """Of all frames of all rounds, in milliseconds. ``spread`` is how far the rounds' medians lie apart, as a share."""

    median_ms: float
    p95_ms: float
    best_ms: float
    spread: float
    frames: int

    @property
    def trusted(self) -> bool:
        return self.spread <= TRUSTED_SPREAD


def summarize(rounds: Sequence[Sequence[int]]) -> Timing:
    """The Timing of nanoseconds a frame, a non-empty sequence for each round."""
    frames = sorted(time for times in rounds for time in times)
    medians = [statistics.median(times) for times in rounds]
    median = statistics.median(frames)
    return Timing(
        median_ms=median / 1e6,
        p95_ms=frames[math.ceil(0.95 * len(frames)) - 1] / 1e6,  # nearest rank
        best_ms=frames[0] / 1e6,
        spread=(max(medians) - min(medians)) / median,
        frames=len(frames),
    )


def geometric_mean(ratios: Iterable[float]) -> float:
    """Of positive numbers, at least one: the mean that does not depend on which side of a ratio is below the line."""
    return statistics.geometric_mean(ratios)
