"""The agent, rpc/agent/, built for a target: a static program for its kernel and CPU, whatever its C library."""

from dataclasses import replace
from pathlib import Path

from tvmpose import content
from tvmpose.codegen.toolchain import toolchain_for
from tvmpose.errors import InputError
from tvmpose.targets import Target
from tvmpose.tools import run_tool

PROGRAM = "tvmpose-agent"
_FLAGS = ("-std=c11", "-Os", "-Wall", "-Wextra", "-static", "-s", "-ffunction-sections", "-Wl,--gc-sections")
_TRIPLES = {
    "x86_64": "x86_64-linux-musl",
    "aarch64": "aarch64-linux-musl",
    "arm": "armv7-linux-musleabihf",
    "riscv64": "riscv64-linux-musl",
}


def sources() -> list[Path]:
    """The C files."""
    return sorted((content.folder("rpc") / "agent").glob("*.c"))


def static_target(target: Target) -> Target:
    """What to build a program for that runs on this device without any of its libraries. Raises InputError."""
    triple = _TRIPLES.get(target.architecture)
    if triple is None or not target.is_elf:
        known = ", ".join(_TRIPLES)
        raise InputError(f"{target.name} ({target.triple}): programs for boards need Linux or Android on {known}")
    return replace(
        target, triple=triple, cpu="", attributes=(), libc_version=None, linker="zig", levels=(), page_bytes=4096
    )


def build_agent(target: Target, path: Path) -> Path:
    """Compile it into ``path``, which is returned. Raises InputError for a device without Linux, SetupError."""
    compiler = toolchain_for(static_target(target)).cc
    run_tool((*compiler, *_FLAGS, *map(str, sources()), "-o", str(path.resolve())))
    return path
