"""The quantized models beside the peers: how much faster than TensorFlow Lite's own integers?

    python -m benchmarks.int8 [--write]

Compiles each model, then measures ours, LiteRT and OpenVINO in turns (``tvmpose bench``'s way), raw tensors to raw
tensors. OpenVINO reads the same files. Refuses to start, and to write, where others use the
machine.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, Benchmark, Model, compiled, doubts, flaws, peer_arguments, run, runtimes
from benchmarks.report import markdown_table
from tvmpose.benchmark.compare import Comparison, compare
from tvmpose.benchmark.duel import Rounds
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.benchmark.table import comparison_lines

DOCUMENT = ROOT / "benchmarks" / "README.md"
KINDS = ("with VNNI", "without VNNI")  # of machines: what one does says nothing of the other
PEERS = ("litert", "openvino")
HEADER = ("model, threads", "ours", "LiteRT", "ours is faster", "aim", "OpenVINO", "ours is faster", "GMAC/s")

MODELS: Mapping[str, Model] = {
    "MoveNet Lightning int8": Model(
        "movenet-lightning-coral",
        "movenet_single_pose_lightning_ptq.tflite",
        271,
        {"litert": (4.4, 2.9)},
    ),
    "PoseNet uint8": Model(
        None,
        "posenet_mobilenet_v1_075_353_481_quant.tflite",
        1246,
        {"litert": (23.2, 11.7), "openvino": (12.8, 9.4)},
    ),
}
AIMS = {"MoveNet Lightning int8": 2, "PoseNet uint8": 3}  # times LiteRT's speed


@dataclass(frozen=True)
class Measured:
    """Comparisons by model, and how long each took to compile."""

    rows: Sequence[tuple[str, Comparison]]
    compile_seconds: Mapping[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, measure, print; write the table of this kind of machine where asked to."""
    options, kind = peer_arguments("int8", __doc__, list(MODELS)).parse_args(arguments), kind_of_machine()
    benchmark = Benchmark(mark(kind), (DOCUMENT,), result(kind), lambda: measure(options), describe, numbers)
    return run(benchmark, options)


def kind_of_machine() -> str:
    """By what our kernels multiply bytes with on it: VNNI's dot products, or products of 16 bits."""
    from tvmpose.kernels.isa import vector_isa
    from tvmpose.targets import host_target

    return KINDS[vector_isa(host_target().llvm()).dot_products[0].widens]


def mark(kind: str) -> str:
    return f"int8 {kind}"


def result(kind: str) -> Path:
    return ROOT / "benchmarks" / f"int8-{kind.replace(' ', '-').lower()}.json"


def measure(options: argparse.Namespace) -> Measured:
    """Every model that was asked for, on every number of threads."""
    rows, seconds = [], {}
    for name in options.models:
        model = MODELS[name]
        made = compiled(model, options.build / Path(str(model.file)).stem)
        seconds[name] = made.seconds
        files, rounds = [model.source] if model.source else [], Rounds(options.rounds, options.seconds)
        for row in compare(made.bundle, PEERS, options.threads, files, rounds, frame=None):
            print("\n".join(comparison_lines(row)), flush=True)
            rows.append((name, row))
    return Measured(rows, seconds)


def numbers(measured: Measured) -> dict[str, Any]:
    """What is kept beside the table."""
    rows = [{"model": name, **asdict(row)} for name, row in measured.rows]
    return {"compile_seconds": measured.compile_seconds, "rows": rows}


def describe(measured: Measured, machine: Machine, disturbance: Disturbance) -> str:
    """The table in Markdown, and all that its numbers depend on."""
    table = markdown_table(HEADER, [_cells(name, row) for name, row in measured.rows])
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in measured.compile_seconds.items())
    notes = [f"{machine}. Runtimes: {runtimes(measured.rows)}. Compiled in: {times}."]
    notes += doubts(measured.rows, lambda name, row: list(flaws(MODELS[name], PEERS, row, machine)), disturbance)
    return "\n\n".join([table, "\n".join(notes)])


def _cells(name: str, row: Comparison) -> tuple[str, ...]:
    ours, times = row.ours.timing.median_ms, {peer.contestant.runtime: peer.timing.median_ms for peer in row.peers}
    beside = {
        peer: (f"{times[peer]:.2f} ms", f"{times[peer] / ours:.2f}×") if peer in times else ("–", "–") for peer in PEERS
    }
    rate = MODELS[name].multiply_adds / ours
    return (
        f"{name}, {row.threads}",
        f"{ours:.2f} ms",
        *beside["litert"],
        f"{AIMS[name]}×",
        *beside["openvino"],
        f"{rate:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
