"""The float models beside the peers, untuned: is any runtime that a user could pick faster?

    python -m benchmarks.fp32 [--write]

Compiles each model, then measures ours, LiteRT, ONNX Runtime, OpenVINO and ncnn in turns (``tvmpose bench``'s way).
Refuses to start, and to write, where others use the machine.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import (
    ROOT,
    Benchmark,
    Compiled,
    Model,
    compiled,
    doubts,
    flaws,
    peer_arguments,
    run,
    runtimes,
)
from benchmarks.report import markdown_table
from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.compare import Comparison, compare
from tvmpose.benchmark.duel import Rounds
from tvmpose.benchmark.facts import Facts
from tvmpose.benchmark.machine import Disturbance, Machine, this_machine
from tvmpose.benchmark.roofline import measure_roofline
from tvmpose.benchmark.table import comparison_lines
from tvmpose.benchmark.timing import geometric_mean

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "fp32.json"
COMPILE_HEADER = ("model", "MMAC", "as compiled", "compile", "library", "beyond weights")
PRUNED_HEADER = ("model, threads", "compiled with", "ours", "than with every output", "as compiled")
HEADER = ("model, threads", "ours", "best peer", "its time", "ours is faster", "of FMA peak", "pixels to keypoints")


MODELS = {
    model.card: model
    for model in (
        Model("blazepose-lite", "pose_landmark_lite.tflite", 198, {"litert": (10.3, 5.2)}),
        Model("blazepose-full", "pose_landmark_full.tflite", 386, {"litert": (14.3, 7.5)}),
        Model("movenet-lightning", "movenet-lightning.onnx", 271, {"onnxruntime": (8.5, 4.6), "openvino": (7.7, 4.2)}),
        Model("movenet-thunder", "movenet-thunder.onnx", 1220, {"openvino": (29.0, 15.0)}),
        Model("edvardhua-cpm", "edvardhua_cpm_192.tflite", 277, {"litert": (28.1, 14.5), "openvino": (10.0, 6.2)}),
        Model("mobilenetv2-deconv", None, 564, {"onnxruntime": (13.8, 7.8), "openvino": (12.4, 6.9)}),
    )
}


# What a user who needs less can have: no peer takes part, for it would compute something else.
PRUNED = {"blazepose-lite": ("--outputs", "head"), "blazepose-full": ("--outputs", "head")}
PRUNED |= {"edvardhua-cpm": ("--keypoints", "0-3")}


@dataclass(frozen=True)
class Measured:
    """By card: bundles, comparisons, comparisons of what is left with PRUNED; by threads: multiply-adds a second."""

    bundles: Mapping[str, Compiled]
    rows: Sequence[tuple[str, Comparison]]
    peaks: Mapping[int, float]
    pruned: Sequence[tuple[str, Comparison]] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, measure, print; write the tables where asked to."""
    options = peer_arguments("fp32", __doc__, list(MODELS)).parse_args(arguments)
    return run(Benchmark("fp32", (DOCUMENT,), RESULT, lambda: measure(options), describe, numbers), options)


def measure(options: argparse.Namespace) -> Measured:
    """Every model that was asked for, on every number of threads."""
    bundles, rows = {}, []
    for name in options.models:
        bundles[name] = compiled(MODELS[name], options.build / name)
        print(" ".join(_compile_cells(name, bundles[name])), flush=True)
    facts = bundles[options.models[0]].facts
    peaks = {threads: fma_peak(this_machine(), facts, threads) for threads in options.threads}
    for name, made in bundles.items():
        files = model_files(MODELS[name], options.build)
        for row in compare(made.bundle, list(PEERS), options.threads, files, Rounds(options.rounds, options.seconds)):
            print("\n".join(comparison_lines(row)), flush=True)
            rows.append((name, row))
    pruned = list(pruned_rows([name for name in options.models if name in PRUNED], options))
    return Measured(bundles, rows, peaks, pruned)


def numbers(measured: Measured) -> dict[str, Any]:
    """What is kept beside the tables."""
    pruned = [{"card": name, "options": PRUNED[name], **asdict(row)} for name, row in measured.pruned]
    rows = [{"card": name, **asdict(row)} for name, row in measured.rows]
    return {"fma_peak": measured.peaks, "rows": rows, "pruned": pruned}


def pruned_rows(names: Sequence[str], options: argparse.Namespace) -> Iterator[tuple[str, Comparison]]:
    """Ours alone, compiled with the options in PRUNED."""
    for name in names:
        made = compiled(MODELS[name], options.build / "pruned" / name, PRUNED[name])
        for row in compare(
            made.bundle, [], options.threads, rounds=Rounds(options.rounds, options.seconds), frame=None
        ):
            print("\n".join([" ".join(PRUNED[name]), *comparison_lines(row)]), flush=True)
            yield name, row


