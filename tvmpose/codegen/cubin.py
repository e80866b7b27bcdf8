"""What a cubin asks of its GPU: registers, shared and local memory of each kernel, its tensor core instructions.

A cubin is an ELF file; NVIDIA does not document what is in its sections. What is read here is what ptxas -v and
nvdisasm print of the same files, with which the tests compare.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from elftools.elf.elffile import ELFFile

# Attributes in .nv.info and .nv.info.KERNEL: a byte for the form, one for the attribute, and a value.
_FORM_SIZED = 4  # 16 bits of size, then so many bytes; in the other forms 16 bits of value
_MAX_THREADS, _FRAME_SIZE, _PARAMETER_BYTES, _REGISTERS = 0x05, 0x11, 0x19, 0x2F

# From sm_70 on an instruction is 16 bytes, and the low 12 bits of the first eight its opcode: HMMA of sm_70 and 72
# (m8n8k4, in two steps), HMMA of sm_75 and later, IMMA.
_TENSOR_CORE = {0x236: "HMMA", 0x23C: "HMMA", 0x237: "IMMA"}


@dataclass(frozen=True)
class KernelResources:
    """What one thread and one block of a kernel need."""

    name: str
    registers: int  # 32-bit, of a thread
    shared_bytes: int  # of a block, static; from sm_90 on with the KiB that the system keeps for itself
    local_bytes: int  # of a thread, in memory: spilled registers, and arrays that found no registers
    parameter_bytes: int
    max_threads: int  # of a block: what __launch_bounds__ allows
    code_bytes: int
    tensor_core: dict[str, int]  # instruction, "HMMA" or "IMMA" -> how often it stands in the code


def kernel_resources(cubin: bytes) -> list[KernelResources]:
    """Of every kernel, in the order of the file."""
    elf = ELFFile(BytesIO(cubin))
    symbols = [symbol.name for symbol in elf.get_section_by_name(".symtab").iter_symbols()]
    common: dict[tuple[str, int], int] = {}  # (kernel, attribute) -> value
    for attribute, value in _attributes(elf.get_section_by_name(".nv.info").data()):
        if attribute in (_FRAME_SIZE, _REGISTERS):
            symbol, number = struct.unpack("<II", value)
            common[symbols[symbol], attribute] = number
    capability = _capability(elf)
    kernels = [section for section in elf.iter_sections() if section.name.startswith(".text.")]
    return [_resources(elf, section, common, capability) for section in kernels]


def _resources(elf: ELFFile, section, common: dict[tuple[str, int], int], capability: int) -> KernelResources:  # type: ignore[no-untyped-def]
    name = section.name.removeprefix(".text.")
    own = dict(_attributes(elf.get_section_by_name(f".nv.info.{name}").data()))
    shared = elf.get_section_by_name(f".nv.shared.{name}")
    threads = struct.unpack("<III", own[_MAX_THREADS]) if _MAX_THREADS in own else (1024, 1, 1)
    registers = common.get((name, _REGISTERS))
    return KernelResources(
        name=name,
        registers=section["sh_info"] >> 24 if registers is None else registers,
        shared_bytes=shared["sh_size"] if shared else 0,
        local_bytes=common[name, _FRAME_SIZE],
        parameter_bytes=int.from_bytes(own.get(_PARAMETER_BYTES, b""), "little"),
        max_threads=threads[0] * threads[1] * threads[2],
        code_bytes=section["sh_size"],
        tensor_core=_tensor_core(section.data()) if capability >= 70 else {},
    )


def _capability(elf: ELFFile) -> int:
    """From the file's flags: bits 0-7 until CUDA 12, bits 8-15 in the form that came with 13 (ABI version 8)."""
    flags = elf["e_flags"]
    return flags >> 8 & 0xFF if elf["e_ident"]["EI_ABIVERSION"] >= 8 else flags & 0xFF


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        form, attribute, value = struct.unpack_from("<BBH", data, at)
        at += 4
        if form == _FORM_SIZED:
            yield attribute, data[at : at + value]
            at += value
        else:
            yield attribute, value.to_bytes(2, "little")


def _tensor_core(code: bytes) -> dict[str, int]:
    found: dict[str, int] = {}
    for (word,) in struct.iter_unpack("<Q8x", code):
        if name := _TENSOR_CORE.get(word & 0xFFF):
            found[name] = found.get(name, 0) + 1
    return found
