"""What a compiled bundle costs on a device, beside LiteRT: size, opening, first frame, median frame, peak memory.

    python -m benchmarks.deployment [--threads N] [--write]

Each number is the median over rounds. In a round every model runs once in every runtime, each time in a fresh process,
and the order is reversed from round to round; a round before the first is thrown away. Refuses to start, and to write,
where others use the machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distribution, version
from pathlib import Path

from benchmarks.measuring import ROOT, Benchmark, arguments, run
from benchmarks.report import markdown_table
from tvmpose import __version__
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.cards import Card, load_card, pull, sha256_of

MODELS = ("blazepose-lite", "blazepose-full", "edvardhua-cpm")
DOCUMENTS = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
RESULT = ROOT / "benchmarks" / "deployment.json"
FIELDS = ("open_ms", "first_ms", "frame_ms", "pixels_ms", "peak_bytes")
HEADER = ("model, runtime", "on disk", "open", "first frame", "frame", "pixels to keypoints", "peak memory")

Sample = Mapping[str, float | None]


@dataclass(frozen=True)
class Row:
    """One model in one runtime; times in milliseconds, medians over rounds."""

    model: str
    runtime: str
    disk_bytes: int
    open_ms: float
    first_ms: float
    frame_ms: float
    pixels_ms: float | None
    peak_bytes: float


@dataclass(frozen=True)
class Measured:
    """The rows, and what Python with NumPy alone took in each round."""

    rows: Sequence[Row]
    bare: Sequence[Sample]


def main(given: Sequence[str] | None = None) -> int:
    """Run, print the table, write the JSON."""
    options = _parse(given)
    settings = {"threads": options.threads, "rounds": options.rounds, "frames": options.frames}
    benchmark = Benchmark(
        "deployment",
        DOCUMENTS,
        RESULT,
        lambda: measure(options),
        lambda measured, machine, disturbance: describe(measured, options, machine, disturbance),
        lambda measured: {"versions": versions(), **settings, "rows": [asdict(row) for row in measured.rows]},
    )
    return run(benchmark, options)


def measure(options: argparse.Namespace) -> Measured:
    """Every model that was asked for, in both runtimes."""
    files = {name: model_file(load_card(name)) for name in options.models}
    bundles = {name: compiled(name, file, options.build) for name, file in files.items()}
    samples = collect(files, bundles, options.threads, options.rounds, options.frames)
    rows = [summarize(model, runtime, bundles, files, samples) for model in files for runtime in ("tvmpose", "litert")]
    return Measured(rows, samples["", "none"])


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments("deployment", __doc__, MODELS)
    parser.add_argument("--threads", type=int, default=min(4, len(os.sched_getaffinity(0))), metavar="N")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--frames", type=int, default=50, metavar="N", help="in each process, after the first")
    return parser.parse_args(given)


def model_file(card: Card) -> Path:
    """The card's file: among the test data where it is there, else from the cache or its source."""
    hashes = {getattr(source, "sha256", None) for source in card.source}
    for path in sorted(Path(os.environ.get("TVMPOSE_DATA", ROOT / "nowhere"), "models").glob("*.tflite")):
        if sha256_of(path) in hashes:
            return path
    return pull(card)


def compiled(name: str, file: Path, folder: Path) -> Path:
    """A fresh bundle, made by the command that users have; in another process, so that this one stays small."""
    bundle = folder / name
    command = ["compile", str(file), "--card", name, "--target", "host", "-o", str(bundle)]
    subprocess.run([sys.executable, "-m", "tvmpose", *command], check=True)
    return bundle


def collect(
    files: Mapping[str, Path], bundles: Mapping[str, Path], threads: int, rounds: int, frames: int
) -> dict[tuple[str, str], list[Sample]]:
    """(model, runtime) -> one sample a round; ("", "none") is Python with NumPy alone."""
    jobs = [("", "none", ROOT)]
    jobs += [(name, "tvmpose", bundles[name]) for name in files] + [(name, "litert", files[name]) for name in files]
    samples: dict[tuple[str, str], list[Sample]] = {(model, runtime): [] for model, runtime, _ in jobs}
    for number, (model, runtime, path) in _interleaved(jobs, rounds):
        program = str(ROOT / "benchmarks" / "one_process.py")
        command = [sys.executable, program, runtime, str(path), str(threads), str(frames)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        if number:
            samples[model, runtime].append(json.loads(done.stdout))
    return samples


def _interleaved(jobs: Sequence[tuple[str, str, Path]], rounds: int) -> Iterator[tuple[int, tuple[str, str, Path]]]:
    for number in range(rounds + 1):
        for job in jobs if number % 2 else reversed(jobs):
            yield number, job


def summarize(
    model: str,
    runtime: str,
    bundles: Mapping[str, Path],
    files: Mapping[str, Path],
    samples: Mapping[tuple[str, str], list[Sample]],
) -> Row:
    """Medians of one model in one runtime."""
    medians = {field: _median(samples[model, runtime], field) for field in FIELDS}
    paths = bundles[model].iterdir() if runtime == "tvmpose" else (files[model],)
    return Row(model, runtime, sum(path.stat().st_size for path in paths if path.is_file()), **medians)  # type: ignore[arg-type]


def _median(samples: Sequence[Sample], field: str) -> float | None:
    values = [value for sample in samples if (value := sample.get(field)) is not None]
    return statistics.median(values) if values else None


def versions() -> dict[str, str]:
    return {"tvmpose": __version__, "apache-tvm": version("apache-tvm"), "ai-edge-litert": version("ai-edge-litert")}


def describe(measured: Measured, options: argparse.Namespace, machine: Machine, disturbance: Disturbance) -> str:
    """The table, and under it all that the numbers depend on."""
    quiet = "".join(f" **Not trustworthy: {complaint}.**" for complaint in disturbance.complaints())
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    bare_memory, litert = _megabytes(_median(measured.bare, "peak_bytes")), _megabytes(litert_bytes())
    notes = (
        f"{machine}; {packages}; {options.threads} threads. Medians of {options.rounds} fresh processes, of "
        f"{options.frames} frames each.{quiet} On disk: the whole bundle, which needs nothing else, and the .tflite, "
        f"which needs LiteRT's {litert} beside it. Frame: tensors in, tensors out. Pixels to keypoints: a 640 × 480 "
        "picture in; warp, network, decoding; LiteRT leaves the first and the last to the program. Peak memory: of "
        f"the process, with Python and NumPy, which alone take {bare_memory}."
    )
    return f"{markdown_table(HEADER, [_cells(row) for row in measured.rows])}\n\n{notes}"


def litert_bytes() -> int:
    """What the installed LiteRT takes on disk."""
    files = distribution("ai-edge-litert").files or []
    return sum(path.stat().st_size for path in (Path(str(file.locate())) for file in files) if path.is_file())


def _cells(row: Row) -> tuple[str, ...]:
    times = [row.open_ms, row.first_ms, row.frame_ms, row.pixels_ms]
    shown = ["–" if ms is None else f"{ms:.1f} ms" for ms in times]
    name = {"tvmpose": "tvmpose", "litert": "LiteRT"}[row.runtime]
    return f"{row.model}, {name}", _megabytes(row.disk_bytes), *shown, _megabytes(row.peak_bytes)


def _megabytes(count: float | None) -> str:
    return "–" if count is None else f"{count / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
