"""Compiles and links a library's C: the system's compiler for this machine, zig's for any other."""

import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tvmpose.codegen.android import STUBS, ndk_tools, refuse_without_ndk, write_headers, write_stubs
from tvmpose.codegen.elf import refuse_unfit
from tvmpose.codegen.names import Names, entry_source
from tvmpose.errors import SetupError
from tvmpose.suggest import did_you_mean
from tvmpose.targets import Target
from tvmpose.tools import run_tool

RUNTIME_SOURCES = Path(__file__).parent.parent / "runtime" / "csrc"

# The glue is built for the baseline of the architecture, so that it can still say that the CPU lacks something.
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", "-pthread")
_LINK = ("-shared", "-pthread", "-Wl,-z,defs", "-Wl,-z,noexecstack", "-Wl,--gc-sections")

_BYTES_ASSEMBLY = """\
    .section .rodata.{name}_{part}, "a"
    .balign 64
    .globl {name}_{part}
    .hidden {name}_{part}
{name}_{part}:
    .incbin "{part}.bin"
    .section .note.GNU-stack, "", %progbits
"""
# For Mach-O and WebAssembly, whose assemblers speak otherwise; #embed is zig's clang's, and C23.
_BYTES_C = """\
__attribute__((visibility("hidden"), aligned(64))) const unsigned char {name}_{part}[] = {{
#embed "{part}.bin" if_empty(0)
}};
"""
_BIONIC = "bionic"  # folder beside the sources, of Android's headers and stubs


@dataclass(frozen=True)
class Toolchain:
    """How to call a C compiler that also links, and an archiver, for one target."""

    target: Target
    cc: tuple[str, ...]
    ar: tuple[str, ...]
    compile_flags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ("-lm",)
    bionic: bool = False  # without the NDK: its headers and stubs have to be written first

    def version(self) -> str:
        with tempfile.TemporaryDirectory() as directory:  # for some targets zig leaves an empty file behind
            return run_tool((*self.cc, "--version"), Path(directory)).splitlines()[0]


def toolchain_for(target: Target) -> Toolchain:
    """The compiler that the target names; for Android the NDK's where ANDROID_NDK_HOME is set; for this machine, and
    where no version of the C library is asked for, the system's; else zig's. Raises SetupError where it is missing.
    """
    if target.linker not in ("zig", "none"):
        return _named(target)
    if target.libc == "bionic" and os.environ.get("ANDROID_NDK_HOME"):
        clang, archiver = ndk_tools(Path(os.environ["ANDROID_NDK_HOME"]), target)
        return Toolchain(target, (clang,), (archiver,))
    here = target.triple == f"{platform.machine()}-linux-gnu" and platform.libc_ver()[0] == "glibc"
    if here and not target.libc_version and shutil.which("cc") and shutil.which("ar"):
        return Toolchain(target, ("cc",), ("ar",))
    package = importlib.util.find_spec("ziglang")
    if package is None:
        raise SetupError(f"no C compiler for {target.triple}: pip install 'tvmpose[compiler]', which brings zig")
    folder = Path(str(package.origin)).parent
    if not any((folder / program).is_file() for program in ("zig", "zig.exe")):
        again = "pip install --force-reinstall --no-deps ziglang"
        raise SetupError(f"no C compiler for {target.triple}: the program is missing from {folder}: {again}")
    zig = (sys.executable, "-m", "ziglang")
    toolchain = Toolchain(target, (*zig, "cc", "-target", zig_target(target)), (*zig, "ar"))
    if target.libc == "bionic":
        refuse_without_ndk(target)
        stubs = tuple(f"{_BIONIC}/{name}" for name in STUBS if target.gpu or name != "libdl.so")
        return replace(toolchain, compile_flags=("-isystem", _BIONIC), libraries=("-nostdlib", *stubs), bionic=True)
    if target.libc == "apple":  # zig has the headers, but takes them for macOS only
        headers = folder / "lib" / "libc" / "include" / "any-darwin-any"
        return replace(toolchain, compile_flags=("-isystem", str(headers)))
    return toolchain


def zig_target(target: Target) -> str:
    """Zig's name of the target: LLVM's triple, but that it has the system's and the C library's version in it."""
    architecture, system = target.architecture, target.triple.partition("-")[2]
    if target.libc == "bionic":  # for "android" clang calls functions for its atomics that only the NDK has
        return f"{architecture}-linux-none"
    if target.libc == "apple":
        system = re.sub(r"^apple-([a-z]+)", r"\1.", system).rstrip(".")
    version = f".{target.libc_version}" if target.libc_version else ""
    return f"{architecture}-{system}{version}"


def _named(target: Target) -> Toolchain:
    """A compiler on the PATH, and the archiver of the same family: aarch64-linux-gnu-gcc, aarch64-linux-gnu-ar."""
    archiver = re.sub(r"(gcc|clang|cc)(-[\d.]+)?$", "ar", target.linker)
    for tool in (target.linker, archiver):
        if not shutil.which(tool):
            hint = did_you_mean(tool, _compilers(), 'install it, or leave out `linker`: "zig" needs no other')
            raise SetupError(f"{target.name}: no {tool!r} on the PATH; {hint}")
    return Toolchain(target, (target.linker,), (archiver,))


