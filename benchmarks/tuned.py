"""What tuning gives whole networks: each tuned here for some minutes, then its bundle beside the untuned one.

    python -m benchmarks.tuned [--write]

The networks are tuned one after the other into one file of records, so that a later one finds what an earlier one has
measured. Both bundles run in turn, each in several processes of its own: where a process's pages lie in memory makes it
faster or slower by more than tuning may gain. Fails where a tuned network is slower than untuned by more than rounds
differ. Half an hour, when nothing else runs.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.fp32 import MODELS as FLOATS
from benchmarks.measuring import ROOT, Benchmark, Model, compiled, peer_arguments, run
from benchmarks.report import markdown_table
from tvmpose.benchmark.compare import noise
from tvmpose.benchmark.duel import Contestant, Outcome, Rounds, duel
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.benchmark.timing import geometric_mean

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "tuned.json"
HEADER = ("model", "threads", "untuned", "tuned", "untuned / tuned", "kernels by records", "known before", "candidates")
BUDGET_SECONDS = 180
MOVENET_INT8 = Model("movenet-lightning-coral", "movenet_single_pose_lightning_ptq.tflite", 271, {})
MODELS = {**FLOATS, "movenet-lightning-int8": MOVENET_INT8}
SHOWN = 4  # kernels of a network
PROCESSES = 4  # of each bundle
ROUNDS, SECONDS = 60, 0.05  # many short turns: within a second a machine is faster and slower
_SLOWER = 1.02  # than untuned, at most


@dataclass(frozen=True)
class Row:
    model: str
    threads: int
    untuned: float  # milliseconds: the median of its processes' medians
    tuned: float
    hits: str  # what compile says of the records
    reused: int  # candidates that were known before this network was tuned
    candidates: int
    kernels: Sequence[str]  # what became faster, most first, as `tvmpose tune` says

    @property
    def gain(self) -> float:
        return self.untuned / self.tuned


def main(argv: Sequence[str] | None = None) -> int:
    """0 where no tuned network is slower."""
    parser = peer_arguments("tuned", __doc__ or "", list(MODELS))
    parser.add_argument("--budget", type=int, default=BUDGET_SECONDS, metavar="S", help="of each network's tuning")
    parser.set_defaults(rounds=ROUNDS, seconds=SECONDS)
    options = parser.parse_args(argv)
    found: list[Row] = []

    def work() -> list[Row]:
        found.extend(row for name in options.models for row in measure(name, options))
        return found

    with tempfile.TemporaryDirectory(prefix="tvmpose-") as cache:
        os.environ["TVMPOSE_CACHE"] = cache
        code = run(Benchmark("tuned", (DOCUMENT,), RESULT, work, describe, numbers), options)
    return code or int(any(row.gain * _SLOWER < 1 for row in found))


def measure(name: str, options: argparse.Namespace) -> list[Row]:
    model, folder = MODELS[name], options.build / "tuned"
    summary = tune(model, options.budget)
    bundles = {kind: compiled(model, folder / f"{name}-{kind}", ["--records", kind]) for kind in ("none", "time")}
    printed = next(line for line in lines_of(bundles["time"].printed) if "by records" in line)
    hits = printed.removeprefix("tuned").partition("  (")[0].strip()  # without the time it took
    kernels = [line for line in lines_of(summary) if re.match(r"\d+ x .* -> ", line)]
    inputs = [noise(spec) for spec in bundles["none"].facts.inputs]
    rows = []
    for threads in options.threads:
        contestants = [Contestant("tvmpose", one.bundle, threads) for one in bundles.values()] * PROCESSES
        outcomes = duel(contestants, inputs, Rounds(options.rounds, options.seconds), say)
        medians = [outcome.timing.median_ms for outcome in outcomes if isinstance(outcome, Outcome)]
        untuned, tuned = (median(medians[first :: len(bundles)]) for first in range(len(bundles)))
        counts = (number(summary, r"(\d+) candidates known"), number(summary, r"(\d+) candidates in"))
        rows.append(Row(name, threads, untuned, tuned, hits, *counts, kernels))
        say(f"{name}, {threads}: {rows[-1].gain:.3f}")
    return rows


def tune(model: Model, seconds: int) -> str:
    """What the command prints."""
    card = ["--card", model.card] if model.card and model.source else []
    command = [sys.executable, "-m", "tvmpose", "tune", str(model.source or model.card), *card]
    return subprocess.run([*command, "--budget", f"{seconds}s"], check=True, stdout=subprocess.PIPE, text=True).stdout


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def number(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def describe(rows: Sequence[Row], machine: Machine, disturbance: Disturbance) -> str:
    cells = [
        (
            row.model,
            str(row.threads),
            f"{row.untuned:.2f} ms",
            f"{row.tuned:.2f} ms",
            f"{row.gain:.3f}",
            row.hits,
            str(row.reused),
            str(row.candidates),
        )
        for row in rows
    ]
    doubts = [f"**Not trustworthy: {complaint}.**" for complaint in disturbance.complaints()]
    kernels = [
        f"{row.model}:\n\n```text\n" + "\n".join(row.kernels[:SHOWN]) + "\n```" for row in once(rows) if row.kernels
    ]
    mean = f"Geometric mean of the gains: {geometric_mean([row.gain for row in rows]):.3f}."
    parts = [f"{machine}", *doubts, markdown_table(HEADER, cells), mean, "What became faster, most first:", *kernels]
    return "\n\n".join(parts)


def once(rows: Sequence[Row]) -> list[Row]:
    """One of each model."""
    return list({row.model: row for row in rows}.values())


def numbers(rows: Sequence[Row]) -> Mapping[str, Any]:
    return {"rows": [{**asdict(row), "gain": row.gain} for row in rows]}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
