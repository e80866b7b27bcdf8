"""Counts as text: a line a runtime, the ratio, and what casts doubt on it."""

from collections.abc import Iterator

from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.table import columns
from tvmpose.emulation.comparison import Emulated, Row
from tvmpose.emulation.count import TRUSTED_SPREAD

HEADER = ("runtime", "instructions", "repeats differ", "ours for one", "outputs differ by", "cycles, est.", "as it ran")


def emulated_lines(emulated: Emulated) -> Iterator[str]:
    """The table of one bundle, the machine first."""
    yield from (str(emulated.machine), "", f"{emulated.model}, a frame on 1 thread")
    rows = [HEADER, _cells(emulated.ours, "", "")]
    for peer in emulated.peers:
        difference = "other outputs" if peer.difference is None else f"{peer.difference:.1e}"
        rows.append(_cells(peer, f"{emulated.ratio(peer):.3f}", difference))
    yield from (f"  {line}" for line in columns(rows, text_columns=(0, 6)))
    yield from (f"  {PEERS[name].title}: {reason}" for name, reason in emulated.missing)
    estimates = [row.cycles for row in (emulated.ours, *emulated.peers) if row.cycles]
    if estimates:
        least = min(estimate.covered for estimate in estimates)
        yield (
            f"  cycles: llvm-mca's model of {emulated.core} on the blocks with {least:.0%} of the instructions; "
            "an estimate of throughput, no time: without cache misses and mispredicted branches"
        )
    yield from (f"  {remark}" for remark in emulated.remarks)
    for row in (emulated.ours, *emulated.peers):
        if row.spread > TRUSTED_SPREAD:
            limit = f"(limit {TRUSTED_SPREAD:.1%})"
            yield f"  warning: not trustworthy: {row.name}'s repeats differ by {row.spread:.2%} {limit}"


def ratio_lines(emulated: Emulated) -> Iterator[str]:
    """A line a peer, for the end."""
    for peer in emulated.peers:
        ratio = f"{emulated.ratio(peer):.3f} times {peer.name}'s instructions"
        if emulated.ours.cycles and peer.cycles:
            ratio += f", {emulated.ours.cycles.cycles / peer.cycles.cycles:.2f} times its cycles as estimated"
        yield f"{emulated.model}, -cpu {emulated.machine.cpu}: {ratio}"


def _cells(row: Row, ratio: str, difference: str) -> tuple[str, ...]:
    cycles = f"{row.cycles.cycles / 1e6:.1f} M" if row.cycles else "–"
    count = f"{row.instructions / 1e6:.2f} M"
    return row.name, count, f"{row.spread:.3%}", ratio, difference, cycles, row.settings
