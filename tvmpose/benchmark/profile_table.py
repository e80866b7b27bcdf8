"""A profile as text: a line a step, and the sum of what is left on the table."""

from collections import Counter
from collections.abc import Iterator

from tvmpose.benchmark.profile import FrameProfile, StepProfile, left_on_the_table, limit
from tvmpose.benchmark.roofline import Roofline
from tvmpose.benchmark.table import columns

TIMES = ("best ms", "median ms", "of frame")
WORK = ("GFLOP/s", "of peak", "kB", "GB/s", "of band", "bound by", "of limit")
HEADER = ("step", *TIMES, *WORK, "balance")
WORST = 3


def limits_line(roofline: Roofline) -> str:
    """The machine's limits for a number of threads."""
    flops, l2, frame = (1e-9 * x for x in (2 * roofline.multiply_adds, roofline.l2_bandwidth, roofline.frame_bandwidth))
    threads = f"{roofline.threads} thread{'s' * (roofline.threads != 1)}"
    return f"limits of {threads}: {flops:.1f} GFLOP/s, {l2:.1f} GB/s in L2, {frame:.1f} GB/s over a frame's memory"


def profile_lines(profile: FrameProfile, roofline: Roofline | None) -> Iterator[str]:
    """The table, and a last line that sums it. Without a roofline: times and rates only."""
    total = sum(step.best_ms for step in profile.steps)
    yield from columns([HEADER, *(_row(step, total, profile.threads, roofline) for step in profile.steps)])
    threads = f"{profile.threads} thread{'s' * (profile.threads != 1)}"
    spent = f"{total:.3f} ms in {len(profile.steps)} steps on {threads}, the best of {profile.frames} frames"
    if roofline is None:
        yield spent
        return
    left: Counter[str] = Counter()  # a kernel may be called several times
    for step in profile.steps:
        left[step.name] += left_on_the_table(step, roofline)  # type: ignore[assignment]  # counts may be floats
    most = ", ".join(f"{name} ({milliseconds:.3f} ms)" for name, milliseconds in left.most_common(WORST))
    share = left.total() / max(total, 1e-9)
    yield f"{spent}; {left.total():.3f} ms of it ({share:.0%}) are left on the table, most in {most}"


def _row(step: StepProfile, total: float, threads: int, roofline: Roofline | None) -> tuple[str, ...]:
    times = (f"{step.best_ms:.4f}", f"{step.median_ms:.4f}", f"{step.best_ms / max(total, 1e-9):.1%}")
    balance = f"{step.single_ms / (threads * step.best_ms):.0%}" if step.best_ms and threads > 1 else ""
    if step.multiply_adds is None or step.bytes is None or not step.best_ms:
        return (step.name, *times, *[""] * len(WORK), balance)
    seconds = step.best_ms / 1e3
    flops, rate = 2e-9 * step.multiply_adds / seconds, 1e-9 * step.bytes / seconds
    of_peak = of_band = bound = of_limit = ""
    if roofline and (least := limit(step, roofline)):
        of_peak = f"{roofline.compute_seconds(step.multiply_adds) / seconds:.0%}"
        of_band = f"{roofline.memory_seconds(step.bytes) / seconds:.0%}"
        bound, of_limit = least.bound, f"{least.milliseconds / step.best_ms:.0%}"
    work = (f"{flops:.1f}", of_peak, f"{step.bytes / 1e3:.0f}", f"{rate:.1f}", of_band, bound, of_limit)
    return (step.name, *times, *work, balance)
