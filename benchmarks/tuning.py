"""How good the search is: from bad schedules, against the best of many random ones, for kernels of different kinds.

    python -m benchmarks.tuning [--write]

Of each kernel 500 different random candidates are measured. Then the search starts with 16 of the worst quartile and
without the template's default, for ten minutes over all kernels. At last the three best of each side are measured
together, in many rounds. Half an hour, when nothing else runs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, Benchmark, Model, arguments, run
from benchmarks.report import markdown_table
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.devices.local import LocalDevice, cores
from tvmpose.targets import host_target
from tvmpose.tuning.build import Builder
from tvmpose.tuning.crew import Crew
from tvmpose.tuning.groups import Bench, Group
from tvmpose.tuning.measure import Measured, Settings
from tvmpose.tuning.records import Log
from tvmpose.tuning.search import Candidate
from tvmpose.tuning.session import Request, tasks_of
from tvmpose.tuning.state import Round, Search
from tvmpose.tuning.tuner import GROUP, Limits, Tuner

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "tuning.json"
HEADER = ("kernel", "random", "best", "median", "worst quartile from", "tried", "found", "found / best")
RANDOM, BUDGET_SECONDS = 500, 600.0
_DRAWS = 8  # for each that is wanted: where no more are found, the space has no more
_BEST, _LAST_ROUNDS = 3, 12
_AIM = 1.02
SETTINGS = Settings(threads=1)

LITE, CPM, MOVENET = "pose_landmark_lite.tflite", "edvardhua_cpm_192.tflite", "movenet_single_pose_lightning_ptq.tflite"
# A file of $TVMPOSE_DATA/models, and a task's title
KERNELS = {
    "1×1 convolution": (LITE, "conv2d 64×64×16 → 64×64×96"),
    "3×3 convolution, 3 channels in": (LITE, "conv2d 256×256×3 → 128×128×24"),
    "3×3 depthwise": (LITE, "depthwise_conv2d 64×64×96 → 64×64×96"),
    "7×7 depthwise": (CPM, "depthwise_conv2d 24×24×260 → 24×24×260"),
    "int8 1×1 convolution": (MOVENET, "integer_conv2d 48×48×24 → 48×48×144"),
    "int8 depthwise": (MOVENET, "depthwise_conv2d 48×48×144 → 48×48×144"),
}


@dataclass(frozen=True)
class Row:
    """Values are ratios to the template's default, measured beside it."""

    kernel: str
    title: str
    candidates: int
    best: float
    median: float
    worst_quartile: float
    trials: int
    found: float
    against_best: float  # the search's best over the best random one, measured together


@dataclass(frozen=True)
class Result:
    rows: Sequence[Row]
    search_seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """0 where the search came within 2 % of the best random candidate for every kernel."""
    parser = arguments("tuning", __doc__ or "", list(KERNELS))
    parser.add_argument("--random", type=int, default=RANDOM, metavar="N", help=f"default: {RANDOM}")
    parser.add_argument("--budget", type=float, default=BUDGET_SECONDS, metavar="S", help="of the search, in seconds")
    options = parser.parse_args(argv)
    found: list[Result] = []

    def work() -> Result:
        found.append(measure(options))
        return found[0]

    code = run(Benchmark("tuning", (DOCUMENT,), RESULT, work, describe, numbers), options)
    return code or int(any(row.against_best > _AIM for row in found[0].rows))


def measure(options: argparse.Namespace) -> Result:
    target, tasks = host_target(), []
    for name in options.models:
        file, title = KERNELS[name]
        source = Model(None, file, 0, {}).source
        tasks.append(next(task for task in tasks_of(Request(str(source), None, target)) if task.title == title))
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as name:
        folder = Path(name)
        with (
            Log(folder / "records.jsonl") as log,
            Builder(target, folder / "built", cores()) as builder,
            Crew([LocalDevice()]) as crew,
        ):
            tuner = Tuner(tasks, target, log, builder, folder, crew, settings=SETTINGS)
            bench = Bench(builder, crew, None, say)
            for search in tuner.searches:
                tuner.prepare(search)
            drawn = [draw(search, options.random) for search in tuner.searches]
            known = measured(bench, tuner.searches, drawn)
            for search, its in zip(tuner.searches, known, strict=True):
                start_badly(search, its)
            start = time.monotonic()
            tuner.run(
                Limits(start + options.budget), lambda tuner, done: say(f"round {done.number}, {tuner.trials} trials")
            )
            seconds = time.monotonic() - start
            last = finals(bench, tuner.searches, known)
    rows = [row(*parts) for parts in zip(options.models, tuner.searches, known, last, strict=True)]
    return Result(rows, seconds)


