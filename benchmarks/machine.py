"""The machine that numbers come from, and whether it was quiet while they were made. Linux."""

import os
import platform
import re
import resource
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

QUIET_SHARE = 0.05  # of the machine's CPU time, taken by others
LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Machine:
    """Where and when."""

    cpu: str
    cpus: int
    system: str
    python: str
    date: str  # UTC, to the day

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cpus} CPUs, {self.system}, Python {self.python}, {self.date}"


def this_machine() -> Machine:
    """The machine as it finds itself; a virtual one may call its CPU less than it is."""
    name = re.search(r"^(?:model name|Model)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Machine(
        cpu=name[1] if name else platform.machine(),
        cpus=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        python=platform.python_version(),
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    )


class ForeignShare:
    """The share of the machine's CPU time, since this object was made, that went neither to us nor to idling."""

    def __init__(self) -> None:
        self._start = self._now()

    def measure(self) -> float:
        """0..1. Children count as ours once they have been waited for."""
        seconds, busy, own = (after - before for before, after in zip(self._start, self._now(), strict=True))
        return max(0.0, busy - own) / max(seconds * (os.cpu_count() or 1), 1e-9)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        # proc(5): user nice system idle iowait irq softirq steal
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        ticks = user + nice + system + irq + softirq + steal
        return time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), own


def noise() -> str | None:
    """One line for the user where others are computing, else None. Looks for two seconds."""
    share = ForeignShare()
    time.sleep(LOOK_SECONDS)
    taken = share.measure()
    if taken <= QUIET_SHARE:
        return None
    return f"others take {taken:.0%} of this machine's CPU time: stop them, or --noisy to measure all the same"
