"""cuda.c against a libcuda.so.1 that runs nothing and minds the rules (stub_cuda.c), with kernels by NVRTC."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runtime.conftest import CSRC, Builder
from tvmpose.codegen.cuda import cuda_images
from tvmpose.codegen.gpu_source import Image
from tvmpose.devices.board import VirtualBoard

KERNELS = """
extern "C" __global__ void __launch_bounds__(64) warp(const unsigned char* pixels, float* x) {
  x[threadIdx.x] = pixels[threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(64) layer(const float* x, const float* weights, float* y) {
  __shared__ float tile[64];
  int i = threadIdx.y * 16 + threadIdx.x;
  tile[i] = x[i];
  __syncthreads();
  y[i] = tile[63 - i] * weights[i];
}
"""
STUB = ("stub_cuda.c", "stub_code.c", "-shared", "-fPIC", "-fvisibility=default")
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FUNCTIONS = re.findall(r'^CUDA_(?:FUNCTION|OPTIONAL)\(\w+, "(\w+)"', (CSRC / "cuda_api.h").read_text(), re.MULTILINE)


Images = Sequence[Image]


@dataclass(frozen=True)
class Outcome:
    status: int  # tvmpose_status; 0 where all went well
    line: str
    counts: dict[str, int]  # what the driver was asked to do


@pytest.fixture(scope="session")
def images() -> tuple[Image, ...]:
    return cuda_images(KERNELS, ["sm_87"], "11.4")


@dataclass(frozen=True)
class Laboratory:
    """Runs test_cuda.c beside the stub."""

    build: Builder
    folder: Path

    def program(self, images: Images, *flags: str, compiler: str = "cc") -> Path:
        return self.build("test_cuda.c", "cuda_model.c", *self.code(images), *flags, "-ldl", compiler=compiler)

    def run(
        self,
        images: Images,
        *words: str,  # of STUB_CUDA
        flags: Sequence[str] = (),
        stub: str = "-DSTUB_GRAPHS=11",
        under: Sequence[str] = (),
        compiler: str = "cc",
        board: VirtualBoard | None = None,
    ) -> Outcome:
        built = self.program(images, *flags, compiler=compiler)
        driver = self.build(*STUB, stub, *flags, compiler=compiler)
        folder = self.folder / f"{driver.name}-driver"
        folder.mkdir(exist_ok=True)
        if not (folder / "libcuda.so.1").exists():
            (folder / "libcuda.so.1").symlink_to(driver)
        counts = folder / "counts"
        counts.unlink(missing_ok=True)
        settings = {"LD_LIBRARY_PATH": str(folder), "STUB_CUDA": " ".join(words), "STUB_CUDA_COUNTS": str(counts)}
        command = [*under, str(built)]
        if board:
            *emulator, program = board.command([built])
            variables = (part for name, value in settings.items() for part in ("-E", f"{name}={value}"))
            command, settings = [*emulator, *variables, program], {}
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        (printed,) = set(done.stdout.splitlines())  # two handles may fail alike
        status, _, line = printed.partition(" ")
        found = json.loads(counts.read_text()) if counts.exists() else {}
        return Outcome(0 if status == "ok" else int(status), line, found)

    def code(self, images: Images) -> list[str]:
        """The flags of cuda_model.c for these images."""
        rows, code = [], b""
        for image in images:
            rows.append(f"{{TVMPOSE_{image.kind}, {image.capability}, {len(code)}, {len(image.code)}}}")
            code += image.code + bytes(8 - len(image.code) % 8)
        path = self.folder / hashlib.sha256(code).hexdigest()
        path.write_bytes(code)
        return [f'-DCODE="{path}"', f"-DCODE_IMAGES={{{', '.join(rows)}}}"]


@pytest.fixture(scope="session")
def laboratory(build: Builder, tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return Laboratory(build, tmp_path_factory.mktemp("cuda"))


def test_bundle__frames_of_two_handles__a_copy_in_a_graph_and_the_results_out(laboratory: Laboratory, images: Images):
    done = laboratory.run(images)
    assert (done.status, done.line) == (0, "")
    uses, frames, tensors = 3, 6, 1  # as test_cuda.c does; one of the frames takes its times
    counts = done.counts
    assert counts["opened"] == 2
    assert counts["uploads"] == 2 + uses * (frames + tensors)  # weights, then one a frame
    assert counts["downloads"] == uses * (2 * frames + tensors)  # keypoints and score, or the output
    assert counts["graph_launches"] == uses * (frames - 1 + tensors)
    assert counts["launches"] == uses * (4 * frames + tensors)
    assert counts["captured"] == 2 * 2 * (4 + 4 + 1)  # each kind of frame, at open and for the larger picture
    assert counts["allocations"] == 2 * (5 + 2)  # nothing after that


@pytest.mark.parametrize("stub, graphs", [("-DSTUB_GRAPHS=10", True), ("-DSTUB_NO_GRAPHS", False)])
def test_bundle__driver_without_graphs_or_with_older_ones__same_launches(
    laboratory: Laboratory, images: Images, stub: str, graphs: bool
):
    done = laboratory.run(images, stub=stub)
    assert (done.status, done.counts["launches"]) == (0, 75)
    assert bool(done.counts["graph_launches"]) == graphs


@pytest.mark.parametrize(
    "words, status, line",
    [
        ("no_device", 6, "compiled for an NVIDIA GPU, and the driver finds none here"),
        ("cuInit=803", 6, "starting the driver on CUDA: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)"),
        ("capability=53", 6, "compiled for compute capability 8.7 and later, Stub sm_53 has 5.3"),
        ("allocation=1", 7, "no memory for 1024 bytes on Stub sm_87: CUDA_ERROR_OUT_OF_MEMORY (2)"),
        ("allocation=5", 7, "no pinned memory for 256 bytes on Stub sm_87: CUDA_ERROR_OUT_OF_MEMORY (2)"),
        ("allocation=11", 7, "no memory for 9472 bytes on Stub sm_87: CUDA_ERROR_OUT_OF_MEMORY (2)"),
        ("cuDevicePrimaryCtxRetain=2", 7, "a context on Stub sm_87: CUDA_ERROR_OUT_OF_MEMORY (2)"),
        ("cuLaunchKernel=700", 9, "warp on Stub sm_87: CUDA_ERROR_ILLEGAL_ADDRESS (700)"),
        ("cuGraphLaunch=700", 9, "a frame on Stub sm_87: CUDA_ERROR_ILLEGAL_ADDRESS (700)"),
    ],
)
def test_open_or_frame__what_the_driver_refuses__one_line_and_nothing_left(
    laboratory: Laboratory, images: Images, words: str, status: int, line: str
):
    done = laboratory.run(images, words, flags=ADDRESS)
    assert (done.status, done.line) == (status, line)


@pytest.mark.parametrize("words", ["capability=89", "no_cubins"])
def test_open__no_cubin_for_this_gpu_or_driver__ptx_taken(laboratory: Laboratory, images: Images, words: str):
    assert laboratory.run(images, words).status == 0


def test_open__driver_older_than_the_ptx__told_its_version(laboratory: Laboratory, images: Images):
    done = laboratory.run(images[1:], "version=11020")
    expected = (
        "loading the kernels on Stub sm_87: CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222); its driver is for CUDA 11.2"
    )
    assert (done.status, done.line) == (6, f"{expected}: update it")


@pytest.mark.slow
def test_open__jetpack_4__its_driver_takes_the_ptx_where_the_cubin_is_too_new(laboratory: Laboratory):
    done = laboratory.run(
        cuda_images(KERNELS, ["sm_53"], "10.2"),
        *("capability=53", "version=10020", "no_cubins"),
        stub="-DSTUB_GRAPHS=10",
    )
    assert (done.status, done.line) == (0, "")


def test_open__damaged_code__one_line_and_nothing_left(laboratory: Laboratory, images: Images):
    def damaged(image: Image) -> Image:
        return Image(image.kind, bytes(64) + image.code[64:], image.capability)

    done = laboratory.run([damaged(image) for image in images], flags=ADDRESS)
    expected = (
        "loading the kernels on Stub sm_87: CUDA_ERROR_INVALID_IMAGE (200); its driver is for CUDA 11.4: update it"
    )
    assert (done.status, done.line) == (6, expected)


def test_open__driver_without_a_function__named(laboratory: Laboratory, images: Images):
    done = laboratory.run(images, stub="-DSTUB_ANCIENT")
    assert (done.status, done.line) == (6, "this machine's CUDA driver is too old: it has no cuMemHostAlloc: update it")


def test_open__no_driver__one_line(laboratory: Laboratory, images: Images, tmp_path: Path):
    built = laboratory.program(images)
    printed = subprocess.run([built], env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}, capture_output=True).stdout
    assert printed == b"6 compiled for an NVIDIA GPU, and this machine has no libcuda.so.1: install its driver\n"


@pytest.mark.slow
@pytest.mark.parametrize("call", range(1, 8))
def test_every_function__its_nth_call_fails__one_line_and_nothing_left(
    laboratory: Laboratory, images: Images, call: int
):
    for function in FUNCTIONS:
        if re.search(
            "Free|Destroy|Unload|Release|Pop|Version|ErrorName|GetCount|DeviceGet$|GetName|GetAttribute", function
        ):
            continue  # after these there is nothing that could be put right, or nothing is asked of them that can fail
        done = laboratory.run(images, f"{function}=700@{call}", flags=ADDRESS)
        assert done.status in (0, 6, 9), f"{function}: {done}"
        assert (done.status == 0) == (done.line == ""), f"{function}: {done}"


@pytest.mark.slow
def test_frames__valgrind__no_report(laboratory: Laboratory, images: Images):
    valgrind = shutil.which("valgrind") or pytest.skip("valgrind is not installed")
    options = ["--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite,indirect"]
    assert laboratory.run(images, under=(valgrind, *options)).status == 0


@pytest.mark.slow
def test_frames__two_threads__no_race(laboratory: Laboratory, images: Images):
    setarch = shutil.which("setarch") or pytest.skip("setarch is not installed")
    assert laboratory.run(images, flags=("-fsanitize=thread",), under=(setarch, platform.machine(), "-R")).status == 0


@pytest.mark.slow  # zig builds glibc for aarch64 first
def test_frames__on_a_virtual_board__same_calls(
    laboratory: Laboratory, images: Images, virtual: Callable[[str], VirtualBoard]
):
    board, flags = virtual("raspberry-pi-4"), ("--target=aarch64-linux-gnu.2.31",)
    here, there = laboratory.run(images), laboratory.run(images, flags=flags, compiler="zig", board=board)
    assert here == there