def draw(search: Search, count: int) -> list[Candidate]:
    """Different ones, decisions at random; fewer where the space has no more."""
    found: dict[int, Candidate] = {}
    for _ in range(count * _DRAWS):
        candidate = search.space.make(search.space.at_random)
        if candidate:
            found.setdefault(candidate.code, candidate)
        if len(found) == count:
            break
    say(f"{search.task.title}: {len(found)} candidates")
    return list(found.values())


def measured(
    bench: Bench, searches: Sequence[Search], drawn: Sequence[Sequence[Candidate]]
) -> list[list[tuple[Candidate, float]]]:
    """Of each task its candidates that are right, with ratios, the best first."""
    groups = [
        Group(search, (search.space.default(), *its[start : start + GROUP]))
        for search, its in zip(searches, drawn, strict=True)
        for start in range(0, len(its), GROUP)
    ]
    ratios: dict[int, list[tuple[Candidate, float]]] = {id(search): [] for search in searches}
    for group, result in bench.measure(groups, SETTINGS, Round(0)):
        ratios[id(group.search)] += compared(group, result)
    return [sorted(ratios[id(search)], key=lambda pair: pair[1]) for search in searches]


def compared(group: Group, result: Measured | str) -> list[tuple[Candidate, float]]:
    """Its candidates that are right, with their ratio to the default beside them."""
    if isinstance(result, str) or result.outcomes[0].error:
        return []
    default = result.outcomes[0].value
    pairs = zip(group.candidates[1:], result.outcomes[1:], strict=True)
    return [(candidate, outcome.value / default) for candidate, outcome in pairs if not outcome.error]


def start_badly(search: Search, known: Sequence[tuple[Candidate, float]]) -> None:
    """The search knows a few of the worst quartile, and may not take the default."""
    bad = known[-(len(known) // 4) :][:GROUP]
    for candidate, ratio in bad:
        search.space.remember(candidate.decisions, ratio)
    search.space.seen.add(search.space.default().code)
    search.default, search.ratio = 1.0, bad[0][1]


def finals(
    bench: Bench, searches: Sequence[Search], known: Sequence[Sequence[tuple[Candidate, float]]]
) -> list[tuple[float, float]]:
    """The best of those found and the best random one, measured together, as ratios to the default."""
    results = []
    for search, its in zip(searches, known, strict=True):
        best = sorted(search.space.known, key=lambda pair: pair[1])[:_BEST]
        found = [candidate for decisions, _ in best if (candidate := search.space.make_from(decisions))]
        group = Group(search, (search.space.default(), *found, *(candidate for candidate, _ in its[:_BEST])))
        ((group, result),) = bench.measure([group], replace(SETTINGS, rounds=_LAST_ROUNDS), Round(0))
        ratios = [ratio for _, ratio in compared(group, result)]
        results.append((min(ratios[: len(found)]), min(ratios[len(found) :])))
    return results


def row(name: str, search: Search, known: Sequence[tuple[Candidate, float]], last: tuple[float, float]) -> Row:
    ratios = [ratio for _, ratio in known]
    found, best = last
    quartile = ratios[-(len(ratios) // 4)]
    return Row(
        name,
        search.task.title,
        len(ratios),
        best,
        ratios[len(ratios) // 2],
        quartile,
        search.trials,
        found,
        found / best,
    )


def describe(result: Result, machine: Machine, disturbance: Disturbance) -> str:
    rows = [
        (
            f"{r.kernel}: {r.title}",
            str(r.candidates),
            *(f"{value:.2f}" for value in (r.best, r.median, r.worst_quartile)),
            str(r.trials),
            f"{r.found:.2f}",
            f"{r.against_best:.3f}",
        )
        for r in result.rows
    ]
    table = markdown_table(HEADER, rows)
    doubts = "".join(f"\n\n**Not trustworthy: {complaint}.**" for complaint in disturbance.complaints())
    return f"{machine}\n\n{table}\n\nThe search took {result.search_seconds:.0f} s for all of them.{doubts}"


def numbers(result: Result) -> Mapping[str, Any]:
    return asdict(result)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
