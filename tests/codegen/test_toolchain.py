"""Which compiler is taken, and what it links."""

import ctypes
import importlib.machinery
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tvmpose.codegen.android import write_headers
from tvmpose.codegen.names import Names
from tvmpose.codegen.toolchain import build_library, toolchain_for
from tvmpose.errors import SetupError
from tvmpose.targets import Target, host_target, load_target

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
    return build_library(folder, Names("net"), toolchain, flags)


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


def test_toolchain_for__zig_without_its_program__says_how_to_get_it(monkeypatch, tmp_path):
    package = importlib.machinery.ModuleSpec("ziglang", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    with pytest.raises(SetupError, match=r"aarch64-linux-gnu: the program is missing from .*--force-reinstall"):
        toolchain_for(PI)


# Targets as the device files have them: what zig is told, what comes out.

TINY = Path(__file__).parents[1] / "runtime" / "c"
PHONE = load_target("android-arm64")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x86-64-v3", "x86_64-linux-gnu.2.28"),
        ("raspberry-pi-4", "aarch64-linux-gnu.2.31"),
        ("raspberry-pi-4-32bit", "arm-linux-gnueabihf.2.28"),
        ("musl-arm64", "aarch64-linux-musl"),
        ("android-arm64", "aarch64-linux-none"),
        ("apple-m1", "aarch64-macos.11.0"),
        ("ios-arm64", "aarch64-ios.17.0"),
        ("wasm32-simd", "wasm32-wasi"),
    ],
)
def test_toolchain_for__shipped_target__is_zig_with_the_version_of_its_libc(monkeypatch, name, told):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    assert toolchain_for(load_target(name)).cc[-2:] == ("-target", told)


def real_runtime(folder: Path) -> None:
    """The runtime with the hand-written network of its tests, in place of NET."""
    first = "#define _GNU_SOURCE\n#include <sched.h>\n#define sched_yield() 0\n#define TVMPOSE_NAME net\n"
    (folder / "net.c").write_text(f'{first}#include "{TINY / "tiny_model.c"}"\n')


