"""What Linux says of a board's CPU: /proc/cpuinfo and /sys/devices/system/cpu.

Not for show: LiteRT and ncnn read them to choose kernels, and crash where they are another architecture's.
"""

from collections.abc import Sequence
from pathlib import Path

from tvmpose.devices.recipe import CoreKind


def write_linux_files(kinds: Sequence[CoreKind], root: Path) -> None:
    """Write them below ``root``."""
    cores = [kind for kind in kinds for _ in range(kind.count)]
    blocks = [f"processor\t: {number}\n{kind.cpuinfo}" for number, kind in enumerate(cores)]
    _write(root / "proc" / "cpuinfo", "\n".join(blocks))
    folder = root / "sys" / "devices" / "system" / "cpu"
    every = _range(0, len(cores))
    for name in ("kernel_max", "possible", "present", "online"):
        _write(folder / name, f"{len(cores) - 1 if name == 'kernel_max' else every}\n")
    first = 0
    for kind in kinds:
        for number in range(first, first + kind.count):
            cpu = folder / f"cpu{number}"
            for limit in ("min", "max"):
                _write(cpu / "cpufreq" / f"cpuinfo_{limit}_freq", f"{kind.max_khz}\n")
            _write(cpu / "topology" / "core_id", f"{number - first}\n")
            _write(cpu / "topology" / "physical_package_id", "0\n")
            for name, start, count in (("core_siblings", first, kind.count), ("thread_siblings", number, 1)):
                _write(cpu / "topology" / name, f"{((1 << count) - 1) << start:x}\n")
                _write(cpu / "topology" / f"{name}_list", f"{_range(start, count)}\n")
        first += kind.count


def _range(first: int, count: int) -> str:
    """As Linux lists CPUs."""
    return f"{first}-{first + count - 1}" if count > 1 else f"{first}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
