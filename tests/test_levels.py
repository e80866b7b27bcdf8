"""A bundle of several levels, really compiled: what each library is, what was verified of it, which one is opened."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CSRC
from tests.tiny import Tiny, write_tiny_quantized
from tvmpose.cli.main import main
from tvmpose.codegen.bundle import MANIFEST
from tvmpose.codegen.elf import same_code
from tvmpose.compile import Report, compile_model, resolve
from tvmpose.runtime import load
from tvmpose.runtime.pose import main as check_main
from tvmpose.runtime.pose import open_library
from tvmpose.targets import host_target, load_target, needed_features

CARRIED = ("pose.py", "smooth.py", "tvmpose.h", "tvmpose_smooth.h")  # by every bundle

# No version of a C library: linked by this machine's compiler. gfni is of no use to any network of ours.
LEVELS = """\
title = "t"
triple = "x86_64-linux-gnu"
cpu = "x86-64-v2"
levels = [
    {name = "v2", title = "old"},
    {name = "v3", title = "AVX2", cpu = "x86-64-v3"},
    {name = "v3-gfni", title = "AVX2 and more", cpu = "x86-64-v3", attributes = ["+gfni"]},
    {name = "top", title = "what nobody has", cpu = "sapphirerapids", integers_only = true},
]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not host_target().triple.startswith("x86_64"):
        pytest.skip("this machine is no x86-64")
    folder = tmp_path_factory.mktemp("levels")
    (folder / "family.toml").write_text(LEVELS)
    if not needed_features(load_target(f"{folder}/family.toml:v3")) <= needed_features(host_target()):
        pytest.skip("this machine has no AVX2")
    if needed_features(load_target(f"{folder}/family.toml:top")) <= needed_features(host_target()):
        pytest.skip("this machine is a sapphirerapids")
    return folder


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """What was reported while the bundle was compiled."""
    return []


@pytest.fixture(scope="module")
def quantized(folder: Path) -> Tiny:
    return write_tiny_quantized(folder / "tiny")


@pytest.fixture(scope="module")
def report(folder: Path, quantized: Tiny, steps: list[tuple[str, str]]) -> Report:
    """Of tinyq, a quantized model, for all levels."""
    options = resolve(
        str(quantized.model),
        card=str(quantized.card),
        target=load_target(str(folder / "family.toml")),
        output=folder / "bundle",
        samples=quantized.samples,
        dump=folder / "dump",
        static=True,
    )
    return compile_model(options, lambda step, result: steps.append((step, result)))


def test_compile__levels__a_library_each_the_most_demanding_first(report: Report, folder: Path, steps):
    libraries = json.loads((folder / "bundle" / MANIFEST).read_text())["libraries"]
    assert [(library["file"], library["target"]) for library in libraries] == [
        ("libtinyq-top.so", "family:top"),
        ("libtinyq-v3.so", "family:v3"),
        ("libtinyq.so", "family:v2"),
    ]
    helpers = {"tvmpose_load.h", "tinyq_libraries.h", "libtinyq.a", *CARRIED, "sample.npz"}
    assert set(report.manifest.files) == {library["file"] for library in libraries} | helpers
    assert ("level", "v3-gfni: left out, its code is that of v3") in steps
    assert [step for step, _ in steps].count("layout") == 1


def test_compile__levels__manifest_says_what_was_run_of_each(report: Report):
    top, v3, v2 = report.manifest.libraries
    statuses = [library.verification.status for library in (top, v3, v2)]
    assert statuses == ["host-equivalent only", "verified", "verified"]
    assert all(library.verification.joints for library in (top, v3, v2))
    assert top.verification.judge == v3.verification.judge
    assert set(v2.cpu_features) < set(v3.cpu_features) < set(top.cpu_features)
    assert [step.name for step in top.steps] != [] != [step.name for step in v2.steps]


def test_load__levels__opens_the_best_that_this_machine_has(report: Report, folder: Path, quantized: Tiny):
    runs = needed_features(host_target())
    best = next(library for library in report.manifest.libraries if set(library.cpu_features) <= runs)
    with load(folder / "bundle") as pose:
        assert pose.info.target == best.target
        assert pose.info.name == "tinyq"
    assert check_main(["--check", str(folder / "bundle")]) == 0