def test_build_library__android_without_ndk__needs_libc_and_libm_alone(folder, monkeypatch):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    real_runtime(folder)
    library = build(folder, PHONE)
    with library.open("rb") as file:
        elf = ELFFile(file)
        tags = list(elf.get_section_by_name(".dynamic").iter_tags())
        assert {tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"} == {"libc.so", "libm.so"}
        assert [tag.soname for tag in tags if tag.entry.d_tag == "DT_SONAME"] == ["libnet.so"]
        loads = [segment for segment in elf.iter_segments() if segment["p_type"] in ("PT_LOAD", "PT_GNU_RELRO")]
        assert {segment["p_align"] for segment in loads if segment["p_type"] == "PT_LOAD"} == {16384}
        (relro,) = (segment for segment in loads if segment["p_type"] == "PT_GNU_RELRO")
        assert (relro["p_vaddr"] + relro["p_memsz"]) % 16384 == 0  # else the loader would protect what follows
    assert exported(library) == ["net_tvmpose"]


def test_build_library__android__declarations_have_the_sizes_of_linux(folder):
    """Bionic's types are as large as musl's on 64-bit Linux, but for sigset_t, of which both fill the kernel's part."""
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    types = ("pthread_t", "pthread_mutex_t", "pthread_cond_t", "pthread_attr_t", "cpu_set_t", "struct timespec")
    headers = "".join(f"#include <{name}.h>\n" for name in ("pthread", "sched", "time", "signal", "unistd", "sys/auxv"))
    rows = "".join(f"unsigned long size_{i} = sizeof({name});\n" for i, name in enumerate(types))
    values = "unsigned long values[] = {CLOCK_MONOTONIC, SIG_SETMASK, AT_HWCAP, AT_HWCAP2};\n"
    (folder / "sizes.c").write_text(f"#define _GNU_SOURCE\n{headers}{rows}{values}")
    write_headers(folder / "bionic")
    zig = [sys.executable, "-m", "ziglang", "cc", "-S", "-O1", "-g0", "sizes.c", "-o", "sizes.s", "-target"]
    data = []
    for target in (("aarch64-linux-musl",), ("aarch64-linux-none", "-isystem", "bionic")):
        subprocess.run([*zig, *target], cwd=folder, check=True)
        data.append(re.findall(r"^(size_\d|values):|\.xword\s+(\d+)", (folder / "sizes.s").read_text(), re.MULTILINE))
    assert data[0] == data[1]
    assert len(data[0]) == 2 * len(types) + 1 + 4


@pytest.mark.parametrize(
    ("name", "magic"),
    [("apple-m1", b"\xcf\xfa\xed\xfe"), ("ios-arm64", b"\xcf\xfa\xed\xfe"), ("wasm32-simd", b"\0asm")],
)
def test_build_library__archive_only__has_the_systems_objects(folder, name, magic):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    real_runtime(folder)
    archive = build(folder, load_target(name))
    assert archive == folder / "libnet.a"
    for member in ("net.o", "kernels.o", "weights.o"):
        assert (folder / member).read_bytes().startswith(magic)
    assert WEIGHTS in archive.read_bytes()
    assert not (folder / "libnet.so").exists()


@pytest.mark.parametrize("name", ["apple-m1", "wasm32-simd"])
def test_build_library__archive_only_and_no_weights__is_built(folder, name):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    (folder / "weights.bin").write_bytes(b"")
    assert build(folder, load_target(name)).is_file()


@needs_cc
def test_build_library__library_that_the_target_cannot_load__is_refused_in_one_line(folder):
    toolchain = replace(toolchain_for(host_target()), target=PI)
    subprocess.run(["cc", "-fPIC", "-c", "kernels.c", "-o", "kernels.o"], cwd=folder, check=True)
    with pytest.raises(SetupError, match=r"^libnet\.so cannot run on pi .*not 64-bit EM_AARCH64$"):
        build_library(folder, Names("net"), toolchain)


@needs_cc
def test_toolchain_for__named_compiler__is_taken_with_its_archiver(tmp_path, monkeypatch):
    for tool in ("pi-linux-gnu-gcc", "pi-linux-gnu-ar"):
        (tmp_path / tool).symlink_to(shutil.which("cc"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    toolchain = toolchain_for(replace(PI, linker="pi-linux-gnu-gcc"))
    assert (toolchain.cc, toolchain.ar) == (("pi-linux-gnu-gcc",), ("pi-linux-gnu-ar",))
    with pytest.raises(
        SetupError, match=r"^pi: no 'pi-linux-gcc' on the PATH; did you mean pi-linux-gnu-gcc"
    ) as caught:
        toolchain_for(replace(PI, linker="pi-linux-gcc"))
    assert "\n" not in str(caught.value)


def test_toolchain_for__ndk__is_its_clang_for_the_api_level(tmp_path, monkeypatch):
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path))
    with pytest.raises(SetupError, match=r"^ANDROID_NDK_HOME=.*aarch64-linux-android29-clang"):
        toolchain_for(PHONE)
    tools = tmp_path / "toolchains" / "llvm" / "prebuilt" / "linux-x86_64" / "bin"
    tools.mkdir(parents=True)
    for tool in ("aarch64-linux-android29-clang", "armv7a-linux-androideabi29-clang", "llvm-ar"):
        (tools / tool).touch()
    assert toolchain_for(PHONE).cc == (str(tools / "aarch64-linux-android29-clang"),)
    arm = replace(PHONE, triple="armv7-linux-androideabi")
    assert toolchain_for(arm).cc == (str(tools / "armv7a-linux-androideabi29-clang"),)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"libc_version": "28"}, "API level 29.*thread-local.*ANDROID_NDK_HOME"),
        ({"triple": "armv7-linux-androideabi"}, "other than 64-bit ARM.*ANDROID_NDK_HOME"),
    ],
)
def test_toolchain_for__android_that_only_the_ndk_can_build__says_so(monkeypatch, changes, reason):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    with pytest.raises(SetupError, match=reason):
        toolchain_for(replace(PHONE, **changes))


def test_version__any_target__leaves_no_file_behind(tmp_path, monkeypatch):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    monkeypatch.chdir(tmp_path)
    assert re.match(r"clang version \d+", toolchain_for(load_target("ios-arm64")).version())
    assert list(tmp_path.iterdir()) == []
