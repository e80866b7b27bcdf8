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
from tvmpose.runtime import PoseError, load

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


def program(machine: Emulated, bundle: Compiled, folder: Path) -> Path:
    """The C example, linked with the bundle's archive."""
    if not shutil.which(machine.command[0]):
        pytest.skip(f"{machine.command[0]} is not installed")
    archive = bundle.bundle / f"lib{bundle.name}.a"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", machine.links, "-static", "-O2"]
    names = [f"-DPOSE={bundle.name}_tvmpose", f"-I{bundle.bundle}"]
    path = folder / "pose"
    subprocess.run([*zig, *names, str(EXAMPLE), str(archive), "-lm", "-o", str(path)], check=True)
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
