"""A virtual board that is up, and how a program is run on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmpose.errors import InputError

# Meant for programs of this machine
_FOREIGN_VARIABLES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "OPENBLAS_CORETYPE", "PYTHONHOME", "PYTHONPATH")


@dataclass(frozen=True)
class VirtualBoard:
    """qemu-user and a root folder that it looks into first for every absolute path.

    So programs see the board's libraries and its /proc/cpuinfo; files that the root does not have are this machine's.
    """

    name: str
    root: Path
    cpu: str  # qemu's -cpu
    emulator: str  # qemu-aarch64 or qemu-arm

    def command(self, argv: Sequence[str | Path], plugin: Path | None = None, cpu: str | None = None) -> list[str]:
        """What to run on this machine to run ``argv`` on the board.

        argv[0]: the name of one of the board's programs ("python3"), or the path of a file compiled for it. plugin: of
        QEMU's TCG. cpu: qemu's name of another. Raises InputError where the board has no such program.
        """
        options = ["-cpu", cpu or self.cpu, "-L", str(self.root), "-E", "PYTHONNOUSERSITE=1"]
        for variable in _FOREIGN_VARIABLES:
            options += ["-U", variable]
        if plugin:
            options += ["-plugin", str(plugin)]
        return [self.emulator, *options, str(self._program(argv[0])), *map(str, argv[1:])]

    def _program(self, name: str | Path) -> Path:
        if isinstance(name, Path) or "/" in name:
            return Path(name)
        for folder in ("usr/local/bin", "usr/bin", "bin"):
            if (self.root / folder / name).is_file():
                return self.root / folder / name
        raise InputError(f"{self.name} has no program {name!r} in {self.root}/usr/bin; give a path")
