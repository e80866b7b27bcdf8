"""The frame time over the number of threads, and where more of them make it worse."""

from collections.abc import Iterator, Sequence

from tvmpose.benchmark.compare import Comparison
from tvmpose.benchmark.machine import usable_cpus
from tvmpose.benchmark.table import columns

CLIFF = 1.10  # times as slow as with fewer threads


def thread_counts() -> list[int]:
    """From one to twice the CPUs, so that a cliff beyond them is seen too; by powers of two above eight."""
    most = 2 * usable_cpus()
    return [n for n in range(1, most + 1) if n <= 8 or n & (n - 1) == 0 or n in (most // 2, most)]


def sweep_lines(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A line a number of threads, and a warning for each that is slower than a smaller one."""
    one = comparisons[0].ours.timing.median_ms
    rows = [("threads", "median", "p95", "speed-up")]
    for c in comparisons:
        timing = c.ours.timing
        rows.append(
            (str(c.threads), f"{timing.median_ms:.3f} ms", f"{timing.p95_ms:.3f} ms", f"{one / timing.median_ms:.2f}")
        )
    yield comparisons[0].model
    yield from (f"  {line}" for line in columns(rows))
    best = comparisons[0]
    for c in comparisons[1:]:
        if c.ours.timing.median_ms > CLIFF * best.ours.timing.median_ms:
            slower = c.ours.timing.median_ms / best.ours.timing.median_ms
            yield f"  warning: {c.threads} threads are {slower:.1f} times as slow as {best.threads}"
        best = min(best, c, key=lambda comparison: comparison.ours.timing.median_ms)
    yield f"  best: {best.threads} thread{'s' * (best.threads != 1)}"
