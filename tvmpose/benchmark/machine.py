"""The machine that is measured on, and what else it did meanwhile. Linux; elsewhere facts are missing, not wrong."""

import os
import platform
import re
import resource
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

TRUSTED_SHARE = 0.05  # of the CPU time: taken by others, or by the hypervisor
LOOK_SECONDS = 2.0
DEFAULT_L2_BYTES = 256 << 10


@dataclass(frozen=True)
class Machine:
    """Where and when."""

    cpu: str
    cpus: int
    clock_mhz: float | None  # now, as the system has it; a virtual machine's may be the nominal one
    l2_bytes: int  # of one core
    system: str
    python: str
    date: str  # UTC, to the day

    def __str__(self) -> str:
        clock = f", {self.clock_mhz:.0f} MHz" if self.clock_mhz else ""
        l2 = f"{self.l2_bytes >> 10} KiB of L2 each"
        return f"{self.cpu}{clock}, {self.cpus} CPUs, {l2}, {self.system}, Python {self.python}, {self.date}"


def this_machine() -> Machine:
    """The machine as it finds itself."""
    text = _read("/proc/cpuinfo")
    name = re.search(r"^(?:model name|Model)\s*: (.*)$", text, re.MULTILINE)
    clocks = [float(clock) for clock in re.findall(r"^cpu MHz\s*: ([\d.]+)$", text, re.MULTILINE)]
    return Machine(
        cpu=name[1] if name else platform.machine(),
        cpus=usable_cpus(),
        clock_mhz=max(clocks, default=None),
        l2_bytes=_l2_bytes(),
        system=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        python=platform.python_version(),
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    )


def usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Disturbance:
    """What others had of the machine's CPU time between two moments, as shares of 0..1, and the load at the start."""

    foreign: float
    stolen: float
    load: float

    def complaints(self) -> list[str]:
        """Why numbers of that time are not trustworthy, a line each; none if they are."""
        lines = []
        if self.foreign > TRUSTED_SHARE:
            lines.append(
                f"other processes took {self.foreign:.0%} of the CPU time (load average {self.load:.1f} before)"
            )
        if self.stolen > TRUSTED_SHARE:
            lines.append(f"the hypervisor took {self.stolen:.0%} of the CPU time")
        return lines


@dataclass(frozen=True)
class _Moment:
    seconds: float
    busy: float  # CPU seconds of all CPUs since boot: user and kernel
    stolen: float
    own: float  # of us and the children that we have waited for


class Watch:
    """From its making to ``stop()``. Children count as ours once they have been waited for: stop after them."""

    def __init__(self) -> None:
        self.load = os.getloadavg()[0]
        self._start = _now()

    def stop(self) -> Disturbance:
        start, end = self._start, _now()
        available = max((end.seconds - start.seconds) * (os.cpu_count() or 1), 1e-9)
        foreign = end.busy - start.busy - (end.own - start.own)
        return Disturbance(max(0.0, foreign / available), (end.stolen - start.stolen) / available, self.load)


def noise() -> str | None:
    """One line for the user where others are computing, else None. Looks for two seconds."""
    watch = Watch()
    time.sleep(LOOK_SECONDS)
    taken = watch.stop().foreign
    if taken <= TRUSTED_SHARE:
        return None
    return f"others take {taken:.0%} of this machine's CPU time: stop them, or --noisy to measure all the same"


def _now() -> _Moment:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    # proc(5): user nice system idle iowait irq softirq steal
    fields = [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in _read("/proc/stat").split()[1:9]] or [0.0] * 8
    user, nice, system, _, _, irq, softirq, steal = fields
    return _Moment(time.perf_counter(), user + nice + system + irq + softirq, steal, own)


def _l2_bytes() -> int:
    size = re.match(r"(\d+)K", _read("/sys/devices/system/cpu/cpu0/cache/index2/size"))
    return int(size[1]) << 10 if size else DEFAULT_L2_BYTES


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