def test_load__each_level_that_runs__finds_the_same(report: Report, folder: Path):
    picture = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)
    found = []
    for library in report.libraries:
        if needed_features(library.target) <= needed_features(host_target()):
            with open_library(folder / "bundle" / library.path.name, "tinyq") as pose:
                assert pose.info.target == library.target.name
                found.append(pose(picture)[0].keypoints)
    assert len(found) >= 2
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-4)


PROGRAM = """
#include <stdio.h>
#include "tvmpose.h"
const tvmpose_api *tinyq_tvmpose(void);
int main(void) {
  tvmpose_handle *pose;
  if (tinyq_tvmpose()->open(NULL, &pose)) return puts(tinyq_tvmpose()->last_error(NULL)), 1;
  tinyq_tvmpose()->close(pose);
  return puts(tinyq_tvmpose()->info()->target), 0;
}
"""
LOADER = """
#include "tinyq_libraries.h"
#include "tvmpose_load.h"
int main(void) {
  char error[256];
  const tvmpose_api *api = tvmpose_load(FOLDER, tinyq_libraries, "tinyq_tvmpose", error, sizeof error);
  return puts(api ? api->info()->target : error), !api;
}
"""


@pytest.mark.parametrize("how", ["archive", "helper"])
def test_c_program__levels__opens_what_python_does(report: Report, folder: Path, tmp_path: Path, how: str):
    bundle = folder / "bundle"
    (tmp_path / "main.c").write_text(PROGRAM if how == "archive" else LOADER)
    libraries = [bundle / "libtinyq.a", "-lm", "-pthread"] if how == "archive" else ["-ldl"]
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wpedantic", f"-I{bundle}", f'-DFOLDER="{bundle}"']
    subprocess.run(["cc", *flags, tmp_path / "main.c", *libraries, "-o", tmp_path / "main"], check=True)
    with load(bundle) as pose:
        assert subprocess.check_output([tmp_path / "main"], text=True) == f"{pose.info.target}\n"


def test_measuring__levels__is_told_of_the_library_that_runs(
    report: Report, folder: Path, capfd: pytest.CaptureFixture[str]
):
    from tvmpose.benchmark.facts import read_facts

    with load(folder / "bundle") as pose:
        running = next(library for library in report.manifest.libraries if library.target == pose.info.target)
        assert tuple(step.name for step in read_facts(folder / "bundle").steps) == pose.info.step_names[1:-1]
    assert read_facts(folder / "bundle").cpu_features == running.cpu_features
    assert check_main(["--info", str(folder / "bundle")]) == 0
    assert f"library    {running.file}\n" in capfd.readouterr().out


@pytest.mark.slow
def test_compile__model_without_integers__no_level_for_integers_alone(
    folder: Path, tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    arguments = [*tiny.arguments(tmp_path / "bundle"), "--target", str(folder / "family.toml"), "--no-verify"]
    assert main(arguments) == 0
    out = capfd.readouterr().out
    assert "top" not in out.partition("import")[2]
    *lines, last = out.strip().splitlines()[-3:]
    assert [line.split()[:2] for line in lines] == [["v3", "libtiny-v3.so:"], ["v2", "libtiny.so:"]]
    assert re.search(r"bundle: [\d.]+ MB, 2 libraries; compiled in", last)


@pytest.mark.slow
def test_compile__single_level__the_same_code_as_beside_others(
    report: Report, folder: Path, quantized: Tiny, tmp_path: Path
):
    """What the levels share is no part of the result."""
    target = load_target(f"{folder / 'family.toml'}:v3")
    output, card = tmp_path / "one", str(quantized.card)
    options = resolve(str(quantized.model), card=card, target=target, output=output, verify=False, dump=tmp_path)
    manifest = compile_model(options).manifest
    assert [(library.file, library.target) for library in manifest.libraries] == [("libtinyq.so", "family:v3")]
    assert set(manifest.files) == {"libtinyq.so", *CARRIED}
    alone, beside = tmp_path / "build", folder / "dump" / "build" / "v3"
    assert (alone / "weights.bin").read_bytes() == (beside / "weights.bin").read_bytes()
    assert same_code(alone / "kernels.o", beside / "kernels.o", ("tinyq", "tinyq_v3"))


def test_load_header__in_the_package__is_about_sixty_lines():
    assert len((CSRC / "tvmpose_load.h").read_text().splitlines()) < 70
