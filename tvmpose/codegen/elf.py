"""Whether a linked library can be loaded where it is meant for: asked of its ELF file before it leaves this machine."""

import re
from collections.abc import Iterator
from pathlib import Path

from tvmpose.errors import SetupError
from tvmpose.targets import Target

# Besides what version symbols tell: the functions that runtime, kernels and compilers may leave to the device.
LIBM_SYMBOLS = frozenset(
    name + kind
    for name in """acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh erf exp exp2 expm1 fabs floor fma fmax
    fmin fmod hypot ldexp log log10 log1p log2 nearbyint nextafter pow rint round roundeven sin sinh sqrt tan tanh
    trunc""".split()
    for kind in ("", "f")
)
LIBC_SYMBOLS = frozenset(
    """__cxa_atexit __cxa_finalize __sched_cpucount __stack_chk_fail __tls_get_addr abort calloc clock_gettime fclose
    fdopen fopen fread free fwrite getauxval getenv madvise malloc memcmp memcpy memmove memset mkstemp
    pthread_attr_destroy pthread_attr_init pthread_attr_setstacksize pthread_cond_broadcast pthread_cond_destroy
    pthread_cond_init pthread_cond_signal pthread_cond_wait pthread_create pthread_join pthread_mutex_destroy
    pthread_mutex_init pthread_mutex_lock pthread_mutex_unlock pthread_sigmask rename sched_getaffinity sigfillset
    snprintf strchr strcspn strlen strstr sysconf unlink vsnprintf""".split()
)
LIBDL_SYMBOLS = frozenset({"dladdr", "dlclose", "dlopen", "dlsym"})

_MACHINES = {
    "x86_64": ("EM_X86_64", 64),
    "i686": ("EM_386", 32),
    "aarch64": ("EM_AARCH64", 64),
    "arm": ("EM_ARM", 32),
    "riscv64": ("EM_RISCV", 64),
}
_NEEDED = {
    "glibc": r"lib(c|m|pthread|dl)\.so\.\d|ld-linux.*\.so\.\d",
    "musl": r"libc\.so|libc\.musl-\w+\.so\.1",
    "bionic": r"lib(c|m|dl)\.so",
}
_ALLOC = 2  # SHF_ALLOC
_HARD_FLOAT = 0x400  # EF_ARM_ABI_FLOAT_HARD


def refuse_unfit(library: Path, name: str, target: Target) -> None:
    """Raises SetupError, one line, unless the target can load the library of the bundle called name.

    Machine and class, float ABI, alignment of the segments to the target's pages, no executable stack and no text
    relocations, soname, the one exported symbol, and nothing needed but libc and libm, of a version that is old enough.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with library.open("rb") as stream:
            faults = list(_faults(ELFFile(stream), library.name, f"{name}_tvmpose", target))
    except ELFError as error:
        faults = [f"not an ELF file: {error}"]
    if faults:
        raise SetupError(f"{library.name} cannot run on {target.name} ({target.triple}): {'; '.join(faults)}")


def same_code(first: Path, second: Path, prefixes: tuple[str, str]) -> bool:
    """Whether two object files differ, in what gets into memory, in nothing but the prefixes of their symbols."""
    return _without_prefix(first, prefixes[0]) == _without_prefix(second, prefixes[1])


def _without_prefix(path: Path, prefix: str) -> list[object]:
    """Symbols and sections."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as stream:
        sections = list(ELFFile(stream).iter_sections())
        tables = [section for section in sections if section["sh_type"] == "SHT_SYMTAB"]
        symbols = [
            (symbol.name.replace(prefix, ""), symbol["st_value"], symbol["st_size"], symbol["st_shndx"])
            for table in tables
            for symbol in table.iter_symbols()
        ]
        loaded = [bool(section["sh_flags"] & _ALLOC) for section in sections]
        kept = [
            section
            for section, is_loaded in zip(sections, loaded, strict=True)
            if is_loaded or (section["sh_type"] in ("SHT_RELA", "SHT_REL") and loaded[section["sh_info"]])
        ]
        return [symbols, *((section["sh_type"], section["sh_flags"], section.data()) for section in kept)]


