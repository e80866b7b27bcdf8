"""Which compiler is taken, and what it links."""

import ctypes
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tvmpose.codegen.toolchain import build_library, toolchain_for
from tvmpose.errors import SetupError
from tvmpose.targets import Target, host_target

NET = """
extern __attribute__((visibility("hidden"))) const unsigned char net_weights[];
int kernel(void);
int visible_by_mistake(void) { return kernel(); }
__attribute__((visibility("default"))) const void *net_tvmpose(void) { return kernel() ? net_weights : 0; }
"""
WEIGHTS = bytes(range(256)) * 3
PI = Target("pi", "", "aarch64-linux-gnu", "cortex-a72")
has_cc = shutil.which("cc") is not None and shutil.which("ar") is not None
needs_cc = pytest.mark.skipif(not has_cc, reason="no cc and ar on this machine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What build_library finds: the C, an object of kernels, the weights."""
    folder = tmp_path / "an arm's length"  # a path with a space, a quote and an architecture in it
    folder.mkdir()
    (folder / "net.c").write_text(NET)
    (folder / "kernels.c").write_text("int kernel(void) { return 1; }")
    (folder / "weights.bin").write_bytes(WEIGHTS)
    return folder


def build(folder: Path, target: Target, *flags: str) -> Path:
    toolchain = toolchain_for(target)
    subprocess.run([*toolchain.cc, "-fPIC", "-c", "kernels.c", "-o", "kernels.o"], cwd=folder, check=True)
    return build_library(folder, "net", toolchain, flags)


def exported(library: Path) -> list[str]:
    with library.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        return [symbol.name for symbol in symbols if symbol.name and symbol["st_shndx"] != "SHN_UNDEF"]


@needs_cc
def test_build_library__host__exports_one_symbol_and_aligned_weights(folder):
    library = build(folder, host_target())
    assert library == folder / "libnet.so"
    assert exported(library) == ["net_tvmpose"]
    function = ctypes.CDLL(str(library)).net_tvmpose
    function.restype = ctypes.c_void_p
    address = function()
    assert address % 64 == 0
    assert ctypes.string_at(address, len(WEIGHTS)) == WEIGHTS


@needs_cc
def test_build_library__host__archive_links_into_a_program(folder):
    build(folder, host_target())
    (folder / "main.c").write_text("const void *net_tvmpose(void); int main(void) { return !net_tvmpose(); }")
    subprocess.run(["cc", "main.c", "libnet.a", "-o", "main"], cwd=folder, check=True)
    assert subprocess.run([folder / "main"]).returncode == 0


@needs_cc
def test_build_library__empty_weights__links(folder):
    (folder / "weights.bin").write_bytes(b"")
    assert build(folder, host_target()).is_file()


@needs_cc
def test_build_library__extra_flags__reach_the_compiler(folder):
    (folder / "net.c").write_text(NET + "\n#ifndef EXTRA\n#error no extra flag\n#endif\n")
    assert build(folder, host_target(), "-DEXTRA").is_file()


@needs_cc
@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder: (folder / "net.c").write_text("int x = y;"), "error.*y"),
        (lambda folder: (folder / "net.c").write_text(NET.replace("kernel()", "missing()")), "missing"),
        (lambda folder: (folder / "weights.bin").unlink(), "weights.bin"),
    ],
    ids=["does not compile", "does not link", "weights missing"],
)
def test_build_library__what_cannot_be_built__says_why_in_one_line(folder, break_it, reason):
    break_it(folder)
    with pytest.raises(SetupError, match=reason) as caught:
        build(folder, host_target())
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_build_library__other_machine__is_cross_linked(folder):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    library = build(folder, PI)
    with library.open("rb") as file:
        assert ELFFile(file)["e_machine"] == "EM_AARCH64"
    assert exported(library) == ["net_tvmpose"]


@needs_cc
def test_toolchain_for__this_machine__is_its_own_compiler():
    toolchain = toolchain_for(host_target())
    assert (toolchain.cc, toolchain.ar) == (("cc",), ("ar",))
    assert toolchain.version()


@pytest.mark.parametrize(
    "triple", ["aarch64-linux-gnu", "x86_64-linux-musl", "x86_64-windows-gnu", "riscv64-linux-gnu"]
)
def test_toolchain_for__other_machine_or_libc__is_zig_for_its_triple(triple):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    toolchain = toolchain_for(Target("t", "", triple, "generic"))
    assert toolchain.cc[-4:] == ("ziglang", "cc", "-target", triple)
    assert toolchain.ar[-2:] == ("ziglang", "ar")


def test_toolchain_for__this_machine_without_compiler__is_zig(monkeypatch):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "ziglang" in toolchain_for(host_target()).cc


def test_toolchain_for__neither__names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"aarch64-linux-gnu.*tvmpose\[compiler\]"):
        toolchain_for(PI)
