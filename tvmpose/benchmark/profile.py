"""Where a frame's time goes, kernel by kernel, beside what the machine would need at least."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tvmpose import runtime
from tvmpose.benchmark.compare import noise
from tvmpose.benchmark.facts import Facts
from tvmpose.benchmark.frame import FrameSize
from tvmpose.benchmark.roofline import Roofline
from tvmpose.errors import InputError, translated

WARM_UP_FRAMES = 5


@dataclass(frozen=True)
class StepProfile:
    """One step of a frame. ``single_ms``: its best time on one thread; work is None for warp and decode."""

    name: str
    best_ms: float
    median_ms: float
    single_ms: float
    multiply_adds: int | None
    bytes: int | None


@dataclass(frozen=True)
class Limit:
    """The least that a step can take on this machine, and what forces it."""

    milliseconds: float
    bound: Literal["compute", "memory"]


@dataclass(frozen=True)
class FrameProfile:
    """A frame's steps in order; from pixels to keypoints where the bundle has a card, else from tensor to tensor."""

    threads: int
    frames: int
    steps: tuple[StepProfile, ...]


def profile_bundle(bundle: Path, facts: Facts, threads: int, frames: int, size: FrameSize) -> FrameProfile:
    """Time every step over ``frames`` frames of noise. threads: 0 for the bundle's default.

    Raises InputError for a bundle that does not list its steps, and what loading raises.
    """
    with translated(), runtime.load(bundle, threads=threads) as pose:
        used, names = pose.threads, pose.info.step_names
        if names[1:-1] != tuple(step.name for step in facts.steps):
            raise InputError(f"{bundle}: its manifest does not list the library's steps: compile it again")
        times = _frame_times(pose, facts, frames, size)
        single = times
        if used > 1:
            pose.threads = 1
            single = _frame_times(pose, facts, frames, size)
    work = [(None, None), *((step.multiply_adds, step.bytes) for step in facts.steps), (None, None)]
    best, median, one = (values / 1e6 for values in (times.min(0), np.median(times, 0), single.min(0)))
    rows = zip(names, best, median, one, work, strict=True)
    steps = [StepProfile(name, float(b), float(m), float(s), *w) for name, b, m, s, w in rows if m > 0]
    return FrameProfile(used, frames, tuple(steps))


def _frame_times(pose: runtime.Pose, facts: Facts, frames: int, size: FrameSize) -> np.ndarray:
    """Nanoseconds, (frames, steps)."""
    inputs = [noise(spec) for spec in facts.inputs]
    picture, box = size.picture(), size.box
    counters, rows = pose.profile(), np.zeros((frames, len(pose.info.step_names)))
    for number in range(-WARM_UP_FRAMES, frames):
        counters[:] = 0
        if facts.card:
            pose(picture, [box])
        else:
            pose.run_tensors(inputs)
        rows[max(number, 0)] = counters
    return rows


def limit(step: StepProfile, roofline: Roofline) -> Limit | None:
    """None for a step whose work is not known."""
    if step.multiply_adds is None or step.bytes is None:
        return None
    compute, memory = roofline.compute_seconds(step.multiply_adds), roofline.memory_seconds(step.bytes)
    return Limit(1e3 * compute, "compute") if compute >= memory else Limit(1e3 * memory, "memory")


def left_on_the_table(step: StepProfile, roofline: Roofline) -> float:
    """Milliseconds above the limit; none where the limit is not known, or the step is faster than it (from L1)."""
    least = limit(step, roofline)
    return max(0.0, step.best_ms - least.milliseconds) if least else 0.0
