"""What smoothing costs and brings: its time, and how much steadier and how much later a real person's joints are.

    python -m benchmarks.smoothing [--write]

Follows the person in the test data's video without a filter, then puts each filter over the same joints.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import ROOT, Benchmark, Model, arguments, compiled, run
from benchmarks.report import markdown_table
from tvmpose import runtime
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.pose import Pipeline
from tvmpose.runtime.smooth import SMOOTHERS
from tvmpose.video.frames import Video

DOCUMENT, RESULT = ROOT / "docs" / "video.md", ROOT / "benchmarks" / "smoothing.json"
LANDMARKS = Model("blazepose-full", "pose_landmark_full.tflite", 386, {})
DETECTOR = Model("blazepose-detector", "pose_detection.tflite", 430, {})
HEADER = ("filter", "jitter", "lower by", "late by", "C", "Python")
CALLS = 2000
WARM_UP = 8  # frames until a filter has a past


@dataclass(frozen=True)
class Row:
    """jitter: mean second difference, pixels; lag: frames; times: median nanoseconds of a call, of all joints."""

    name: str
    jitter: float
    less: float
    lag: float
    c_ns: float
    python_ns: float


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print; write the table where asked to."""
    options = arguments("smoothing", __doc__, ["blazepose-full"]).parse_args(given)
    if "TVMPOSE_DATA" not in os.environ:
        raise SystemExit("set TVMPOSE_DATA to the folder of the test data")
    video = Path(os.environ["TVMPOSE_DATA"]) / "video" / "one_person_25fps.mp4"
    return run(Benchmark("smoothing", (DOCUMENT,), RESULT, lambda: measure(options, video), describe, numbers), options)


def measure(options: argparse.Namespace, video: Path) -> list[Row]:
    """The person without a filter is the first row."""
    seconds, sizes, joints = follow(options.build, video)
    plain = joints[..., :2].astype("float64")
    rows = [Row("none", jitter(plain), 0.0, 0.0, 0.0, 0.0)]
    for name, kind in SMOOTHERS.items():
        smoother, times, steady = kind(), [], []
        for frame, when, size in zip(joints, seconds, sizes, strict=True):
            start = time.perf_counter_ns()
            steady.append(smoother(frame, when, size)[:, :2])
            times.append(time.perf_counter_ns() - start)
        found = np.stack(steady).astype("float64")
        in_c = time_in_c(options.build, list(SMOOTHERS).index(name), joints.shape[1])
        less = 1 - jitter(found) / jitter(plain)
        rows.append(Row(name, jitter(found), less, lag(plain, found), in_c, float(np.median(times))))
    return rows


def follow(build: Path, video: Path) -> tuple[list[float], list[float], np.ndarray]:
    """Of each frame the time, the person's size, and the joints: (frames, K, 3)."""
    bundles = [compiled(model, build / f"smoothing-{model.card}").bundle for model in (DETECTOR, LANDMARKS)]
    with Video(str(video)) as frames, runtime.load(bundles[0]) as detector, runtime.load(bundles[1]) as landmark:
        pipeline = Pipeline(detector, landmark)
        people = [(frame.seconds, pipeline(frame.pixels, frame.seconds)) for frame in frames]
    if any([person.id for person in found] != [0] for _, found in people):
        raise SystemExit(f"{video}: not the one person who was there before")
    sizes = [max(found[0].box[2:]) for _, found in people]
    return [when for when, _ in people], sizes, np.stack([found[0].keypoints for _, found in people])


def jitter(joints: np.ndarray) -> float:
    """Mean length of the second difference of (frames, K, 2), in pixels."""
    return float(np.linalg.norm(np.diff(joints, 2, axis=0), axis=2).mean())


def lag(plain: np.ndarray, steady: np.ndarray) -> float:
    """In frames: the delay of the plain joints at which the smoothed ones are nearest to them."""
    frames, delays = np.arange(len(plain)), np.arange(0, 4, 0.05)
    flat, smooth = plain.reshape(len(plain), -1), steady.reshape(len(plain), -1)
    late = [np.stack([np.interp(frames - delay, frames, column) for column in flat.T], axis=1) for delay in delays]
    return float(delays[np.argmin([np.abs(each - smooth)[WARM_UP:].mean() for each in late])])


def time_in_c(build: Path, kind: int, joints: int) -> float:
    """Median nanoseconds of tvmpose_smooth."""
    build.mkdir(parents=True, exist_ok=True)
    program, include = build / "smooth_time", ROOT / "tvmpose" / "runtime" / "csrc"
    source = ROOT / "benchmarks" / "smooth_time.c"
    subprocess.run(["cc", "-O2", f"-I{include}", str(source), "-o", str(program), "-lm"], check=True)
    command = [str(program), str(kind), str(joints), str(CALLS)]
    return float(np.median([float(line) for line in subprocess.check_output(command, text=True).split()]))


def numbers(rows: Sequence[Row]) -> Mapping[str, Any]:
    return {"rows": [asdict(row) for row in rows]}


def describe(rows: Sequence[Row], machine: Machine, disturbance: Disturbance) -> str:
    """The table in Markdown, and what casts doubt on it."""
    notes = f"{machine}. Jitter: mean second difference of BlazePose full's 33 joints over 140 frames of 25 a second, "
    notes += "in pixels. Late by: in frames. Times: of a call for all joints, medians."
    doubts = [f"**Not trustworthy: {complaint}.**" for complaint in disturbance.complaints()]
    return "\n\n".join([markdown_table(HEADER, [_cells(row) for row in rows]), "\n".join([notes, *doubts])])


def _cells(row: Row) -> tuple[str, ...]:
    if row.name == "none":
        return (row.name, f"{row.jitter:.2f}", "", "", "", "")
    times = (f"{row.c_ns / 1e3:.1f} µs", f"{row.python_ns / 1e3:.0f} µs")
    return (row.name, f"{row.jitter:.2f}", f"{row.less:.0%}", f"{row.lag:.2f}", *times)


if __name__ == "__main__":
    sys.exit(main())
