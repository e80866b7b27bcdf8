"""The float models beside the peers, untuned: is any runtime that a user could pick faster?

    python -m benchmarks.fp32 [--write]

Compiles each model, then measures ours, LiteRT, ONNX Runtime, OpenVINO and ncnn in turns (``tvmpose bench``'s way).
Refuses to start, and to write, where others use the machine.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import markdown_table, replace_between_marks, write_json
from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.compare import Comparison, compare
from tvmpose.benchmark.duel import Rounds
from tvmpose.benchmark.facts import Facts, read_facts
from tvmpose.benchmark.machine import Disturbance, Machine, Watch, noise, this_machine
from tvmpose.benchmark.roofline import measure_roofline
from tvmpose.benchmark.table import comparison_lines
from tvmpose.benchmark.timing import geometric_mean

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "fp32.json"
TOO_NOISY = 6  # exit code: something about this machine, as tvmpose.errors has it
REFERENCE_CPU, REFERENCE_SLACK = "AMD EPYC", 1.10
COMPILE_HEADER = ("model", "MMAC", "as compiled", "compile", "library", "beyond weights")
PRUNED_HEADER = ("model, threads", "compiled with", "ours", "than with every output", "as compiled")
HEADER = ("model, threads", "ours", "best peer", "its time", "ours is faster", "of FMA peak", "pixels to keypoints")


@dataclass(frozen=True)
class Model:
    """A file of $TVMPOSE_DATA/models with its card, or a card's own network, which its peers get converted.

    multiply_adds: the source's, in millions, of which the share of the FMA peak is taken. reference: what peers took on
    a 2-core Zen 4 on 2026-11-21, ms on 1 and 2 threads. One that is far slower was not at its best, and its row does
    not count.
    """

    card: str
    file: str | None
    multiply_adds: int
    reference: dict[str, tuple[float, float]]


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
class Compiled:
    """A bundle and what it took."""

    bundle: Path
    facts: Facts
    seconds: float
    library_bytes: int
    weight_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, measure, print; write the tables where asked to."""
    options = _parse(arguments)
    if not options.noisy and (complaint := noise()):
        print(complaint, file=sys.stderr)
        return TOO_NOISY
    machine, bundles = this_machine(), {}
    for name in options.models:
        bundles[name] = compiled(MODELS[name], options.build)
        print(" ".join(_compile_cells(name, bundles[name])), flush=True)
    watch, rows = Watch(), []
    peaks = {threads: fma_peak(machine, bundles[options.models[0]].facts, threads) for threads in options.threads}
    for name, made in bundles.items():
        files = model_files(MODELS[name], options.build)
        for row in compare(made.bundle, list(PEERS), options.threads, files, Rounds(options.rounds, options.seconds)):
            print("\n".join(comparison_lines(row)), flush=True)
            rows.append((name, row))
    pruned = list(pruned_rows([name for name in options.models if name in PRUNED], options))
    disturbance = watch.stop()
    text = describe(machine, disturbance, bundles, rows, peaks, pruned)
    print(f"\n{text}")
    result = {"machine": asdict(machine), "disturbance": asdict(disturbance), "fma_peak": peaks}
    result["rows"] = [{"card": name, **asdict(row)} for name, row in rows]
    result["pruned"] = [{"card": name, "options": PRUNED[name], **asdict(row)} for name, row in pruned]
    write_json(options.json, _plain(result))
    if disturbance.complaints() and not options.noisy:
        print(f"the documents stay as they are: {'; '.join(disturbance.complaints())}", file=sys.stderr)
        return TOO_NOISY
    if options.write:
        write_json(RESULT, _plain(result))
        replace_between_marks(DOCUMENT, "fp32", text)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fp32", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS, metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="of each runtime in each round")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "benchmarks", metavar="DIR")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "benchmarks" / "fp32.json", metavar="FILE")
    parser.add_argument("--noisy", action="store_true", help="run and write although others use the machine")
    parser.add_argument("--write", action="store_true", help="write the tables into the document")
    return parser.parse_args(arguments)


def _source(model: Model) -> Path | None:
    if model.file is None:
        return None
    if "TVMPOSE_DATA" not in os.environ:
        raise SystemExit("fp32: set TVMPOSE_DATA to the folder of the test data")
    return Path(os.environ["TVMPOSE_DATA"]) / "models" / model.file


def pruned_rows(names: Sequence[str], options: argparse.Namespace) -> Iterator[tuple[str, Comparison]]:
    """Ours alone, compiled with the options in PRUNED."""
    for name in names:
        made = compiled(MODELS[name], options.build / "pruned", PRUNED[name])
        for row in compare(
            made.bundle, [], options.threads, rounds=Rounds(options.rounds, options.seconds), frame=None
        ):
            print("\n".join([" ".join(PRUNED[name]), *comparison_lines(row)]), flush=True)
            yield name, row


