"""What Linux says of load, clock and temperature, as rpc/agent/state.c reads it."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

from tvmpose import __version__

_MOST_DEGREES = 200.0  # a sensor that is off says anything


def clock_limit(root: Path = Path("/")) -> float | None:
    """In MHz: the highest that the user allows. To be asked for at the start, before heat lowers it."""
    return _clock(root, "scaling_max_freq") or _clock(root, "cpuinfo_max_freq")


def describe(limit: float | None, root: Path = Path("/")) -> dict[str, float | str | None]:
    """See DeviceState; and, as texts, machine, system and server."""
    zones = (value / 1000 for value in _numbers(root, "sys/class/thermal/thermal_zone*/temp"))
    return {
        "load": next(_numbers(root, "proc/loadavg"), None),
        "clock": _clock(root, "scaling_cur_freq"),
        "clock_limit": limit,
        "temperature": max((value for value in zones if -100 < value < _MOST_DEGREES), default=None),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "server": f"tvmpose {__version__}",
    }


def _clock(root: Path, name: str) -> float | None:
    """Of the fastest core, in MHz."""
    khz = max(_numbers(root, f"sys/devices/system/cpu/cpu[0-9]*/cpufreq/{name}"), default=0.0)
    return khz / 1000 or None


def _numbers(root: Path, pattern: str) -> Iterator[float]:
    for path in root.glob(pattern):
        with contextlib.suppress(OSError, ValueError, IndexError):
            yield float(path.read_text().split()[0])
