"""QEMU's plugin that counts blocks of instructions: built here, and what it wrote."""

import platform
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tvmpose.codegen.toolchain import toolchain_for
from tvmpose.errors import SetupError
from tvmpose.targets import Target

COUNTS_VARIABLE = "TVMPOSE_COUNTS"
"""Of the environment: the file that the plugin writes."""


@dataclass(frozen=True)
class Code:
    """Instructions that QEMU translated in one piece, wherever they lay."""

    code: bytes
    instructions: int


@dataclass(frozen=True)
class Block:
    """Such instructions at one place, and how often they were executed there."""

    code: Code
    address: int
    executions: int


def build_plugin(folder: Path) -> Path:
    """Compile count_blocks.c, for this machine's QEMU. Raises SetupError where there is no C compiler."""
    source, plugin = Path(__file__).with_name("count_blocks.c"), folder / "count_blocks.so"
    compiler = toolchain_for(Target("host", "", f"{platform.machine()}-linux-gnu", "")).cc
    flags = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")
    done = subprocess.run([*compiler, *flags, str(source), "-o", str(plugin)], capture_output=True, text=True)
    if done.returncode:
        raise SetupError(f"{source.name} cannot be compiled: {(done.stderr.strip() or 'no message').splitlines()[0]}")
    return plugin


def read_blocks(lines: Iterable[str]) -> list[Block]:
    """Of the plugin's file, whose format is in count_blocks.c."""
    rows = (line.split() for line in lines)
    return [
        Block(Code(bytes.fromhex(code), int(instructions)), int(address, 16), int(executions))
        for executions, instructions, address, code in rows
    ]


def executions(blocks: Iterable[Block]) -> Counter[Code]:
    """How often each code was executed, at all places together: those differ from run to run."""
    total: Counter[Code] = Counter()
    for block in blocks:
        total[block.code] += block.executions
    return total
