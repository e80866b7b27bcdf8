"""Compiled for another architecture and run there, on an emulated CPU."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import CLEAR_PHOTOS, Compile, Compiled
from tests.runtime.test_csrc import EXAMPLE
from tvmpose.runtime import load

CORTEX_A72 = 'title = "any 64-bit ARM from the Cortex-A72 on"\ntriple = "aarch64-linux-musl"\ncpu = "cortex-a72"\n'


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="qemu-aarch64 is not installed")
def test_compile__cortex_a72__c_example_finds_what_the_host_finds(
    compiled: Compile, blazepose_lite: Compiled, photos: Path, tmp_path: Path
):
    target = tmp_path / "cortex-a72.toml"
    target.write_text(CORTEX_A72)
    foreign = compiled("pose_landmark_lite.tflite", "blazepose-lite", str(target))
    assert foreign.report.manifest.verification.status == "host-equivalent only"
    program, archive = tmp_path / "pose", foreign.bundle / f"lib{foreign.name}.a"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static", "-O2"]
    names = [f"-DPOSE={foreign.name}_tvmpose", f"-I{foreign.bundle}"]
    subprocess.run([*zig, *names, str(EXAMPLE), str(archive), "-lm", "-o", str(program)], check=True)
    with load(blazepose_lite.bundle) as here:
        for name in CLEAR_PHOTOS:
            picture, ppm = cv2.imread(str(photos / name)), tmp_path / "picture.ppm"
            cv2.imwrite(str(ppm), picture)
            printed = subprocess.run(
                ["qemu-aarch64", "-cpu", "cortex-a72", str(program), str(ppm)],
                check=True,
                capture_output=True,
                text=True,
            )
            found = np.array([line.split()[2:4] for line in printed.stdout.splitlines()], float)
            (person,) = here(picture)
            assert np.abs(found - person.keypoints[:, :2]).max() < 0.05
