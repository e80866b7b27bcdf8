"""Instructions of a frame on emulated ARM CPUs, one thread: is our code shorter than LiteRT's?

    python -m benchmarks.arm [--write]

Compiles each model for each board and counts ours and LiteRT's on it (``tvmpose bench --emulate``'s way). Instructions
are no time, but they are the same on every run, whatever else the machine does.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, Benchmark, Model, arguments, compiled, run
from benchmarks.report import markdown_table
from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.emulation.comparison import Emulated, Row, emulate
from tvmpose.emulation.count import TRUSTED_SPREAD
from tvmpose.emulation.table import emulated_lines, ratio_lines

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "arm.json"
HEADER = ("model", "target, -cpu", "ours", "LiteRT", "ours for one", "aim", "outputs differ by", "cycles for one, est.")

KNOWN_SLACK = 0.03  # LiteRT takes what it is known to take
LARGEST_DIFFERENCE = 0.01  # of an output's maximum: more, and one of the two computes something else

LITE = Model("blazepose-lite", "pose_landmark_lite.tflite", 198, {})
FULL = Model("blazepose-full", "pose_landmark_full.tflite", 386, {})
CPM = Model("edvardhua-cpm", "edvardhua_cpm_192.tflite", 277, {})
MOVENET = Model("movenet-lightning-coral", "movenet_single_pose_lightning_ptq.tflite", 271, {})


@dataclass(frozen=True)
class Case:
    """A model on an emulated CPU. aim: our instructions for one of LiteRT's, at most; known: LiteRT's, in millions."""

    title: str
    model: Model
    target: str
    aim: float
    known: float  # LiteRT 2.3, counted on 2026-11-21; where there was none then, on 2026-11-24
    board: str | None = None  # another than the target's
    cpu: str | None = None  # another than the board's


I8MM = str(ROOT / "benchmarks" / "arm64-i8mm.toml")
CASES = (
    Case("blazepose-lite", LITE, "raspberry-pi-4", 0.75, 126),
    Case("blazepose-full", FULL, "raspberry-pi-4", 0.75, 200),
    Case("edvardhua-cpm", CPM, "raspberry-pi-4", 0.4, 573),
    Case("MoveNet Lightning int8", MOVENET, "raspberry-pi-4", 0.7, 119),
    Case("MoveNet Lightning int8", MOVENET, "raspberry-pi-5", 0.7, 62.7),
    Case("MoveNet Lightning int8", MOVENET, I8MM, 0.7, 58.3, "raspberry-pi-5", "max,sme=off"),
    Case("MoveNet Lightning int8", MOVENET, I8MM, 0.7, 44, "raspberry-pi-5", "max"),
)
"""QEMU's max has SME too, which LiteRT uses and no device that we have a target for has."""

Counts = Sequence[tuple[Case, Emulated]]


def main(argv: Sequence[str] | None = None) -> int:
    """Compile, count, print; write the table where asked to."""
    parser = arguments("arm", __doc__, list(dict.fromkeys(case.title for case in CASES)))
    options = parser.parse_args(argv)
    options.noisy = True  # counts are the same on a busy machine
    return run(Benchmark("arm", (DOCUMENT,), RESULT, lambda: measure(options), describe, numbers), options)


def measure(options: argparse.Namespace) -> Counts:
    """Every case of the models that were asked for; a bundle is compiled once for all CPUs."""
    rows, bundles = [], {}
    for case in (case for case in CASES if case.title in options.models):
        folder = options.build / "arm" / f"{case.model.card}-{Path(case.target).stem}"
        if folder not in bundles:
            bundles[folder] = compiled(case.model, folder, target=case.target)
        source = [case.model.source] if case.model.source else []
        row = emulate(bundles[folder].bundle, ["litert"], source, case.board, case.cpu)
        print("\n".join([*emulated_lines(row), *ratio_lines(row)]), flush=True)
        rows.append((case, row))
    return rows


def numbers(rows: Counts) -> dict[str, Any]:
    """What is kept beside the table."""
    return {"rows": [{"model": case.title, "target": Path(case.target).stem, **asdict(row)} for case, row in rows]}


def describe(rows: Counts, machine: Machine, disturbance: Disturbance) -> str:
    """The table in Markdown, and all that its numbers depend on; this machine is not among that."""
    table = markdown_table(HEADER, [_cells(case, row) for case, row in rows])
    counted = [each for _, row in rows for each in (row.ours, *row.peers)]
    tools = sorted({f"{row.machine.emulator}, llvm-mca {row.machine.llvm_mca or 'none'}" for _, row in rows})
    dates = sorted({row.machine.date for _, row in rows})
    runtimes = sorted({f"{each.name} ({each.settings})" for each in counted})
    spread = max((each.spread for each in counted), default=0.0)
    repeats = f"Repeats differ by {spread:.3%} at most."
    notes = [f"{'; '.join(tools)}; {', '.join(dates)}. Runtimes: {'; '.join(runtimes)}. {repeats}"]
    for case, row in rows:
        if reasons := list(_flaws(case, row)):
            notes.append(f"- {case.title}, {Path(case.target).stem}, {row.machine.cpu}: {'; '.join(reasons)}.")
    return "\n\n".join([table, "\n".join(notes)])


def _flaws(case: Case, row: Emulated) -> Iterator[str]:
    """What casts doubt on a row."""
    litert = _litert(row)
    if litert is None:
        yield f"{PEERS['litert'].title} is missing ({'; '.join(reason for _, reason in row.missing)})"
        return
    if abs(litert.instructions / (1e6 * case.known) - 1) > KNOWN_SLACK:
        yield f"LiteRT takes {litert.instructions / 1e6:.1f} M instructions, known for {case.known:g} M"
    if litert.difference is None:
        yield "LiteRT's outputs are other tensors"
    elif litert.difference > LARGEST_DIFFERENCE:
        yield f"LiteRT's outputs differ from ours by {litert.difference:.0%} of their maximum"
    for counted in (row.ours, litert):
        if counted.spread > TRUSTED_SPREAD:
            yield f"{counted.name}'s repeats differ by {counted.spread:.2%}"


def _litert(row: Emulated) -> Row | None:
    return next((peer for peer in row.peers if peer.runtime == "litert"), None)


def _cells(case: Case, row: Emulated) -> tuple[str, ...]:
    ours, litert = row.ours, _litert(row)
    first = (case.title, f"{Path(case.target).stem}, {row.machine.cpu}", f"{ours.instructions / 1e6:.1f} M")
    if litert is None:
        return (*first, "–", "–", f"{case.aim}", "–", "–")
    difference = "–" if litert.difference is None else "0" if litert.difference == 0 else f"{litert.difference:.0e}"
    cycles = f"{ours.cycles.cycles / litert.cycles.cycles:.2f}" if ours.cycles and litert.cycles else "–"
    ratio = f"{row.ratio(litert):.2f}"
    return (*first, f"{litert.instructions / 1e6:.1f} M", ratio, f"{case.aim}", difference, cycles)


if __name__ == "__main__":
    sys.exit(main())
