"""Cycles of a frame on a named core, estimated: llvm-mca's model of the core on the blocks that are executed most.

Of each block the model gives what one pass takes where it repeats, all memory in L1, every branch predicted. Summed
over a frame, that is a figure for the core's throughput and no time: caches and mispredictions are missing.
https://llvm.org/docs/CommandGuide/llvm-mca.html
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmpose.emulation.plugin import Code

HOT_SHARE = 0.99  # of the instructions: the rest is taken to be like them
HOT_BLOCKS = 1000  # at most
PASSES = 100  # of each block
WORD = 4  # bytes of an instruction of 64-bit ARM

# What the assembler may know, whatever the core: a block that was executed needs no checking.
_EVERY_FEATURE = "-mattr=+v8.6a,+fp16fml,+sve2,+crypto,+lse,+rdm,+dotprod,+i8mm,+bf16"


@dataclass(frozen=True)
class Mca:
    """Where the tools of one LLVM are."""

    analyzer: str  # llvm-mca
    disassembler: str  # llvm-mc
    version: str


@dataclass(frozen=True)
class Estimate:
    """Cycles of a frame. ``covered``: the share of its instructions that were looked at."""

    core: str  # LLVM's name
    cycles: float
    covered: float


def find_mca() -> Mca | None:
    """The newest llvm-mca on the PATH that has an llvm-mc of its version."""
    folders = [Path(folder) for folder in os.get_exec_path() if Path(folder).is_dir()]
    names = {path.name for folder in folders for path in folder.glob("llvm-mca*")}
    found = []
    for name in names:
        suffix = re.fullmatch(r"llvm-mca(-\d+)?", name)
        if suffix and shutil.which(disassembler := f"llvm-mc{suffix[1] or ''}"):
            said = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            if version := re.search(r"version (\d+(?:\.\d+)*)", said):
                found.append(Mca(name, disassembler, version[1]))
    return max(found, key=lambda mca: [int(part) for part in mca.version.split(".")], default=None)


def estimate(blocks: Mapping[Code, float], core: str, mca: Mca) -> Estimate | str:
    """Of 64-bit ARM code and its executions a frame; or why there is no estimate."""
    total = sum(times * code.instructions for code, times in blocks.items())
    hot = list(_hottest(blocks, total))
    texts = _disassemble({word for code in hot for word in _words(code)}, mca)
    listings = [[texts[word] for word in _words(code) if word in texts] for code in hot]
    passes = _analyze(listings, core, mca)
    if isinstance(passes, str):
        return passes
    known = [(code, cycles) for code, cycles in zip(hot, passes, strict=True) if cycles is not None]
    covered = sum(blocks[code] * code.instructions for code, _ in known)
    if not covered:
        return f"llvm-mca {mca.version} has no model of these instructions on {core}"
    cycles = sum(blocks[code] * cycles for code, cycles in known)
    return Estimate(core, cycles * total / covered, covered / total)


def _hottest(blocks: Mapping[Code, float], total: float) -> Iterator[Code]:
    """Those with the most instructions, until HOT_SHARE is reached."""
    seen = 0.0
    for code in sorted(blocks, key=lambda code: -blocks[code] * code.instructions)[:HOT_BLOCKS]:
        if seen >= HOT_SHARE * total:
            return
        seen += blocks[code] * code.instructions
        yield code


def _words(code: Code) -> list[bytes]:
    return [code.code[i : i + WORD] for i in range(0, len(code.code), WORD)]


def _disassemble(words: set[bytes], mca: Mca) -> dict[bytes, str]:
    """Assembly for each instruction that LLVM knows; it tells which by their encodings."""
    lines = "\n".join(" ".join(f"0x{byte:02x}" for byte in word) for word in words)
    command = [mca.disassembler, "--disassemble", "-triple=aarch64", _EVERY_FEATURE, "--show-encoding"]
    said = subprocess.run(command, input=lines, capture_output=True, text=True).stdout
    found = re.findall(r"^\s*(\S.*?)\s*// encoding: \[([0-9a-fx,]+)\]", said, re.MULTILINE)
    return {bytes(int(byte, 16) for byte in encoding.split(",")): text for text, encoding in found}


def _analyze(listings: Sequence[Sequence[str]], core: str, mca: Mca) -> list[float | None] | str:
    """Cycles of a pass of each listing; None where the model lacks an instruction. A text: why there are none."""
    said = _mca(listings, core, mca)
    if "is not a recognized processor" in said:
        return f"llvm-mca {mca.version} knows no {core}"
    cycles = _cycles(said)
    if len(cycles) == len(listings):
        return [cycles[number] for number in range(len(listings))]
    return [_cycles(_mca([listing], core, mca)).get(0) for listing in listings]  # one that it refuses spoils all


def _mca(listings: Sequence[Sequence[str]], core: str, mca: Mca) -> str:
    regions = (
        "\n".join([f"# LLVM-MCA-BEGIN {number}", *listing, "# LLVM-MCA-END"]) for number, listing in enumerate(listings)
    )
    command = [mca.analyzer, "-mtriple=aarch64", f"-mcpu={core}", _EVERY_FEATURE, f"-iterations={PASSES}"]
    command += ["-instruction-info=0", "-resource-pressure=0"]
    done = subprocess.run(command, input="\n".join(regions) + "\n", capture_output=True, text=True)
    return done.stdout + done.stderr


def _cycles(said: str) -> dict[int, float]:
    """By region."""
    found = re.findall(r"Code Region - (\d+)\n.*?^Total Cycles:\s+(\d+)$", said, re.MULTILINE | re.DOTALL)
    return {int(number): int(cycles) / PASSES for number, cycles in found}
