"""The C runtime, driven through tests/runtime/c and a hand-written network: no TVM takes part."""

import platform
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.conftest import CSRC, TESTS, Builder, run

TINY = "tiny_model.c"
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
PARTS = "-Wno-unused-function"  # a test of some of the runtime's parts leaves functions of the others unused
EXAMPLE = str(TESTS.parents[2] / "examples" / "c" / "pose.c")

linux = pytest.mark.skipif(platform.system() != "Linux", reason="asks Linux")


def without_random_addresses(program: Path) -> list[str | Path]:
    """ThreadSanitizer of older compilers cannot place its shadow where a newer kernel puts things at random."""
    return ["setarch", platform.machine(), "-R", program] if shutil.which("setarch") else [program]


# Every function of the API and every refusal


@pytest.mark.parametrize("compiler", ["cc", "clang"])
def test_api__tiny_model__every_function_and_refusal(build: Builder, compiler: str):
    assert run(build(TINY, "test_api.c", compiler=compiler)) == "ok\n"


@pytest.mark.parametrize("variant", ["-DTINY_NO_CARD", "-DTINY_GUARD=128"])
def test_api__model_without_card_or_with_guards__as_documented(build: Builder, variant: str):
    if variant == "-DTINY_NO_CARD":
        run(build(TINY, "test_api.c", variant, "-DPOSE_API=tiny_tvmpose"))
    else:
        run(build(TINY, "test_api.c", variant))


def test_api__address_and_undefined_behaviour_sanitizers__no_report(build: Builder):
    run(build(TINY, "test_api.c", *ADDRESS))


def test_api__valgrind__no_report(build: Builder):
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    options = ["--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all"]
    run("valgrind", *options, build(TINY, "test_api.c"))


@pytest.mark.slow  # zig builds musl for aarch64 first
def test_api__aarch64_under_qemu__every_function_and_refusal(build: Builder):
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if not emulator:
        pytest.skip("qemu-aarch64 is not installed")
    run(emulator, build(TINY, "test_api.c", "-static", "--target=aarch64-linux-musl", compiler="zig"))


# Threads


def test_handles__four_at_once_and_one_shared__no_race(build: Builder):
    run(build(TINY, "test_threads.c"))
    run(*without_random_addresses(build(TINY, "test_threads.c", "-fsanitize=thread")))


def test_pool__random_jobs__each_task_runs_once(build: Builder):
    run(build("test_pool.c", PARTS))
    run(build("test_pool.c", PARTS, *ADDRESS), "300")


def test_pool__random_jobs__no_race(build: Builder):
    run(*without_random_addresses(build("test_pool.c", PARTS, "-fsanitize=thread")), "300")


@linux
def test_open_and_set_threads__no_more_threads__refused_and_old_pool_kept(build: Builder):
    run(build(TINY, "no_threads.c", "-Wl,--wrap=pthread_create", *ADDRESS))


# A frame


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts glibc's allocators")
def test_frame__any_number_of_threads__allocates_nothing(build: Builder):
    run(build(TINY, "count_allocations.c"))


@linux
def test_frame__one_thread__makes_no_system_call(build: Builder):
    assert run(build(TINY, "no_system_calls.c")) == "ok\n"


# The library


def test_libraries__two_in_one_program__do_not_meet(build: Builder):
    other = build(TINY, "-c", "-DTVMPOSE_NAME=other")
    run(build(TINY, "two_models.c", str(other)))


@linux
def test_library__shared__exports_one_symbol_and_needs_only_libc(build: Builder):
    library = build(TINY, "-shared", "-fPIC")
    symbols = run("nm", "-D", "--defined-only", library).split()
    assert [name for name in symbols if "tiny" in name or "TVM" in name] == symbols[2::3] == ["tiny_tvmpose"]
    assert "TVM" not in run("nm", "-D", "--undefined-only", library)
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", library))
    assert set(needed) <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "libc.so"}


@pytest.mark.parametrize(
    "target", ["x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", "riscv64-linux-musl"]
)
def test_library__cross_compiled__no_warning(build: Builder, target: str):
    build(TINY, "-c", "-Wno-unused-command-line-argument", f"--target={target}", compiler="zig")


# What open() refuses


def cpu_features() -> dict[str, int]:
    rows = re.findall(r'^TVMPOSE_CPU_FEATURE\((\d+), "([^"]+)"', (CSRC / "cpu_features.h").read_text(), re.MULTILINE)
    return {name: int(bit) for bit, name in rows}


