"""Comparisons as text: a line a runtime, and what casts doubt on it."""

from collections.abc import Iterator, Sequence

from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.compare import Comparison
from tvmpose.benchmark.duel import Outcome
from tvmpose.benchmark.timing import TRUSTED_SPREAD, geometric_mean

HEADER = ("runtime", "median", "p95", "spread", "ours is faster", "differs by", "as it ran")


def columns(rows: Sequence[Sequence[str]], text_columns: Sequence[int] = (0,)) -> list[str]:
    """Lines with the cells of a column below each other, numbers to the right, the text columns to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i in text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """The table of one bundle on one number of threads."""
    yield f"{comparison.model}, {comparison.threads} thread{'s' * (comparison.threads != 1)}"
    ours = comparison.ours
    rows = [HEADER, _row(ours.name, ours, "", ""), *(_peer_row(peer, ours) for peer in comparison.peers)]
    if comparison.pixels:
        overhead = comparison.pixels.timing.median_ms / ours.timing.median_ms - 1
        rows.append(_row("pixels to keypoints", comparison.pixels, f"{overhead:+.1%} time", ""))
    yield from (f"  {line}" for line in columns(rows, text_columns=(0, 6)))
    yield from (f"  {PEERS[name].title}: {reason}" for name, reason in comparison.missing)
    for outcome in (ours, *comparison.peers):
        if not outcome.timing.trusted:
            spread, name = outcome.timing.spread, outcome.name
            yield f"  warning: not trustworthy: {name}'s rounds differ by {spread:.0%} (limit {TRUSTED_SPREAD:.0%})"


def _peer_row(peer: Outcome, ours: Outcome) -> tuple[str, ...]:
    ratio = peer.timing.median_ms / ours.timing.median_ms
    difference = "other outputs" if peer.difference is None else f"{peer.difference:.1e}"
    return _row(peer.name, peer, f"{ratio:.2f} times", difference)


def _row(name: str, outcome: Outcome, ratio: str, difference: str) -> tuple[str, ...]:
    timing = outcome.timing
    times = (f"{timing.median_ms:.3f} ms", f"{timing.p95_ms:.3f} ms", f"{timing.spread:.1%}")
    return (name, *times, ratio, difference, outcome.settings)


def summary_lines(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """The ratio to the best peer: of each row, and the geometric mean of each number of threads."""
    for threads in sorted({comparison.threads for comparison in comparisons}):
        rows = [c for c in comparisons if c.threads == threads and c.ratio]
        if rows:
            mean = geometric_mean(c.ratio for c in rows if c.ratio)
            each = ", ".join(f"{c.model} {c.ratio:.2f} ({c.best_peer.name})" for c in rows if c.best_peer)
            yield f"{threads} thread{'s' * (threads != 1)}: {mean:.2f} times as fast as the best peer: {each}"
