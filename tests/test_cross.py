"""Compiled for another machine and run there, on an emulated one: what is found is what the host finds."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from tests.conftest import CLEAR_PHOTOS, Compile, Compiled
from tests.runtime.test_csrc import EXAMPLE
from tests.tiny import write_tiny_quantized
from tvmpose.codegen.bundle import SAMPLE
from tvmpose.compile import compile_model, resolve
from tvmpose.runtime import PoseError, load
from tvmpose.targets import load_target

NODE = """
import {WASI} from "node:wasi";
import fs from "node:fs";
const [program, picture] = process.argv.slice(2);
const wasi = new WASI({version: "preview1", args: ["pose", "picture.ppm"], preopens: {".": picture}});
const module = await WebAssembly.compile(fs.readFileSync(program));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
"""


@dataclass(frozen=True)
class Emulated:
    """A target, zig's target of a static C program for it, and the command that runs such a program."""

    name: str
    links: str
    command: tuple[str, ...]


# Targets without a virtual board (test_boards.py has those). There is no bionic here to run with: the archive is linked
# with musl, whose types are as large. The library itself is checked by the compiler.
MACHINES = [
    Emulated("android-arm64", "aarch64-linux-musl", ("qemu-aarch64", "-cpu", "cortex-a53")),
    Emulated("wasm32-simd", "wasm32-wasi", ("node", "--no-warnings", "run.mjs")),
]


def program(machine: Emulated, bundle: Compiled, folder: Path, source: Path = Path(EXAMPLE)) -> Path:
    """The C example, or another, linked with the bundle's archive."""
    if not shutil.which(machine.command[0]):
        pytest.skip(f"{machine.command[0]} is not installed")
    archive = bundle.bundle / f"lib{bundle.name}.a"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", machine.links, "-static", "-O2"]
    names = [f"-DPOSE={bundle.name}_tvmpose", f"-I{bundle.bundle}"]
    path = folder / "pose"
    subprocess.run([*zig, *names, str(source), str(archive), "-lm", "-o", str(path)], check=True)
    return path


def keypoints(machine: Emulated, path: Path, picture: np.ndarray) -> np.ndarray:
    """(K, 2) of what the program finds in the whole picture."""
    cv2.imwrite(str(path.with_name("picture.ppm")), picture)
    (path.with_name("run.mjs")).write_text(NODE)
    argument = "." if machine.command[0] == "node" else "picture.ppm"
    command = [*machine.command, path, argument]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=path.parent).stdout
    return np.array([line.split()[2:4] for line in printed.splitlines()], float)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_compile__other_machine__c_example_finds_what_the_host_finds(
    compiled: Compile, blazepose_lite: Compiled, photos: Path, tmp_path: Path, machine: Emulated
):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    foreign = compiled("pose_landmark_lite.tflite", "blazepose-lite", machine.name)
    assert foreign.report.manifest.verification.status == "host-equivalent only"
    path = program(machine, foreign, tmp_path)
    with load(blazepose_lite.bundle) as here:
        for name in CLEAR_PHOTOS:
            picture = cv2.imread(str(photos / name))
            found, (person,) = keypoints(machine, path, picture), here(picture)
            assert found.shape == (33, 2)
            assert np.abs(found - person.keypoints[:, :2]).max() < 0.05


