"""What is wrong with a library is found before it leaves this machine: each fault made by a real linker."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tvmpose.codegen.elf import refuse_unfit, same_code
from tvmpose.errors import SetupError
from tvmpose.targets import Target

if not shutil.which("cc"):
    pytest.skip("no cc on this machine", allow_module_level=True)

NET = "int net_tvmpose(void) { return 1; }"
HERE = Target("here", "", "x86_64-linux-gnu", "x86-64")
PI = Target("pi", "", "aarch64-linux-gnu", "cortex-a72")
SONAME = "-Wl,-soname,libnet.so"
intel = pytest.mark.skipif("x86_64" not in subprocess.getoutput("cc -dumpmachine"), reason="not an x86-64 machine")


def linked(folder: Path, *flags: str, source: str = NET, compiler: tuple[str, ...] = ("cc",)) -> Path:
    (folder / "net.c").write_text(source)
    subprocess.run([*compiler, "-fPIC", "-shared", "net.c", "-o", "libnet.so", *flags], cwd=folder, check=True)
    return folder / "libnet.so"


def zig(folder: Path, target: str, *flags: str, source: str = NET) -> Path:
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    compiler = (
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        target,
        "-nostdlib",
        "-O1",
        "-fno-unwind-tables",
        SONAME,
    )
    return linked(folder, *flags, source=source, compiler=compiler)


def faults(library: Path, target: Target) -> str:
    with pytest.raises(SetupError) as caught:
        refuse_unfit(library, "net", target)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"libnet.so cannot run on {target.name} ({target.triple}): ")
    return str(caught.value).partition("): ")[2]


@intel
def test_refuse_unfit__fitting_library__passes(tmp_path):
    source = "#include <math.h>\n#include <stdlib.h>\n" + "void *net_tvmpose(double x) { return malloc(exp(x)); }"
    refuse_unfit(linked(tmp_path, SONAME, "-lm", "-Wl,-z,defs", source=source), "net", HERE)


@intel
def test_refuse_unfit__other_machine__is_the_only_fault_named(tmp_path):
    assert faults(linked(tmp_path), PI) == "it is 64-bit EM_X86_64, not 64-bit EM_AARCH64"
    pi32 = replace(PI, triple="armv7-linux-gnueabihf")
    assert faults(linked(tmp_path), pi32) == "it is 64-bit EM_X86_64, not 32-bit EM_ARM"


@pytest.mark.parametrize(("abi", "name"), [("eabi", "soft"), ("eabihf", "hard")])
def test_refuse_unfit__float_abi__must_be_the_targets(tmp_path, abi, name):
    library = zig(tmp_path, f"arm-linux-gnu{abi}")
    fits = Target("pi", "", f"armv7-linux-gnu{abi}", "cortex-a53")
    refuse_unfit(library, "net", fits)
    other = replace(fits, triple=f"armv7-linux-gnueabi{'' if abi.endswith('hf') else 'hf'}")
    assert faults(library, other) == f"its float ABI is {name}, not the target's"


def test_refuse_unfit__pages__a_multiple_fits_and_a_part_does_not(tmp_path):
    android = Target("phone", "", "aarch64-linux-android", "generic", libc_version="29", page_bytes=16384)
    for pages in (16384, 65536):
        refuse_unfit(zig(tmp_path, "aarch64-linux-none", f"-Wl,-z,max-page-size={pages}"), "net", android)
    small = zig(tmp_path, "aarch64-linux-none", "-Wl,-z,max-page-size=4096")
    assert faults(small, android) == "its segments are aligned to 4096, not to pages of 16384 bytes"


@intel
@pytest.mark.parametrize(
    ("flags", "source", "fault"),
    [
        ((), NET, "its soname is missing, not libnet.so"),
        (("-Wl,-soname,libother.so",), NET, "its soname is libother.so, not libnet.so"),
        (
            (SONAME,),
            NET + " int more(void) { return 2; }",
            r"it exports (net_tvmpose, more|more, net_tvmpose), not net_",
        ),
        (
            (SONAME,),
            NET.replace("int net", "static __attribute__((used)) int net"),
            "it exports nothing, not net_tvmpose",
        ),
        (
            (SONAME,),
            "int kernel(void); int net_tvmpose(void) { return kernel(); }",
            "kernel is undefined and not known",
        ),
        ((SONAME, "-Wl,-z,execstack"), NET, "it asks for an executable stack"),
        ((SONAME, "-Wl,-z,notext", "code.s"), NET, r"its code has to be relocated \(DT_TEXTREL\)"),
        ((SONAME, "-L.", "-Wl,--no-as-needed", "-lfriend"), NET, "it needs libfriend.so$"),
    ],
    ids=["no soname", "other soname", "exports more", "exports nothing", "undefined", "stack", "relocations", "needs"],
)
def test_refuse_unfit__fault__is_named(tmp_path, flags, source, fault):
    (tmp_path / "code.s").write_text('.text\n.quad elsewhere\n.data\nelsewhere: .quad 1\n.section .note.GNU-stack,""\n')
    (tmp_path / "friend.c").write_text("int friend;")
    friend = ["cc", "-fPIC", "-shared", "friend.c", "-Wl,-soname,libfriend.so", "-o", "libfriend.so"]
    subprocess.run(friend, cwd=tmp_path, check=True)
    assert re.match(fault, faults(linked(tmp_path, *flags, source=source), HERE))


def test_refuse_unfit__several_faults__are_named_together(tmp_path):
    library = zig(tmp_path, "aarch64-linux-none", "-Wl,-soname,x.so", source=NET + " int more(void) { return 2; }")
    assert re.match("its soname is x.so, .*; it exports ", faults(library, PI))


@intel
@pytest.mark.parametrize(("oldest", "fits"), [("2.34", True), ("3.0", True), ("2.33", False), ("2.9", False)])
def test_refuse_unfit__glibc__newer_symbols_than_the_targets_are_named(tmp_path, oldest, fits):
    symbol = '__asm__(".symver old, pthread_create@GLIBC_2.34"); int old(); int net_tvmpose(void) { return old(); }'
    if "GLIBC_2.34" not in subprocess.getoutput("cc -print-file-name=libc.so.6 | xargs readelf -V"):
        pytest.skip("this machine's glibc is older than 2.34")
    library = linked(tmp_path, SONAME, source=symbol)
    target = replace(HERE, libc_version=oldest)
    if fits:
        refuse_unfit(library, "net", target)
    else:
        assert faults(library, target) == f"pthread_create needs GLIBC_2.34, the target has GLIBC_{oldest}"


def test_refuse_unfit__no_elf_file__is_said_so(tmp_path):
    (tmp_path / "libnet.so").write_bytes(b"!<arch>\n")
    assert faults(tmp_path / "libnet.so", PI).startswith("not an ELF file")


def test_refuse_unfit__libc_without_versions__only_known_functions_may_be_undefined(tmp_path):
    musl = replace(PI, triple="aarch64-linux-musl")
    source = "{0} calloc({0}); {0} {1}({0}); int net_tvmpose(void) {{ return calloc(1) + {1}(2); }}"
    refuse_unfit(zig(tmp_path, "aarch64-linux-none", "-fno-builtin", source=source.format("int", "expf")), "net", musl)
    library = zig(tmp_path, "aarch64-linux-none", "-fno-builtin", source=source.format("int", "mmap"))
    assert faults(library, musl) == "mmap is undefined and not known to be musl's"


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("int {0}_f(int x) {{ return x * {0}_g(); }}", True),
        ("int {0}_f(int x) {{ return x + {0}_g(); }}", False),
        ("int {0}_f(int x) {{ return x * abs({0}_g()); }}", False),
        ("int {0}_f(int x) {{ return x * {0}_g(); }} int {0}_more;", False),
        ("int {0}_f(int x) {{ return x * {0}_h(); }}", False),
    ],
)
def test_same_code__another_prefix__is_no_difference_but_code_and_names_are(tmp_path, source, same):
    """Their debug information, which is not loaded, has the names of their files in it."""
    declarations = "int {0}_g(void); int {0}_h(void); int abs(int);\n"
    texts = {"one": "int {0}_f(int x) {{ return x * {0}_g(); }}", "another_name": source}
    for prefix, text in texts.items():
        (tmp_path / f"{prefix}.c").write_text((declarations + text).format(prefix))
        flags = ["-O1", "-fno-builtin", "-g"]
        subprocess.run(["cc", *flags, "-c", f"{prefix}.c", "-o", f"{prefix}.o"], cwd=tmp_path, check=True)
    assert same_code(tmp_path / "one.o", tmp_path / "another_name.o", tuple(texts)) is same
