"""Devices as data, and this machine as it finds itself."""

import re
from pathlib import Path

import pytest

from tvmpose import content, targets
from tvmpose.errors import InputError
from tvmpose.kernels.isa import vector_isa
from tvmpose.targets import (
    Cores,
    Target,
    checked_features,
    host_target,
    list_targets,
    load_target,
    needed_features,
    shipped_targets,
)

BOARD = 'title = "t"\ntriple = "aarch64-linux-gnu"\ncpu = "cortex-a72"\n'
V3 = {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}  # of the psABI, beyond x86-64-v2


def written(folder: Path, text: str) -> str:
    path = folder / "board.toml"
    path.write_text(text)
    return str(path)


def test_list_targets__first_is_the_host_and_each_can_be_loaded():
    names = list_targets()
    assert names[0] == "host"
    for name in names:
        target = load_target(name)
        assert target.name == name
        assert target.llvm().kind.name == "llvm"
    assert [target.name for target in shipped_targets()] == names[1:]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('api = "opencl"\nmax_threads = 8\nshared_bytes = 0\nwarp = 16', "max_threads must be at least a warp"),
        ('api = "cuda"\nmax_threads = 64\nshared_bytes = 0\nwarp = 32', 'arch and driver are for api = "cuda"'),
        ('api = "opencl"\nmax_threads = 64\nshared_bytes = 0\nwarp = 32\nalignment = 96', "power of two"),
        ('api = "metal"\nmax_threads = 64\nshared_bytes = 0\nwarp = 32', "api must be one of"),
    ],
)
def test_load_target__gpu_that_cannot_be__refused(tmp_path: Path, wrong: str, message: str):
    with pytest.raises(InputError, match=message):
        load_target(written(tmp_path, f"{BOARD}[gpu]\n{wrong}\n"))


def test_with_fallback__gpu__a_level_for_each():
    cpu, gpu = load_target("rk3588-mali").with_fallback().variants
    assert (cpu.gpu, cpu.name, gpu.name) == (None, "rk3588-mali:cpu", "rk3588-mali:gpu")
    assert gpu.gpu is not None and not gpu.gpu.shared_is_fast


def test_shipped_targets__file__says_where_its_facts_come_from():
    for name in list_targets()[1:]:
        text = (content.folder("targets") / f"{name}.toml").read_text()
        assert re.match(r"# .*(\n# .*)*\ntitle = ", text), f"{name}: no comment before its facts"


def test_shipped_targets__device__has_a_cluster_of_the_cpu_that_llvm_is_told_of():
    own = {"apple-a14": "firestorm"}
    devices = [target for target in shipped_targets() if target.cores]
    assert len(devices) == 15
    for target in devices:
        assert own.get(target.cpu, target.cpu) == target.cores[0].name.lower()


@pytest.mark.parametrize(
    ("name", "features", "lanes", "registers"),
    [
        ("raspberry-pi-4", {"neon", "crc"}, 4, 32),
        ("raspberry-pi-4-32bit", {"neon", "crc"}, 4, 16),
        ("raspberry-pi-5", {"neon", "crc", "lse", "rdm", "fullfp16", "dotprod"}, 4, 32),
        ("jetson-xavier", {"neon", "crc", "lse", "rdm", "fullfp16"}, 4, 32),
        ("android-arm64", {"neon"}, 4, 32),
        ("musl-arm64", {"neon"}, 4, 32),
        ("wasm32-simd", set(), 4, 16),
    ],
)
def test_needed_features__shipped_arm__are_those_of_its_cores_manual(name, features, lanes, registers):
    target = load_target(name)
    assert needed_features(target) == features
    isa = vector_isa(target.llvm())
    assert (isa.lanes, isa.registers) == (lanes, registers)


def test_needed_features__pixel_8__no_vectors_of_unknown_length():
    assert {"dotprod", "i8mm", "bf16"} <= needed_features(load_target("pixel-8"))
    assert not {"sve", "sve2"} & needed_features(load_target("pixel-8"))


