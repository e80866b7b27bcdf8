"""QEMU's plugin that counts blocks of instructions: built here, and what it wrote."""

import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tvmpose.codegen.toolchain import build_here

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
    build_here(source, plugin, f"{platform.machine()}-linux-gnu", ("-O2", "-fvisibility=hidden"))
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
