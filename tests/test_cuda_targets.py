"""Bundles for NVIDIA GPUs: their cubins; what they do on virtual boards, beside a stand-in for libcuda and without."""

import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import once
from tests.runtime.conftest import TESTS
from tests.tiny import write_tiny
from tvmpose.cli.main import main
from tvmpose.codegen.cubin import kernel_resources
from tvmpose.codegen.toolchain import build_program, toolchain_for
from tvmpose.devices.board import VirtualBoard
from tvmpose.targets import load_target, shipped_targets

JETSONS = {"jetson-nano": 53, "jetson-tx2": 62, "jetson-xavier": 72, "jetson-orin": 87, "jetson-thor": 110}
TARGETS = [pytest.param(name, marks=[] if name == "jetson-orin" else [pytest.mark.slow]) for name in JETSONS]
Made = Callable[[str], Path]


@pytest.fixture(scope="session")
def made(shared: Path) -> Made:
    """The tiny network's bundle for a target, with its CPU's kernels beside; its build folder is in build/."""
    pytest.importorskip("ziglang", reason="ziglang is not installed")

    def make(target: str) -> Path:
        def compile_tiny(folder: Path) -> Path:
            options = ["--target", target, "--fallback", "cpu", "--no-verify", "--dump", str(folder / "dump")]
            assert main([*write_tiny(folder).arguments(folder / target), *options]) == 0
            return folder / target

        return once(shared / "cuda-targets" / target, compile_tiny)

    return make


def gpu_build(bundle: Path) -> Path:
    return bundle.parent / "dump" / "build" / "gpu"


@pytest.mark.parametrize("target", TARGETS)
def test_compile__jetson__cubin_of_its_gpu_says_what_the_table_says(made: Made, target: str):
    build = gpu_build(made(target))
    source, code = (build / "tiny_gpu.c").read_text(), (build / "code.bin").read_bytes()
    (image, *_) = re.findall(r"\{TVMPOSE_CUBIN, (\d+), (\d+), (\d+)\}", source)
    capability, offset, size = map(int, image)
    assert capability == JETSONS[target] and offset % 64 == 0
    found = {kernel.name: kernel for kernel in kernel_resources(code[offset : offset + size])}
    rows = re.findall(r'\{"(\w+)", \{(\d+), (\d+), (\d+)\}, (\d+), (\d+), (\d+)\}', source)
    assert {row[0] for row in rows} == set(found)
    reserved = 1024 if capability >= 90 else 0  # of shared memory, for the system
    for name, *numbers in rows:
        x, y, z, shared, _, arguments = map(int, numbers)
        kernel = found[name]
        assert kernel.parameter_bytes == 8 * arguments
        assert x * y * z <= kernel.max_threads
        assert shared <= max(0, kernel.shared_bytes - reserved) < shared + 64  # what aligning its arrays takes
        assert kernel.local_bytes == 0, f"{name} spills registers"


@pytest.mark.parametrize("target", TARGETS)
def test_compile__jetson__ptx_of_its_driver(made: Made, target: str):
    build = gpu_build(made(target))
    (version,) = re.findall(rb"^\.version ([\d.]+)$", (build / "code.bin").read_bytes(), re.MULTILINE)
    assert version.decode() == {"10.2": "6.5", "11.4": "7.4", "13.0": "9.0"}[str(load_target(target).gpu.driver)]