@pytest.mark.parametrize(
    ("triple", "architecture", "libc", "hard"),
    [
        ("x86_64-linux-gnu", "x86_64", "glibc", False),
        ("aarch64-linux-musl", "aarch64", "musl", False),
        ("armv7-linux-gnueabihf", "arm", "glibc", True),
        ("armv7-linux-musleabi", "arm", "musl", False),
        ("aarch64-apple-ios17.0", "aarch64", "apple", False),
        ("wasm32-wasi", "wasm32", "wasi", False),
        ("x86_64-windows-msvc", "x86_64", "windows-msvc", False),
    ],
)
def test_target__triple__is_taken_apart(triple, architecture, libc, hard):
    target = Target("t", "", triple, "generic")
    assert (target.architecture, target.libc, target.hard_float) == (architecture, libc, hard)
    assert target.is_elf == (libc in ("glibc", "musl"))


def test_target__hard_float__llvm_is_told():
    floats = {name: load_target(name).llvm().attrs.get("mfloat-abi") for name in ("raspberry-pi-3-32bit", "rk3399")}
    assert floats == {"raspberry-pi-3-32bit": "hard", "rk3399": None}


def test_load_target__file_by_path__is_named_after_it(tmp_path):
    text = 'title = "a board"\ntriple = "aarch64-linux-gnu"\ncpu = "cortex-a76"\nattributes = ["+dotprod"]\n'
    target = load_target(written(tmp_path, text))
    assert target == Target("board", "a board", "aarch64-linux-gnu", "cortex-a76", ("+dotprod",))


def test_load_target__every_key__is_read(tmp_path):
    text = BOARD + 'libc_version = "2.31"\nlinker = "some-gcc"\npage_bytes = 65536\n[[cores]]\nname = "A"\ncount = 2\n'
    assert load_target(written(tmp_path, text + "l1d_bytes = 32768\n[[cores]]\nname = 'B'\ncount = 4\n")) == Target(
        "board",
        "t",
        "aarch64-linux-gnu",
        "cortex-a72",
        cores=(Cores("A", 2, 32768), Cores("B", 4)),
        libc_version="2.31",
        linker="some-gcc",
        page_bytes=65536,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "t"\ntriple = "aarch64-linux-gnu"\n', "'cpu' is missing"),
        ('title = "t"\ntriple = "aarch64-linux-gnu"\ncpu = "cortex-a72"\nspeed = 3\n', "unknown key 'speed'"),
        (
            'title = "t"\ntriple = "aarch64-linux-gnu"\ncpu = "cortex-a999"\n',
            "no cpu 'cortex-a999'.*mean cortex-a",
        ),
        ('title = "t"\ntriple = "aarch64-linux-gnu"\ncpu = "znver4"\n', "no cpu 'znver4'"),
        ('title = "t"\ntriple = "pdp11-linux-gnu"\ncpu = "generic"\n', "triple 'pdp11-linux-gnu'"),
        ("not toml", "not a readable TOML"),
        (BOARD + 'attributes = ["+dotprd"]', r"no attribute '\+dotprd'.*mean \+dotprod"),
        (BOARD + 'attributes = ["dotprod"]', r"no attribute 'dotprod'.*mean \+dotprod"),
        (BOARD + 'attributes = ["-sve3"]', "no attribute '-sve3'.*mean -sve"),
        (BOARD + "page_bytes = 5000", "power of two from 4096 on, not 5000"),
        (BOARD + "page_bytes = 2048", "power of two from 4096 on, not 2048"),
        (BOARD + 'libc_version = "new"', "libc_version 'new'"),
        (BOARD + 'libc_version = "29"', "libc_version '29'"),
        (BOARD.replace("gnu", "musl") + 'libc_version = "1.2"', "musl has no such version"),
        (BOARD.replace("linux-gnu", "linux-android"), "libc_version is missing"),
        (BOARD + '[[cores]]\nname = "A"\ncount = 0', "positive"),
        (BOARD + '[[cores]]\nname = "A"\ncount = 1\nl3 = 1', r"cores\[0\]: unknown key 'l3'"),
    ],
)
def test_load_target__faulty_file__is_refused_in_one_line(tmp_path, capfd, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_target(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["nothing", "missing.toml", ""])
def test_load_target__unknown__is_refused_with_the_names_there_are(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"there are host, android-adreno, .*, x86-64-v4"):
        load_target(name)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("raspbery-pi-4", "raspberry-pi-4"),
        ("x86-64-v5", "x86-64-v4"),
        ("jetson-oring", "jetson-orin"),
        ("hots", "host"),
    ],
)
def test_load_target__misspelt__is_answered_with_the_nearest_names(misspelt, meant):
    with pytest.raises(InputError, match=rf"no target '{misspelt}'; did you mean .*{meant}") as caught:
        load_target(misspelt)
    assert "\n" not in str(caught.value)


