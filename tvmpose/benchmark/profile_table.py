"""A profile as text: a line a step, and the sum of what is left on the table."""

from collections.abc import Iterator

from tvmpose.benchmark.profile import FrameProfile, StepProfile, left_on_the_table, limit
from tvmpose.benchmark.roofline import Roofline
from tvmpose.benchmark.table import columns

HEADER = ("step", "best", "median", "of frame", "GFLOP/s", "of peak", "kB", "GB/s", "of band", "bound by", "of limit", "balance")
WORST = 3


def limits_line(roofline: Roofline) -> str:
    """The machine's limits for a number of threads."""
    return (
        f"limits of {roofline.threads} thread{'s' * (roofline.threads != 1)}: {2e-9 * roofline.multiply_adds:.1f} GFLOP/s, "
        f"{1e-9 * roofline.l2_bandwidth:.1f} GB/s in L2, {1e-9 * roofline.frame_bandwidth:.1f} GB/s over a frame's memory"
    )


def profile_lines(profile: FrameProfile, roofline: Roofline | None) -> Iterator[str]:
    """The table, and a last line that sums it. Without a roofline: times and rates only."""
    total = sum(step.best_ms for step in profile.steps)
    yield from columns([HEADER, *(_row(step, total, profile.threads, roofline) for step in profile.steps)])
    threads = f"{profile.threads} thread{'s' * (profile.threads != 1)}"
    spent = f"{total:.3f} ms in {len(profile.steps)} steps on {threads}, the best of {profile.frames} frames"
    if roofline is None:
        yield spent
        return
    known = [least for step in profile.steps if (least := limit(step, roofline))]
    left = {step: left_on_the_table(step, roofline) for step in profile.steps}
    worst = sorted(left, key=lambda step: -left[step])[:WORST]
    yield (
        f"{spent}; the machine's limit is {sum(least.milliseconds for least in known):.3f} ms; "
        f"{sum(left.values()):.3f} ms are left on the table, most in "
        + ", ".join(f"{step.name} ({left[step]:.3f} ms)" for step in worst)
    )


def _row(step: StepProfile, total: float, threads: int, roofline: Roofline | None) -> tuple[str, ...]:
    times = (f"{step.best_ms:.4f}", f"{step.median_ms:.4f}", f"{step.best_ms / total:.1%}")
    balance = f"{step.single_ms / (threads * step.best_ms):.0%}" if step.best_ms and threads > 1 else ""
    if step.multiply_adds is None or step.bytes is None or not step.best_ms:
        return (step.name, *times, *[""] * 7, balance)
    seconds = step.best_ms / 1e3
    flops, rate = 2e-9 * step.multiply_adds / seconds, 1e-9 * step.bytes / seconds
    of_peak = of_band = bound = of_limit = ""
    if roofline and (least := limit(step, roofline)):
        of_peak = f"{roofline.compute_seconds(step.multiply_adds) / seconds:.0%}"
        of_band = f"{roofline.memory_seconds(step.bytes) / seconds:.0%}"
        bound, of_limit = least.bound, f"{least.milliseconds / step.best_ms:.0%}"
    work = (f"{flops:.1f}", of_peak, f"{step.bytes / 1e3:.0f}", f"{rate:.1f}", of_band, bound, of_limit)
    return (step.name, *times, *work, balance)