def frames(bundle: Path, folder: Path, board: VirtualBoard | None, driver: Path | None, **settings: str) -> list[str]:
    """What frames.c prints there, line by line; without a board on this machine."""
    program = folder / "frames"
    toolchain = toolchain_for(load_target("jetson-nano:cpu" if board else "x86-64-v2"))
    build_program(
        TESTS / "frames.c", program, toolchain, (f"-I{bundle}", "-include", "tiny_libraries.h", "-DPOSE=tiny")
    )
    settings["LD_LIBRARY_PATH"] = str(driver or folder)
    command, environment = [str(program), str(bundle)], {**os.environ, **settings}
    if board:
        *emulator, path = board.command([program], cpu="max")
        variables = [part for name, value in settings.items() for part in ("-E", f"{name}={value}")]
        command, environment = [*emulator, *variables, path, str(bundle)], dict(os.environ)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the stand-in for libcuda.so.1, for 64-bit ARM and for this machine."""
    folders = {}
    for machine, target in (("arm", "jetson-nano:cpu"), ("here", "x86-64-v2")):
        folders[machine] = tmp_path_factory.mktemp("driver")
        flags = ("-shared", "-fPIC", "-DSTUB_GRAPHS=11", f"-I{TESTS}", str(TESTS / "stub_code.c"))
        build_program(
            TESTS / "stub_cuda.c", folders[machine] / "libcuda.so.1", toolchain_for(load_target(target)), flags
        )
    return folders


def keeps_the_rules(
    bundle: Path, folder: Path, board: VirtualBoard | None, driver: Path, capability: int, version: int
) -> None:
    """Three frames beside a stand-in for that GPU's driver, which ends the process at the first call that is wrong."""
    counts = folder / "counts"
    settings = {"STUB_CUDA": f"capability={capability} version={version}", "STUB_CUDA_COUNTS": str(counts)}
    name, *_ = frames(bundle, folder, board, driver, **settings)
    assert name == f"{bundle.name}:gpu"
    done = json.loads(counts.read_text())
    assert done["opened"] == 1 and done["graph_launches"] == 3
    source = (gpu_build(bundle) / "tiny_gpu.c").read_text()
    (begins,) = re.findall(r"\.begins = \{(\d+), (\d+), (\d+), (\d+), (\d+)\}", source)
    packed, nv12, network, decode = (int(b) - int(a) for a, b in itertools.pairwise(begins))
    assert done["launches"] == 4 * (packed + network + decode)
    assert done["captured"] == (packed + network + decode) + (nv12 + network + decode) + network
    assert done["uploads"] == 1 + 4  # weights, and one a box


@pytest.mark.slow
@pytest.mark.parametrize("target", JETSONS)
def test_bundle__virtual_board_with_and_without_a_driver__gpus_library_keeps_its_rules_cpus_runs(
    made: Made, virtual: Callable[[str], VirtualBoard], drivers: dict[str, Path], tmp_path: Path, target: str
):
    bundle, board = made(target), virtual("raspberry-pi-4")
    version = {"10.2": 10020, "11.4": 11040, "13.0": 13000}[str(load_target(target).gpu.driver)]
    keeps_the_rules(bundle, tmp_path, board, drivers["arm"], JETSONS[target], version)
    name, nose = frames(bundle, tmp_path, board, None)
    assert name == f"{target}:cpu"
    assert all(float(number) == float(number) for number in nose.split())


@pytest.mark.slow
def test_bundle__host_cuda__rules_kept_on_each_card_and_a_later_one_and_cpus_library_without_a_driver(
    made: Made, drivers: dict[str, Path], tmp_path: Path
):
    bundle = made("host-cuda")
    images = re.findall(r"\{TVMPOSE_(\w+), (\d+), \d+, \d+\}", (gpu_build(bundle) / "tiny_gpu.c").read_text())
    assert images == [*(("CUBIN", capability) for capability in ("75", "86", "89", "90")), ("PTX", "75")]
    for capability in (75, 86, 89, 90, 120):  # the last takes the PTX
        keeps_the_rules(bundle, tmp_path, None, drivers["here"], capability, 12080)
    name, nose = frames(bundle, tmp_path, None, None)
    assert name == "host-cuda:cpu"
    assert all(float(number) == float(number) for number in nose.split())


def test_load_target__cpu_of_a_target_with_a_gpu__that_alone():
    for target in shipped_targets():
        if target.gpu and target.gpu.api == "cuda":
            alone = load_target(f"{target.name}:cpu")
            assert (alone.gpu, alone.cpu, alone.triple) == (None, target.cpu, target.triple)
