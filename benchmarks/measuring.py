"""What benchmarks share: a quiet machine, models and their bundles, results that are written only where they hold."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmarks.report import replace_between_marks, write_json
from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.compare import Comparison
from tvmpose.benchmark.facts import Facts, read_facts
from tvmpose.benchmark.machine import Disturbance, Machine, Watch, noise, this_machine
from tvmpose.benchmark.timing import TRUSTED_SPREAD

ROOT = Path(__file__).parents[1]
TOO_NOISY = 6  # exit code: something about this machine, as tvmpose.errors has it
REFERENCE_CPU, REFERENCE_L2, REFERENCE_SLACK = "AMD EPYC", 1 << 20, 1.10  # of Zen 4; Zen 3 has half as much L2

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Benchmark(Generic[Measured]):
    """A question: how it is measured, told in Markdown and kept as JSON, and where both are written."""

    name: str  # of the marks in its documents
    documents: tuple[Path, ...]
    result: Path
    measure: Callable[[], Measured]
    describe: Callable[[Measured, Machine, Disturbance], str]
    numbers: Callable[[Measured], Mapping[str, Any]]


def run(benchmark: Benchmark[Measured], options: argparse.Namespace) -> int:
    """Measure, print, and write where asked to; not where others use the machine, before or meanwhile (--noisy)."""
    if not options.noisy and (complaint := noise()):
        print(complaint, file=sys.stderr)
        return TOO_NOISY
    watch = Watch()
    measured = benchmark.measure()
    machine, disturbance = this_machine(), watch.stop()
    text = benchmark.describe(measured, machine, disturbance)
    print(text)
    numbers = {"machine": asdict(machine), "disturbance": asdict(disturbance), **benchmark.numbers(measured)}
    write_json(options.json, plain(numbers))
    if disturbance.complaints() and not options.noisy:
        print(f"the documents stay as they are: {'; '.join(disturbance.complaints())}", file=sys.stderr)
        return TOO_NOISY
    if options.write:
        write_json(benchmark.result, json.loads(options.json.read_text()))
        for document in benchmark.documents:
            replace_between_marks(document, benchmark.name, text)
    return 0


def plain(result: Any) -> Any:
    """For JSON, with paths as their names: where they lay on this machine is nobody's business."""
    if isinstance(result, dict):
        return {key: plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [plain(value) for value in result]
    return result.name if isinstance(result, Path) else result


def arguments(name: str, description: str, models: Sequence[str]) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description.split("\n")[0])
    build = ROOT / "build" / "benchmarks"
    parser.add_argument("--models", nargs="+", default=list(models), choices=models, metavar="NAME")
    parser.add_argument("--build", type=Path, default=build, metavar="DIR")
    parser.add_argument("--json", type=Path, default=build / f"{name}.json", metavar="FILE")
    parser.add_argument("--noisy", action="store_true", help="run and write although others use the machine")
    parser.add_argument("--write", action="store_true", help="write the tables into the documents")
    return parser


def peer_arguments(name: str, description: str, models: Sequence[str]) -> argparse.ArgumentParser:
    """Those of a benchmark beside peers."""
    parser = arguments(name, description, models)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="of each runtime in each round")
    return parser


@dataclass(frozen=True)
class Model:
    """A file of $TVMPOSE_DATA/models with its card, or a card's own network, which its peers get converted.

    multiply_adds: the source's, in millions. reference: what peers took on a 2-core Zen 4 on 2026-11-21, ms on 1 and 2
    threads. One that is far slower was not at its best, and its row does not count.
    """

    card: str | None
    file: str | None
    multiply_adds: int
    reference: Mapping[str, tuple[float, float]]

    @property
    def source(self) -> Path | None:
        if self.file is None:
            return None
        if "TVMPOSE_DATA" not in os.environ:
            raise SystemExit("set TVMPOSE_DATA to the folder of the test data")
        return Path(os.environ["TVMPOSE_DATA"]) / "models" / self.file


@dataclass(frozen=True)
class Compiled:
    """A bundle and what it took."""

    bundle: Path
    facts: Facts
    seconds: float
    library_bytes: int
    weight_bytes: int
    printed: str


def compiled(model: Model, bundle: Path, options: Sequence[str] = (), target: str = "host") -> Compiled:
    """A fresh bundle, by the command that users have, in its own process. Verified like any other."""
    card = ["--card", model.card] if model.card else []
    command = ["compile", str(model.source or model.card), *card, "--target", target, "-o", str(bundle), *options]
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-m", "tvmpose", *command], check=True, stdout=subprocess.PIPE, text=True)
    seconds, facts = time.perf_counter() - start, read_facts(bundle)
    return Compiled(bundle, facts, seconds, next(bundle.glob("lib*.so")).stat().st_size, facts.weight_bytes, run.stdout)


def flaws(model: Model, required: Sequence[str], row: Comparison, machine: Machine) -> Iterator[str]:
    """Why a row does not count: a peer is missing, or slower than it is known to be on such a machine."""
    present = {peer.contestant.runtime: peer for peer in row.peers}
    yield from (f"{PEERS[peer].title} is missing" for peer in required if peer not in present)
    for peer, times in model.reference.items():
        if peer in present and _is_reference(machine) and row.threads <= len(times):
            known = times[row.threads - 1]
            if present[peer].timing.median_ms > REFERENCE_SLACK * known:
                yield f"{PEERS[peer].title} took {present[peer].timing.median_ms:.1f} ms, known for {known} ms"


def _is_reference(machine: Machine) -> bool:
    return (machine.cpu, machine.l2_bytes) == (REFERENCE_CPU, REFERENCE_L2)


def doubts(
    rows: Sequence[tuple[str, Comparison]], flawed: Callable[[str, Comparison], Sequence[str]], disturbance: Disturbance
) -> Iterator[str]:
    """What casts doubt on a table, a line each. flawed: see flaws."""
    yield from (f"**Not trustworthy: {complaint}.**" for complaint in disturbance.complaints())
    for name, row in rows:
        if reasons := flawed(name, row):
            yield f"- {name}, {row.threads} does not count: {'; '.join(reasons)}."
    for name, row in rows:
        if not all(outcome.timing.trusted for outcome in (row.ours, *row.peers)):
            yield f"- {name}, {row.threads}: rounds differ by more than {TRUSTED_SPREAD:.0%}."


def runtimes(rows: Sequence[tuple[str, Comparison]]) -> str:
    """Names, versions and settings of all that took part."""
    outcomes = [outcome for _, row in rows for outcome in (row.ours, *row.peers)]
    return "; ".join(sorted({f"{outcome.name} ({outcome.settings})" for outcome in outcomes}))
