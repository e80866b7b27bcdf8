"""What the float networks leave on the table, by kind of kernel: where a frame's time goes, and what the machine needs.

    python -m benchmarks.limits [--write]

`tvmpose profile`, added up: one thread, each kernel's best time beside its multiply-adds over the FMA peak or its bytes
over the bandwidth, whichever takes longer.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.fp32 import MODELS
from benchmarks.measuring import ROOT, Benchmark, arguments, compiled, run
from benchmarks.report import markdown_table
from tvmpose.benchmark.frame import parse_frame_size
from tvmpose.benchmark.machine import Disturbance, Machine, this_machine
from tvmpose.benchmark.profile import StepProfile, left_on_the_table, limit, profile_bundle
from tvmpose.benchmark.roofline import Roofline, measure_roofline

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "limits.json"
KINDS = ("depthwise", "Winograd", "convolutions", "the rest")
HEADER = ("model", *(f"{kind}: time, of its limit" for kind in KINDS), "frame", "above the limit", "most of it in")
FRAMES = 200


@dataclass(frozen=True)
class Kind:
    """Milliseconds: what its kernels take, and what they would at the machine's limits."""

    taken: float
    least: float


@dataclass(frozen=True)
class Row:
    model: str
    kinds: Mapping[str, Kind]
    left: float  # milliseconds above the limits
    worst: str  # the kernel with most of it, and how much


@dataclass(frozen=True)
class Measured:
    rows: Sequence[Row]
    roofline: Roofline


def main(given: Sequence[str] | None = None) -> int:
    """Compile, profile, print; write the table where asked to."""
    options = arguments("limits", __doc__ or "", list(MODELS)).parse_args(given)
    return run(Benchmark("limits", (DOCUMENT,), RESULT, lambda: measure(options), describe, numbers), options)


def measure(options: argparse.Namespace) -> Measured:
    """Every model that was asked for."""
    made = {name: compiled(MODELS[name], options.build / name) for name in options.models}
    machine, facts = this_machine(), [each.facts for each in made.values()]
    sizes = (machine.l2_bytes, max(each.memory_bytes for each in facts))
    roofline = measure_roofline(facts[0].triple, facts[0].cpu_features, *sizes, 1)
    rows = []
    for name, each in made.items():
        profile = profile_bundle(each.bundle, each.facts, 1, FRAMES, parse_frame_size("1280x720"))
        rows.append(row(name, profile.steps, roofline))
    return Measured(rows, roofline)


def row(name: str, steps: Sequence[StepProfile], roofline: Roofline) -> Row:
    """Of a network's kernels; warp and decode, whose work is not counted, are not among them."""
    known = [(step, least.milliseconds) for step in steps if (least := limit(step, roofline))]
    kinds = {
        kind: Kind(
            sum(step.best_ms for step, _ in known if kind_of(step.name) == kind),
            sum(least for step, least in known if kind_of(step.name) == kind),
        )
        for kind in KINDS
    }
    worst = max((step for step, _ in known), key=lambda step: left_on_the_table(step, roofline))
    left = sum(left_on_the_table(step, roofline) for step, _ in known)
    return Row(name, kinds, left, f"{worst.name.removeprefix('fused_')}, {left_on_the_table(worst, roofline):.2f} ms")


def kind_of(kernel: str) -> str:
    """By its name: a kernel is called after the operators in it."""
    names = {"depthwise": "depthwise", "winograd": "Winograd", "conv2d": "convolutions"}
    return next((kind for part, kind in names.items() if part in kernel), "the rest")


def numbers(measured: Measured) -> dict[str, Any]:
    return {"limits": asdict(measured.roofline), "rows": [asdict(row) for row in measured.rows]}


def describe(measured: Measured, machine: Machine, disturbance: Disturbance) -> str:
    """The table in Markdown, and what casts doubt on it."""
    peak = f"FMA peak {2e-9 * measured.roofline.multiply_adds:.0f} GFLOP/s"
    notes = [f"{machine}. One thread; {peak}; the best of {FRAMES} frames."]
    notes += [f"**Not trustworthy: {reason}.**" for reason in disturbance.complaints()]
    return "\n\n".join([markdown_table(HEADER, [_cells(row) for row in measured.rows]), "\n".join(notes)])


def _cells(row: Row) -> tuple[str, ...]:
    frame = sum(kind.taken for kind in row.kinds.values())
    kinds = (
        f"{kind.taken:.2f} ms, {kind.least / kind.taken:.0%}" if kind.taken else "–" for kind in row.kinds.values()
    )
    return (row.model, *kinds, f"{frame:.2f} ms", f"{row.left:.2f} ms, {row.left / frame:.0%}", row.worst)


if __name__ == "__main__":
    sys.exit(main())