# Where /proc/cpuinfo has another name than LLVM.
LINUX_NAMES = {
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "lzcnt": "abm",
    "bmi": "bmi1",
    "avxvnni": "avx_vnni",
    **{f"avx512{name}": f"avx512_{name}" for name in ("vbmi2", "vnni", "bitalg", "vpopcntdq", "bf16", "fp16")},
    **{f"amx-{name}": f"amx_{name}" for name in ("tile", "int8", "bf16")},
    "neon": "asimd",
    "crc": "crc32",
    "lse": "atomics",
    "fullfp16": "asimdhp",
    "rdm": "asimdrdm",
    "dotprod": "asimddp",
    "fp16fml": "asimdfhm",
}


@linux
def test_cpu_features__this_machine__as_the_kernel_says(build: Builder):
    text = Path("/proc/cpuinfo").read_text()
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    if not line:
        pytest.skip("/proc/cpuinfo lists no features")
    listed = set(line[1].split())
    expected = {name for name in cpu_features() if LINUX_NAMES.get(name, name) in listed}
    assert set(run(build("cpu_features.c", PARTS)).split()) == expected


def test_open__cpu_without_needed_features__names_them(build: Builder):
    present = set(run(build("cpu_features.c", PARTS)).split())
    features = cpu_features()
    missing = [name for name in features if name not in present][:2]
    mask = sum(1 << features[name] for name in [*missing, *present])
    printed = run(build(TINY, "open_refused.c", f"-DTINY_CPU_FEATURES={mask}ull"))
    assert printed == f"6 compiled for instructions that this CPU lacks: {' '.join(missing)}\n"


def test_open__unknown_feature_bit__refused(build: Builder):
    assert max(cpu_features().values()) < 63 and len(set(cpu_features().values())) == len(cpu_features())
    assert run(build(TINY, "open_refused.c", "-DTINY_CPU_FEATURES=1ull<<63")).startswith("6 compiled for CPU features")


@pytest.mark.parametrize("arena", ["1ull<<60", "UINT64_MAX"])
def test_open__arena_larger_than_memory__refused(build: Builder, arena: str):
    assert run(build(TINY, "open_refused.c", f"-DTINY_ARENA_BYTES={arena}")).startswith("7 no memory for an arena of 1")


# The example


@pytest.fixture
def example(build: Builder) -> Path:
    library = build(TINY, "-shared", "-fPIC")
    return build(EXAMPLE, "-DPOSE=tiny_tvmpose", str(library))


def test_example__dot_in_a_ppm__is_found(example: Path, tmp_path: Path):
    pixels = np.zeros((12, 16, 3), np.uint8)
    pixels[4, 6] = 255
    picture = tmp_path / "dot.ppm"
    picture.write_bytes(b"P6\n# a dot\n16 12\n255\n" + pixels.tobytes())
    assert (
        run(example, picture) == "0 red 6.000 4.000 510.000\n1 green 6.000 4.000 127.500\n2 blue 6.000 4.000 255.000\n"
    )
    assert run(example, picture, "4", "3", "6.4", "4.8").startswith("0 red 6.200 4.400 510.000\n")


@pytest.mark.parametrize("content", [b"", b"P5\n1 1\n255\nx", b"P6\n2 2\n255\nshort", b"P6\n99999 1\n255\n"])
def test_example__not_a_ppm__says_so(example: Path, tmp_path: Path, content: bytes):
    picture = tmp_path / "bad.ppm"
    picture.write_bytes(content)
    result = subprocess.run([example, picture], capture_output=True, text=True)
    assert result.returncode == 1 and "not a binary 8-bit PPM" in result.stderr


def test_example__box_outside__prints_the_library_s_reason(example: Path, tmp_path: Path):
    picture = tmp_path / "dot.ppm"
    picture.write_bytes(b"P6 1 1 255\n\0\0\0")
    result = subprocess.run([example, picture, "9", "9", "1", "1"], capture_output=True, text=True)
    assert result.returncode == 1 and "outside the image" in result.stderr


# libFuzzer


def fuzz(build: Builder, executions: int) -> None:
    fuzzer = build(TINY, "fuzz_api.c", "-O2", "-fsanitize=fuzzer,address,undefined", ADDRESS[1], compiler="clang")
    result = subprocess.run(
        [fuzzer, f"-runs={executions}", "-max_len=64", "-seed=1"], capture_output=True, text=True, cwd=fuzzer.parent
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert f"Done {executions} runs" in result.stderr


def test_fuzz__two_hundred_thousand_executions__no_finding(build: Builder):
    fuzz(build, 200_000)


@pytest.mark.slow
def test_fuzz__half_a_million_executions__no_finding(build: Builder):
    fuzz(build, 500_000)