LEVELS = """\
title = "t"
triple = "x86_64-linux-gnu"
cpu = "x86-64-v2"
levels = [
    {name = "v2", title = "old"},
    {name = "v3", title = "new", cpu = "x86-64-v3"},
    {name = "v3-vnni", title = "newer", cpu = "x86-64-v3", attributes = ["+avxvnni"], integers_only = true},
]
"""


def test_load_target__levels__a_variant_each_with_its_own_cpu(tmp_path):
    target = load_target(written(tmp_path, LEVELS))
    assert [(v.name, v.cpu, v.attributes, v.levels) for v in target.variants] == [
        ("board:v2", "x86-64-v2", (), ()),
        ("board:v3", "x86-64-v3", (), ()),
        ("board:v3-vnni", "x86-64-v3", ("+avxvnni",), ()),
    ]
    assert load_target(f"{tmp_path}/board.toml:v3") == target.variants[1]
    alone = load_target("rk3588")
    assert alone.variants == (alone,)


def test_load_target__shipped_levels__each_needs_more_than_the_first(monkeypatch):
    families = [target for target in shipped_targets() if target.levels]
    assert {family.name for family in families} == {"android-arm64", "x86-64"}
    for family in families:
        first, *others = (needed_features(variant) for variant in load_target(family.name).variants)
        assert all(first < other for other in others)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "v3", title', 'name = "v3/", title'), "level name 'v3/': must be lower-case"),
        (
            ('name = "v3-vnni"', 'name = "a.b", title = "x"}, {name = "a-b"'),
            "two levels have the same name in C",
        ),
        (('cpu = "x86-64-v3"}', 'cpu = "x86-64-v9"}'), "LLVM knows no cpu 'x86-64-v9'"),
        (('"+avxvnni"', '"+avxvni"'), r"no attribute '\+avxvni'.*mean \+avxvnni"),
        (('"+avxvnni"', '"-movbe"'), "level v3 would never be chosen: v3-vnni, after it, needs no more"),
        (('cpu = "x86-64-v3"}', 'cpu = "x86-64"}'), "level v3 needs less than the first level, v2: not .*sse4.2"),
        (('title = "old"', 'title = "old", integers_only = true'), "the first level, v2, must be for every model"),
        (('title = "old"', 'title = "old", speed = 1'), r"levels\[0\]: unknown key 'speed'"),
        (("linux-gnu", "apple-macos11.0"), "levels are for targets that get shared libraries"),
        (("levels", 'linker = "none"\nlevels'), "levels are for targets that get shared libraries"),
    ],
)
def test_load_target__faulty_levels__are_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        load_target(written(tmp_path, LEVELS.replace(*change)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x86-64:v3-vnn", "target x86-64 has no level 'v3-vnn'; did you mean v3-vnni"),
        ("rk3588:v3", "target rk3588 has no level 'v3'; it has none"),
        ("host:v3", "target host has no level 'v3'; it has none"),
    ],
)
def test_load_target__unknown_level__is_refused_with_those_there_are(name, says):
    with pytest.raises(InputError, match=says):
        load_target(name)


def test_needed_features__each_level__has_what_the_psabi_demands():
    v2, v3, v4 = (needed_features(load_target(f"x86-64-v{level}")) for level in (2, 3, 4))
    assert v2 < v3 < v4
    assert v3 - v2 == V3
    assert v4 - v3 >= {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


def test_checked_features__bits__are_distinct_and_fit_a_word():
    bits = list(checked_features().values())
    assert len(bits) == len(set(bits)) > 20
    assert all(0 <= bit < 64 for bit in bits)


def test_host_target__this_machine__needs_nothing_that_it_lacks():
    assert needed_features(host_target()) <= targets._cpu_flags()


def test_host_target__virtual_machine_without_avx512__falls_back_to_a_level_it_has(monkeypatch):
    if not host_target().triple.startswith("x86_64"):
        pytest.skip("not an x86-64 machine")
    v3 = needed_features(load_target("x86-64-v3"))
    monkeypatch.setattr(targets, "_cpu_flags", lambda: v3)
    assert needed_features(host_target()) <= v3
    monkeypatch.setattr(targets, "_cpu_flags", frozenset)
    assert host_target().cpu == "x86-64"