def compiled(model: Model, folder: Path, options: Sequence[str] = ()) -> Compiled:
    """A fresh bundle, by the command that users have, in its own process. Verified like any other."""
    bundle = folder / model.card
    command = [
        "compile",
        str(_source(model) or model.card),
        "--card",
        model.card,
        "--target",
        "host",
        "-o",
        str(bundle),
        *options,
    ]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tvmpose", *command], check=True, stdout=subprocess.DEVNULL)
    seconds, facts = time.perf_counter() - start, read_facts(bundle)
    return Compiled(bundle, facts, seconds, next(bundle.glob("lib*.so")).stat().st_size, facts.weight_bytes)


def model_files(model: Model, folder: Path) -> list[Path]:
    """The source for the peers; a network in PyTorch is converted for them."""
    if source := _source(model):
        return [source]
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


def flaws(name: str, row: Comparison, machine: Machine) -> Iterator[str]:
    """Why a row does not count: a peer is missing, or slower than it is known to be on such a machine."""
    model, present = MODELS[name], {peer.contestant.runtime: peer for peer in row.peers}
    required = ["openvino", *(["litert"] if (model.file or "").endswith(".tflite") else [])]
    yield from (f"{PEERS[peer].title} is missing" for peer in required if peer not in present)
    for peer, times in model.reference.items():
        if peer in present and machine.cpu == REFERENCE_CPU and row.threads <= len(times):
            known = times[row.threads - 1]
            if present[peer].timing.median_ms > REFERENCE_SLACK * known:
                yield f"{PEERS[peer].title} took {present[peer].timing.median_ms:.1f} ms, known for {known} ms"


def describe(
    machine: Machine,
    disturbance: Disturbance,
    bundles: dict[str, Compiled],
    rows: Sequence[tuple[str, Comparison]],
    peaks: dict[int, float],
    pruned: Sequence[tuple[str, Comparison]] = (),
) -> str:
    """The tables in Markdown, and all that their numbers depend on."""
    runtimes = sorted({f"{o.name} ({o.settings})" for _, row in rows for o in (row.ours, *row.peers)})
    table = markdown_table(HEADER, [_cells(name, row, peaks) for name, row in rows])
    whole = [row for name, row in rows if not any(flaws(name, row, machine))]
    peak = ", ".join(f"{2e-9 * rate:.0f} GFLOP/s on {threads}" for threads, rate in peaks.items())
    notes = [f"{machine}. FMA peak: {peak}. Runtimes: {'; '.join(runtimes)}."]
    notes += [f"**Not trustworthy: {complaint}.**" for complaint in disturbance.complaints()]
    notes += [
        f"- {name}, {row.threads} does not count: {'; '.join(flaws(name, row, machine))}."
        for name, row in rows
        if row not in whole
    ]
    unsteady = [(name, row) for name, row in rows if not _steady(row)]
    unsteady += [(f"{name} {' '.join(PRUNED[name])}", row) for name, row in pruned if not _steady(row)]
    notes += [f"- {name}, {row.threads}: rounds differ by more than 10 %." for name, row in unsteady]
    sizes = markdown_table(COMPILE_HEADER, [_compile_cells(name, made) for name, made in bundles.items()])
    return "\n\n".join([table, *_means(whole), *_pruned_table(pruned, rows), "\n".join(notes), sizes])


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


def _steady(row: Comparison) -> bool:
    return all(outcome.timing.trusted for outcome in (row.ours, *row.peers))


def _means(rows: Sequence[Comparison]) -> Iterator[str]:
    for threads in sorted({row.threads for row in rows}):
        if ratios := [row.ratio for row in rows if row.threads == threads and row.ratio]:
            on = f"on {threads} thread{'s' * (threads != 1)}"
            mean, least = geometric_mean(ratios), min(ratios)
            yield f"Ours over the best peer {on}: geometric mean **{mean:.2f}×**, least {least:.2f}×."


def _cells(name: str, row: Comparison, peaks: dict[int, float]) -> tuple[str, ...]:
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


def _plain(result):  # type: ignore[no-untyped-def]  # JSON in, JSON out
    """With paths as their names: where they lay on this machine is nobody's business."""
    if isinstance(result, dict):
        return {key: _plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_plain(value) for value in result]
    return result.name if isinstance(result, Path) else result


if __name__ == "__main__":
    sys.exit(main())
