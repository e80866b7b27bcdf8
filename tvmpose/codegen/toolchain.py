"""Compiles and links a library's C: the system's compiler for this machine, zig's for any other."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tvmpose.errors import SetupError
from tvmpose.targets import Target

RUNTIME_SOURCES = Path(__file__).parent.parent / "runtime" / "csrc"

# The glue is built for the baseline of the architecture, so that it can still say that the CPU lacks something.
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", "-pthread")

_TELLING = re.compile("error|undefined|cannot|failed", re.IGNORECASE)  # what a compiler's or linker's reason contains

_WEIGHTS = """\
    .section .rodata.{name}_weights, "a"
    .balign 64
    .globl {name}_weights
    .hidden {name}_weights
{name}_weights:
    .incbin "weights.bin"
    .section .note.GNU-stack, "", %progbits
"""


@dataclass(frozen=True)
class Toolchain:
    """How to call a C compiler that also links, and an archiver, for one target."""

    cc: tuple[str, ...]
    ar: tuple[str, ...]

    def version(self) -> str:
        return _run((*self.cc, "--version"), Path.cwd()).splitlines()[0]


def toolchain_for(target: Target) -> Toolchain:
    """The system's cc and ar for this machine where there are any, else zig's. Raises SetupError without either."""
    here = target.triple == f"{platform.machine()}-linux-gnu" and platform.libc_ver()[0] == "glibc"
    if here and shutil.which("cc") and shutil.which("ar"):
        return Toolchain(("cc",), ("ar",))
    if importlib.util.find_spec("ziglang") is None:
        raise SetupError(f"no C compiler for {target.triple}: pip install 'tvmpose[compiler]', which brings zig")
    zig = (sys.executable, "-m", "ziglang")
    return Toolchain((*zig, "cc", "-target", target.triple), (*zig, "ar"))


def build_library(directory: Path, name: str, toolchain: Toolchain, extra_flags: tuple[str, ...] = ()) -> Path:
    """Link DIRECTORY/libNAME.so, and archive libNAME.a, from NAME.c, kernels.o and weights.bin that lie there.

    extra_flags go to every C compilation and to the link, as -fsanitize=address does.
    """
    (directory / "weights.s").write_text(_WEIGHTS.format(name=name))
    (directory / "exports.map").write_text(f"{{ global: {name}_tvmpose; local: *; }};\n")
    library, archive = f"lib{name}.so", f"lib{name}.a"
    include = f"-I{RUNTIME_SOURCES}"
    objects = (f"{name}.o", "kernels.o", "weights.o")
    link = ("-shared", "-pthread", "-Wl,-z,defs", "-Wl,-z,noexecstack", "-Wl,--gc-sections", f"-Wl,-soname,{library}")
    commands = (
        (*toolchain.cc, *_FLAGS, *extra_flags, include, "-c", f"{name}.c", "-o", f"{name}.o"),
        (*toolchain.cc, "-c", "weights.s", "-o", "weights.o"),
        (*toolchain.cc, *link, *extra_flags, "-Wl,--version-script=exports.map", "-s", *objects, "-lm", "-o", library),
        (*toolchain.ar, "rcs", archive, *objects),
    )
    for command in commands:
        _run(command, directory)
    return directory / library


def _run(command: tuple[str, ...], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        telling = (line for line in lines if _TELLING.search(line) and not line.startswith("collect2:"))
        reason = next(telling, lines[-1] if lines else "no message")
        raise SetupError(f"{' '.join(command[:4])} ... failed with exit code {done.returncode}: {reason}")
    return done.stdout
