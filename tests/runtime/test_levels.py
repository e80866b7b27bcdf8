"""Which of a bundle's libraries is opened: by the binding, by the C helper, and by the entry of a static archive.

The judge is set arithmetic: the last level whose features the CPU has.
"""

import ctypes
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import CSRC, FakeLibrary
from tests.runtime.conftest import Builder
from tests.runtime.test_csrc import ADDRESS
from tvmpose.codegen.bundle import Library, Manifest, write_bundle
from tvmpose.codegen.names import Names, entry_source
from tvmpose.runtime.pose import MachineError, choose_library, read_manifest
from tvmpose.targets import Target, checked_features, load_target, needed_features

C = Path(__file__).parent / "c"
CC = ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{CSRC}"]

Chooser = Callable[[], str | None]
"""The name of the target of the library that is chosen on the CPU in the environment's FAKE_CPU; None for none."""


@dataclass(frozen=True)
class Family:
    """A target's levels as a bundle of fakes, and the ways to choose among them."""

    target: Target
    needs: Mapping[str, frozenset[str]]  # by the levels' targets, the least demanding first
    bundle: Path
    choosers: Mapping[str, Chooser]


def mask(features: frozenset[str]) -> int:
    return sum(1 << checked_features()[feature] for feature in features)


def entries(target: Target, fake: Library) -> tuple[tuple[Library, ...], tuple[Names, ...]]:
    """As a compilation lists them: the most demanding first."""
    names = [Names("fake", level.name, least=not i) for i, level in enumerate(target.levels)]
    libraries = [
        replace(fake, file=name.file, target=variant.name, triple=target.triple, cpu_features=tuple(sorted(needed)))
        for name, variant in zip(names, target.variants, strict=True)
        for needed in [needed_features(variant)]
    ]
    return tuple(reversed(libraries)), tuple(reversed(names))


def macros(library: Library) -> list[str]:
    return [f"FAKE_NEEDS={mask(frozenset(library.cpu_features))}ull", f'FAKE_TARGET="{library.target}"']


def shared(output: Path, *arguments: str | Path) -> ctypes.CDLL:
    subprocess.run([*CC, "-shared", "-fPIC", *arguments, "-o", output, "-lm", "-ldl"], check=True)
    return ctypes.CDLL(str(output))


def by_binding(bundle: Path) -> Chooser:
    manifest = read_manifest(bundle)

    def choose() -> str | None:
        try:
            return choose_library(bundle, manifest).target
        except MachineError:
            return None

    return choose


def by_helper(bundle: Path, folder: Path) -> Chooser:
    helper = shared(folder / "load.so", "-include", bundle / "fake_libraries.h", f"-I{bundle}", C / "load.c")
    helper.pick.restype = ctypes.c_char_p
    error = ctypes.create_string_buffer(256)

    def choose() -> str | None:
        found = helper.pick(str(bundle).encode(), os.environ["FAKE_CPU"].encode(), error, len(error)).decode()
        return None if "lacks" in found else found

    return choose


class Table(ctypes.Structure):
    """The functions of tvmpose_api, all of them as addresses."""

    _fields_ = (("abi", ctypes.c_uint32), ("struct_size", ctypes.c_uint32), ("functions", ctypes.c_void_p * 12))

    def text(self, number: int) -> str:
        """What a function without arguments returns, as a target: info's third field."""
        info = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_char_p))(self.functions[number])
        return info()[2].decode()


def by_archive(libraries: Sequence[Library], names: Sequence[Names], folder: Path) -> Chooser:
    """What the entry returns; where the CPU runs none, it has to be the least demanding."""
    objects = []
    for library, name in zip(libraries, names, strict=True):
        objects.append(folder / f"{name.symbol}.o")
        defines = [f"-D{macro}" for macro in macros(library)]
        source = [f"-Dfake_tvmpose={name.symbol}_tvmpose", C / "fake_bundle.c"]
        subprocess.run([*CC, "-fPIC", "-c", *defines, *source, "-o", objects[-1]], check=True)
    (folder / "entry.c").write_text(entry_source(names))
    archive = shared(folder / "archive.so", folder / "entry.c", *objects)
    archive.fake_tvmpose.restype = ctypes.POINTER(Table)

    def choose() -> str | None:
        table = archive.fake_tvmpose().contents
        runs = ctypes.CFUNCTYPE(ctypes.c_int)(table.functions[10])() == 0
        target = table.text(0)
        assert runs or target == libraries[-1].target
        return target if runs else None

    return choose