def _compilers() -> set[str]:
    folders = (Path(folder) for folder in os.get_exec_path())
    paths = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
    return {path.name for path in paths if re.search(r"(^|-)(gcc|clang|cc)(-[\d.]+)?$", path.name)}


def build_library(directory: Path, names: Names, toolchain: Toolchain, extra_flags: tuple[str, ...] = ()) -> Path:
    """Archive, link and check the library, from SYMBOL.c, kernels.o and weights.bin that lie in the directory.

    Returns the library, or the archive where the target's linker is "none". extra_flags go to every C compilation and
    to the link, as -fsanitize=address does; such a library is not checked, as it needs a runtime of its own.
    Raises SetupError where a command fails, and where the target could not load what was linked.
    """
    target, name = toolchain.target, names.symbol
    parts = ["weights", *(["code"] if target.gpu else [])]
    for part in parts:
        text = (_BYTES_ASSEMBLY if target.is_elf else _BYTES_C).format(name=name, part=part)
        (directory / f"{part}{_suffix(target)}").write_text(text)
    if toolchain.bionic:
        write_headers(directory / _BIONIC)
        for arguments in write_stubs(directory / _BIONIC):
            run_tool((*toolchain.cc, *arguments), directory / _BIONIC)
    objects = _objects(directory, names)
    _compile(directory, f"{name}.c", toolchain, extra_flags)
    for part in parts:
        run_tool((*toolchain.cc, "-c", f"{part}{_suffix(target)}", "-o", f"{part}.o"), directory)
    run_tool((*toolchain.ar, "rcs", names.archive, *objects), directory)
    if target.linker == "none":
        return directory / names.archive
    if names.level:
        (directory / "entry.c").write_text(entry_source([names]))
        objects = (*objects, _compile(directory, "entry.c", toolchain, extra_flags))
    (directory / "exports.map").write_text(f"{{ global: {names.entry}; local: *; }};\n")
    loader = ("-ldl",) if target.gpu and not toolchain.bionic else ()  # drivers are loaded when a handle opens
    link = (*_LINK, f"-Wl,-soname,{names.file}", "-Wl,--version-script=exports.map", *_pages(target), *extra_flags)
    run_tool((*toolchain.cc, *link, "-s", *objects, *toolchain.libraries, *loader, "-o", names.file), directory)
    if target.is_elf and not extra_flags:
        refuse_unfit(directory / names.file, names.bundle, target)
    return directory / names.file


def _objects(directory: Path, names: Names) -> tuple[str, ...]:
    """Those of a library: on a GPU its kernels are code.o, and kernels.o is there where the CPU has something to do."""
    on_gpu = (directory / "code.bin").is_file()
    kernels = [] if on_gpu and not (directory / "kernels.o").is_file() else ["kernels.o"]
    return f"{names.symbol}.o", *kernels, *(["code.o"] if on_gpu else []), "weights.o"


def _suffix(target: Target) -> str:
    return ".s" if target.is_elf else ".c"


def build_archive(directory: Path, levels: Mapping[str, Names], toolchain: Toolchain) -> Path:
    """One archive of all levels, with an entry that chooses among them at run time.

    levels: by the folder in the directory where build_library has made each, the most demanding first.
    """
    names = list(levels.values())
    archive, entry = f"lib{names[0].bundle}.a", "entry.c"
    (directory / entry).write_text(entry_source(names))
    objects = [f"{folder}/{o}" for folder, level in levels.items() for o in _objects(directory / folder, level)]
    (directory / archive).unlink(missing_ok=True)  # q appends: members of two levels have the same name
    run_tool((*toolchain.ar, "qcs", archive, _compile(directory, entry, toolchain), *objects), directory)
    return directory / archive


def _compile(directory: Path, source: str, toolchain: Toolchain, extra_flags: tuple[str, ...] = ()) -> str:
    flags = (*_FLAGS, *toolchain.compile_flags, *extra_flags, f"-I{RUNTIME_SOURCES}")
    run_tool((*toolchain.cc, *flags, "-c", source, "-o", f"{Path(source).stem}.o"), directory)
    return f"{Path(source).stem}.o"


def build_program(source: Path, path: Path, toolchain: Toolchain, arguments: tuple[str, ...] = ()) -> None:
    """Compile and link a C program of one file, to run with the target's own C library.

    arguments: more flags, and the libraries it links with. Raises SetupError where that fails.
    """
    static_by_default = toolchain.target.libc == "musl" and "ziglang" in toolchain.cc
    dynamic = ("-dynamic",) if static_by_default else ()
    flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-pthread", f"-I{RUNTIME_SOURCES}")
    run_tool((*toolchain.cc, *flags, str(source), "-o", str(path), *arguments, "-lm", "-ldl", *dynamic), path.parent)


def build_here(source: Path, path: Path, triple: str, flags: tuple[str, ...]) -> None:
    """A shared library of one C file, GNU's C11, for this machine, which the triple describes.

    Raises SetupError where that fails, and where there is no C compiler.
    """
    compiler = toolchain_for(Target("host", "", triple, "")).cc
    run_tool((*compiler, "-std=gnu11", "-fPIC", "-shared", *flags, str(source), "-o", str(path)), path.parent)


def _pages(target: Target) -> tuple[str, ...]:
    if target.page_bytes == 4096:  # no linker aligns to less
        return ()
    return f"-Wl,-z,max-page-size={target.page_bytes}", f"-Wl,-z,common-page-size={target.page_bytes}"