def _faults(elf, file_name: str, entry: str, target: Target) -> Iterator[str]:  # type: ignore[no-untyped-def]
    machine, bits = _MACHINES[target.architecture]
    if (elf["e_machine"], elf.elfclass) != (machine, bits):
        yield f"it is {elf.elfclass}-bit {elf['e_machine']}, not {bits}-bit {machine}"
        return
    if target.architecture == "arm" and bool(elf["e_flags"] & _HARD_FLOAT) != target.hard_float:
        yield f"its float ABI is {'soft' if target.hard_float else 'hard'}, not the target's"
    segments = list(elf.iter_segments())
    alignment = min((s["p_align"] for s in segments if s["p_type"] == "PT_LOAD"), default=0)
    if alignment % target.page_bytes or not alignment:
        yield f"its segments are aligned to {alignment}, not to pages of {target.page_bytes} bytes"
    if any(s["p_type"] == "PT_GNU_STACK" and s["p_flags"] & 1 for s in segments):
        yield "it asks for an executable stack"
    yield from _dynamic_faults(elf, file_name, target)
    yield from _symbol_faults(elf, entry, target)


def _dynamic_faults(elf, file_name: str, target: Target) -> Iterator[str]:  # type: ignore[no-untyped-def]
    dynamic = elf.get_section_by_name(".dynamic")
    tags = list(dynamic.iter_tags()) if dynamic else []
    sonames = [tag.soname for tag in tags if tag.entry.d_tag == "DT_SONAME"]
    if sonames != [file_name]:
        yield f"its soname is {sonames[0] if sonames else 'missing'}, not {file_name}"
    for tag in tags:
        if tag.entry.d_tag == "DT_NEEDED" and not re.fullmatch(_NEEDED[target.libc], tag.needed):
            yield f"it needs {tag.needed}"
    if any(tag.entry.d_tag == "DT_TEXTREL" for tag in tags):
        yield "its code has to be relocated (DT_TEXTREL)"


def _symbol_faults(elf, entry: str, target: Target) -> Iterator[str]:  # type: ignore[no-untyped-def]
    section = elf.get_section_by_name(".dynsym")
    symbols = [symbol for symbol in section.iter_symbols() if symbol.name] if section else []
    versions = _versions(elf)
    exported = [symbol.name for symbol in symbols if symbol["st_shndx"] != "SHN_UNDEF"]
    if exported != [entry]:
        yield f"it exports {', '.join(exported) or 'nothing'}, not {entry}"
    for index, symbol in enumerate(section.iter_symbols() if section else ()):
        if not symbol.name or symbol["st_shndx"] != "SHN_UNDEF" or symbol["st_info"]["bind"] == "STB_WEAK":
            continue
        version = versions.get(index)
        if target.libc != "glibc":
            known = symbol.name in LIBC_SYMBOLS | LIBM_SYMBOLS | LIBDL_SYMBOLS
        else:
            known = version is not None and version.startswith("GLIBC_")
        if not known:
            yield f"{symbol.name} is undefined and not known to be {target.libc}'s"
        elif target.libc == "glibc" and target.libc_version and not _at_most(version or "", target.libc_version):
            yield f"{symbol.name} needs {version}, the target has GLIBC_{target.libc_version}"


def _versions(elf) -> dict[int, str]:  # type: ignore[no-untyped-def]
    """Index in .dynsym -> the version that an undefined symbol asks for."""
    needed, versym = elf.get_section_by_name(".gnu.version_r"), elf.get_section_by_name(".gnu.version")
    if not needed or not versym:
        return {}
    names = {auxiliary["vna_other"]: auxiliary.name for _, rows in needed.iter_versions() for auxiliary in rows}
    found = ((index, symbol["ndx"]) for index, symbol in enumerate(versym.iter_symbols()))
    return {index: names[number] for index, number in found if number in names}


def _at_most(symbol_version: str, libc_version: str) -> bool:
    """False of GLIBC_PRIVATE too."""
    numbers = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)+)", symbol_version)
    return numbers is not None and _numbers(numbers[1]) <= _numbers(libc_version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