@pytest.fixture(scope="module", params=["android-arm64", "x86-64"])
def family(
    request: pytest.FixtureRequest,
    fake_library: FakeLibrary,
    fake_manifest: Manifest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Family:
    target = load_target(request.param)
    folder = tmp_path_factory.mktemp("levels")
    libraries, names = entries(target, fake_manifest.libraries[0])
    contents = {library.file: fake_library(*macros(library)) for library in libraries}
    bundle = folder / "bundle"
    write_bundle(bundle, replace(fake_manifest, libraries=libraries), contents)
    choosers = {
        "binding": by_binding(bundle),
        "helper": by_helper(bundle, folder),
        "archive": by_archive(libraries, names, folder),
    }
    return Family(target, {variant.name: needed_features(variant) for variant in target.variants}, bundle, choosers)


def best(family: Family, cpu: frozenset[str]) -> str | None:
    """The last level that the CPU has all features of."""
    return ([None, *(name for name, needed in family.needs.items() if needed <= cpu)])[-1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_choice__any_cpu__is_the_highest_level_that_it_has_all_features_of(
    family: Family, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
):
    whole = list(family.needs.values())
    some = st.frozensets(st.sampled_from(sorted(checked_features())))
    cpu = data.draw(st.sampled_from([frozenset[str](), *whole])) | data.draw(some)
    cpu -= data.draw(st.frozensets(st.sampled_from(sorted(frozenset().union(*whole))), max_size=2))
    monkeypatch.setenv("FAKE_CPU", hex(mask(cpu)))
    expected = best(family, cpu)
    assert {how: choose() for how, choose in family.choosers.items()} == dict.fromkeys(family.choosers, expected)


def test_choice__each_level_s_own_cpu__is_that_level(family: Family, monkeypatch: pytest.MonkeyPatch):
    for name, needed in family.needs.items():
        monkeypatch.setenv("FAKE_CPU", hex(mask(needed)))
        assert {choose() for choose in family.choosers.values()} == {name}


def test_choose_library__cpu_that_runs_none__one_line_with_what_the_lowest_needs(
    family: Family, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FAKE_CPU", "0")
    with pytest.raises(MachineError) as caught:
        choose_library(family.bundle, read_manifest(family.bundle))
    needs = ", ".join(sorted(next(iter(family.needs.values()))))
    least = f"libfake.so, the least demanding of {len(family.target.levels)} libraries, for {family.target.triple}"
    assert f"{least} needs {needs}: this CPU lacks avx9000" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def helper(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """load.c as a program that finds its own mistakes."""
    program = tmp_path_factory.mktemp("helper") / "load"
    listed = ["-include", family.bundle / "fake_libraries.h"]
    done = subprocess.run(
        [*CC, "-g", *ADDRESS, *listed, f"-I{family.bundle}", C / "load.c", "-o", program, "-ldl"],
        capture_output=True,
        text=True,
    )
    if "cannot find" in done.stderr:
        pytest.skip(f"cc comes without this sanitizer: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return program


def picked(program: Path, folder: str | Path, *cpus: int, path: Path | None = None) -> list[str]:
    environment = os.environ | ({"LD_LIBRARY_PATH": str(path)} if path else {})
    command = [program, folder, *map(hex, cpus)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_helper__under_sanitizers__chooses_what_the_binding_does(
    family: Family, helper: Path, monkeypatch: pytest.MonkeyPatch
):
    needs = [mask(needed) for needed in family.needs.values()]
    cpus = [0, *needs, *(need & (need - 1) for need in needs), 2**64 - 1]  # of each, its lowest feature missing too
    for folder, path in ((family.bundle, None), ("", family.bundle)):
        for cpu, found in zip(cpus, picked(helper, folder, *cpus, path=path), strict=True):
            monkeypatch.setenv("FAKE_CPU", hex(cpu))
            expected = family.choosers["binding"]()
            assert found == (expected or "libfake.so: this CPU lacks avx9000")


def test_helper__library_that_is_not_there_or_unusable__passed_over_or_named(
    family: Family, helper: Path, fake_library: FakeLibrary, tmp_path: Path
):
    best_there_is = 2**64 - 1
    assert picked(helper, tmp_path, best_there_is)[0].startswith(f"{tmp_path}/libfake.so: cannot open")
    (tmp_path / "libfake.so").write_bytes(fake_library().read_bytes())
    assert picked(helper, tmp_path, best_there_is) == ["host"]
    top = Names("fake", family.target.levels[-1].name, least=False).file
    (tmp_path / top).write_bytes(fake_library("FAKE_ABI=7").read_bytes())
    (error,) = picked(helper, tmp_path, best_there_is)
    assert error == f"{top}: another version of tvmpose than this header (ABI 7, here 1)"
    (error,) = picked(helper, f"{tmp_path}/{'x' * 2000}", best_there_is)
    assert error.startswith(f"{top}: a path of 2")


WHICH = """
#include <stdio.h>
#include "tvmpose.h"
{declarations}
const tvmpose_api *net_tvmpose(void);
int main(void) {{
  const tvmpose_api *api = net_tvmpose();
{comparisons}
  tvmpose_handle *handle = NULL;
  if (api->open(NULL, &handle)) return puts(api->last_error(NULL)), 1;
  return api->close(handle), 0;
}}
"""
PHONES = {"cortex-a53": "v8.0", "cortex-a76": "dotprod", "max": "i8mm"}
DESKTOPS = {"Nehalem": "v2", "Haswell": "v3", "qemu64": "v2 but lacks sse4.2"}
EMULATED = {
    "android-arm64": ("zig", ["--target=aarch64-linux-musl"], "qemu-aarch64", PHONES),
    "x86-64": ("cc", [], "qemu-x86_64", DESKTOPS),
}


@pytest.mark.slow  # zig builds musl first
@pytest.mark.parametrize("name", EMULATED)
def test_entry__emulated_cpus__the_runtime_s_own_check_picks_their_level(build: Builder, tmp_path: Path, name: str):
    compiler, flags, emulator, cpus = EMULATED[name]
    if compiler == "cc" and platform.machine() != "x86_64":
        pytest.skip("cc is not for x86-64")
    if not shutil.which(emulator):
        pytest.skip(f"{emulator} is not installed")
    target = load_target(name)
    levels = [Names("net", level.name) for level in reversed(target.levels)]
    sources = [tmp_path / f"{file}.c" for file in ("main", "entry", *(level.symbol for level in levels))]
    for path, level, variant in zip(sources[2:], levels, reversed(target.variants), strict=True):
        needs = f"#define TINY_CPU_FEATURES {mask(needed_features(variant))}ull"
        path.write_text(f'#define TVMPOSE_NAME {level.symbol}\n{needs}\n#include "tiny_model.c"\n')
    declarations = "".join(f"const tvmpose_api *{level.symbol}_tvmpose(void);\n" for level in levels)
    comparisons = "".join(f'  if (api == {level.symbol}_tvmpose()) puts("{level.level}");\n' for level in levels)
    (tmp_path / "entry.c").write_text(entry_source(levels))
    (tmp_path / "main.c").write_text(WHICH.format(declarations=declarations, comparisons=comparisons))
    program = build(*map(str, sources), *flags, "-static", compiler=compiler)
    for cpu, expected in cpus.items():
        done = subprocess.run([emulator, "-cpu", cpu, program], capture_output=True, text=True)
        level, _, lacks = expected.partition(" but lacks ")
        assert done.stdout.splitlines()[0] == level, cpu
        if lacks:
            refusal = r"compiled for instructions that this CPU lacks:.* " + lacks
            assert done.returncode == 1 and re.search(refusal, done.stdout)
        else:
            assert (done.returncode, done.stdout) == (0, f"{level}\n")


def test_entry_source__one_level__is_that_one():
    text = entry_source([Names("net", "v8.0")])
    assert "return net_v8_0_tvmpose();" in text and "check_cpu" not in text