def model_files(model: Model, folder: Path) -> list[Path]:
    """The source for the peers; a network in PyTorch is converted for them."""
    if model.source:
        return [model.source]
    files = []
    for script, suffix in (("torch_to_onnx", ".onnx"), ("torch_to_ncnn", ".param")):
        file = (folder / f"{model.card}{suffix}").resolve()
        command = [sys.executable, "-m", f"benchmarks.convert.{script}", model.card, str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:  # its peer will be missing from the row, which says so
            print(f"{script}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        else:
            files.append(file)
    return files


def fma_peak(machine: Machine, facts: Facts, threads: int) -> float:
    """Multiply-adds a second."""
    size = machine.l2_bytes
    return measure_roofline(facts.triple, facts.cpu_features, size, size, threads).multiply_adds


def row_flaws(name: str, row: Comparison, machine: Machine) -> list[str]:
    """Why a row does not count."""
    model = MODELS[name]
    required = ["openvino", *(["litert"] if (model.file or "").endswith(".tflite") else [])]
    return list(flaws(model, required, row, machine))


def describe(measured: Measured, machine: Machine, disturbance: Disturbance) -> str:
    """The tables in Markdown, and all that their numbers depend on."""
    rows, peaks = measured.rows, measured.peaks
    table = markdown_table(HEADER, [_cells(name, row, peaks) for name, row in rows])
    whole = [row for name, row in rows if not row_flaws(name, row, machine)]
    peak = ", ".join(f"{2e-9 * rate:.0f} GFLOP/s on {threads}" for threads, rate in peaks.items())
    notes = [f"{machine}. FMA peak: {peak}. Runtimes: {runtimes(rows)}."]
    pruned = [(f"{name} {' '.join(PRUNED[name])}", row) for name, row in measured.pruned]
    flawed = lambda name, row: row_flaws(name, row, machine) if name in MODELS else []  # noqa: E731
    notes += doubts([*rows, *pruned], flawed, disturbance)
    sizes = markdown_table(COMPILE_HEADER, [_compile_cells(name, made) for name, made in measured.bundles.items()])
    return "\n\n".join([table, *_means(whole), *_pruned_table(measured.pruned, rows), "\n".join(notes), sizes])


def _pruned_table(pruned: Sequence[tuple[str, Comparison]], rows: Sequence[tuple[str, Comparison]]) -> Iterator[str]:
    whole = {(name, row.threads): row.ours.timing.median_ms for name, row in rows}
    cells = [
        (
            f"{name}, {row.threads}",
            f"`{' '.join(PRUNED[name])}`",
            f"{row.ours.timing.median_ms:.2f} ms",
            f"{row.ours.timing.median_ms / whole[name, row.threads] - 1:+.0%}",
            f"{row.multiply_adds / 1e6:.0f} MMAC",
        )
        for name, row in pruned
    ]
    if cells:
        yield markdown_table(PRUNED_HEADER, cells)


def _means(rows: Sequence[Comparison]) -> Iterator[str]:
    for threads in sorted({row.threads for row in rows}):
        if ratios := [row.ratio for row in rows if row.threads == threads and row.ratio]:
            on = f"on {threads} thread{'s' * (threads != 1)}"
            mean, least = geometric_mean(ratios), min(ratios)
            yield f"Ours over the best peer {on}: geometric mean **{mean:.2f}×**, least {least:.2f}×."


def _cells(name: str, row: Comparison, peaks: Mapping[int, float]) -> tuple[str, ...]:
    ours, best = row.ours.timing.median_ms, row.best_peer
    peer = (best.name, f"{best.timing.median_ms:.2f} ms", f"{row.ratio:.2f}×") if best else ("–", "–", "–")
    share = 1e6 * MODELS[name].multiply_adds / (ours / 1e3) / peaks[row.threads]
    pixels = f"{row.pixels.timing.median_ms / ours - 1:+.1%}" if row.pixels else "–"
    return f"{name}, {row.threads}", f"{ours:.2f} ms", *peer, f"{share:.0%}", pixels


def _compile_cells(name: str, made: Compiled) -> tuple[str, ...]:
    beyond = made.library_bytes - made.weight_bytes
    sizes = (f"{made.library_bytes / 1e6:.2f} MB", f"{beyond / 1e3:.0f} kB")
    work = (str(MODELS[name].multiply_adds), f"{made.facts.multiply_adds / 1e6:.0f}")
    return name, *work, f"{made.seconds:.0f} s", *sizes


if __name__ == "__main__":
    sys.exit(main())