@pytest.mark.slow
def test_compile__raspberry_pi_4__library_is_what_the_board_loads(compiled: Compile):
    library = compiled("pose_landmark_lite.tflite", "blazepose-lite", "raspberry-pi-4").library
    readelf = shutil.which("readelf") or pytest.skip("no readelf on this machine")
    said = subprocess.run([readelf, "-hldVW", library], check=True, capture_output=True, text=True).stdout
    assert "AArch64" in said and f"Library soname: [{library.name}]" in said
    versions = {(int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", said)}
    assert (2, 17) in versions and max(versions) <= (2, 31)
    with pytest.raises(PoseError, match=r"does not run on this \w+ machine.*for aarch64-linux-gnu") as caught:
        load(library.parent)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_compile__android__library_needs_libc_and_libm_alone(compiled: Compile):
    with compiled("pose_landmark_lite.tflite", "blazepose-lite", "android-arm64").library.open("rb") as file:
        elf = ELFFile(file)
        tags = list(elf.get_section_by_name(".dynamic").iter_tags())
        assert {tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"} <= {"libc.so", "libm.so"}
        assert {segment["p_align"] for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"} == {16384}


# The features of these CPUs of the emulator's that decide about Android's levels
PHONES = {
    "cortex-a53": {"neon"},
    "cortex-a76": {"neon", "dotprod"},
    "max": {"neon", "dotprod", "i8mm"},
}
WHICH = """
#include <stdio.h>
#include "tvmpose.h"
const tvmpose_api *tinyq_tvmpose(void);
int main(void) { return puts(tinyq_tvmpose()->info()->target) < 0; }
"""


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A quantized model for every 64-bit ARM phone."""
    folder = tmp_path_factory.mktemp("phone")
    tiny = write_tiny_quantized(folder / "tiny")
    options = resolve(
        str(tiny.model),
        card=str(tiny.card),
        target=load_target("android-arm64"),
        output=folder / "bundle",
        samples=tiny.samples,
        dump=folder / "dump",
        static=True,
    )
    return Compiled(folder / "bundle", folder / "dump" / "build", options.card, compile_model(options))


@pytest.mark.slow
def test_compile__android_levels__each_library_is_what_a_phone_loads(phone: Compiled):
    libraries = phone.report.manifest.libraries
    assert len(libraries) >= 2 and libraries[-1].target == "android-arm64:v8.0"
    readelf = shutil.which("readelf") or pytest.skip("no readelf on this machine")
    for library in libraries:
        path = phone.bundle / library.file
        said = subprocess.run([readelf, "-hldW", path], check=True, capture_output=True, text=True).stdout
        assert "AArch64" in said and f"Library soname: [{library.file}]" in said
        assert set(re.findall(r"\(NEEDED\).*\[(.*)\]", said)) <= {"libc.so", "libm.so"}
        assert set(re.findall(r"^ +LOAD .* (0x\w+)$", said, re.MULTILINE)) == {"0x4000"}


@pytest.mark.slow
@pytest.mark.parametrize("cpu", PHONES)
def test_compile__android_levels__each_phone_runs_its_own_and_finds_what_the_host_finds(
    phone: Compiled, tmp_path: Path, cpu: str
):
    machine = Emulated("android-arm64", "aarch64-linux-musl", ("qemu-aarch64", "-cpu", cpu))
    runs = [lib.target for lib in phone.report.manifest.libraries if set(lib.cpu_features) <= PHONES[cpu]]
    (tmp_path / "which.c").write_text(WHICH)
    which = program(machine, phone, tmp_path, tmp_path / "which.c")
    assert subprocess.check_output([*machine.command, which], text=True) == f"{runs[0]}\n"
    path = program(machine, phone, tmp_path)
    with np.load(phone.bundle / SAMPLE) as sample:
        sure = np.isfinite(sample["keypoints"][:, 0])
        found = keypoints(machine, path, sample["image"][..., ::-1])
        assert sure.any() and np.abs(found - sample["keypoints"][:, :2])[sure].max() < 0.05


@pytest.mark.slow
def test_compile__raspberry_pi_4_32bit_on_an_older_arm__refuses_with_the_feature(compiled: Compile, tmp_path: Path):
    machine = Emulated("raspberry-pi-4-32bit", "arm-linux-musleabihf", ("qemu-arm", "-cpu", "max"))
    path = program(machine, compiled("pose_landmark_lite.tflite", "blazepose-lite", machine.name), tmp_path)
    cv2.imwrite(str(tmp_path / "picture.ppm"), np.zeros((64, 64, 3), np.uint8))
    done = subprocess.run(
        ["qemu-arm", "-cpu", "cortex-a7", path, tmp_path / "picture.ppm"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "compiled for instructions that this CPU lacks: crc" in done.stdout + done.stderr
