"""BlazePose lite, compiled: against LiteRT, from C, under the sanitizers, and beside others in one process."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import CLEAR_PHOTOS, Compile, Compiled
from tests.runtime.conftest import Builder, run
from tests.runtime.test_csrc import ADDRESS, EXAMPLE, linux, without_random_addresses
from tests.tiny import Tiny
from tvmpose.baselines.judge import Judge, open_judge
from tvmpose.compile import compile_model, resolve
from tvmpose.runtime import load
from tvmpose.runtime.pose import open_library
from tvmpose.targets import load_target

SIZE = 256  # of the network's input, both ways


def own_c(compiled: Compiled, folder: Path | None = None) -> list[str]:
    """The generated C, to be compiled again with other flags, and the objects beside it."""
    folder = folder or compiled.build
    return [str(folder / f"{compiled.name}.c"), *(str(compiled.build / name) for name in ("kernels.o", "weights.o"))]


def compiled_tiny(tiny: Tiny, folder: Path, target: str) -> Compiled:
    settings = {"card": str(tiny.card), "target": load_target(target), "samples": tiny.samples, "static": True}
    options = resolve(str(tiny.model), output=folder / "bundle", dump=folder, **settings)
    return Compiled(folder / "bundle", folder / "build", options.card, compile_model(options))


@pytest.fixture
def ppms(photos: Path, tmp_path: Path) -> list[Path]:
    """The clear photos as PPM."""
    paths = [tmp_path / f"{Path(name).stem}.ppm" for name in CLEAR_PHOTOS]
    for name, path in zip(CLEAR_PHOTOS, paths, strict=True):
        cv2.imwrite(str(path), cv2.imread(str(photos / name)))
    return paths


# Keypoints


def bilinear(size: int, scale: float, offset: float, extent: int) -> np.ndarray:
    """(size, extent) float64: the weights that sample a row of pixels at offset + scale * i, zero beyond its ends."""
    positions = offset + scale * np.arange(size)
    return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(extent)))


def judged_keypoints(judge: Judge, picture: np.ndarray) -> tuple[np.ndarray, float]:
    """(33, 2) in pixels of the BGR picture by LiteRT, and the picture's pixels to a pixel of the network's input."""
    height, width = picture.shape[:2]
    scale = max(width, height) / SIZE
    x, y = ((extent - scale * SIZE) / 2 for extent in (width, height))
    rows, columns = bilinear(SIZE, scale, y, height), bilinear(SIZE, scale, x, width)
    crop = np.einsum("ih,hwc,jw->ijc", rows, picture[..., ::-1] / 255.0, columns, optimize=True)
    landmarks = judge.run([crop[None].astype(np.float32)])[0].reshape(39, 5)
    return landmarks[:33, :2].astype(np.float64) * scale + (x, y), scale


def assert_agrees_with_litert(compiled: Compiled, data: Path, count: int) -> None:
    judge = open_judge(data / "models" / "pose_landmark_lite.tflite", "tflite", threads=2)
    paths = sorted((data / "coco" / "val2017").glob("*.jpg"))
    assert len(paths) == 100
    with load(compiled.bundle) as pose:
        for path in paths[:: len(paths) // count]:
            picture = cv2.imread(str(path))
            expected, scale = judged_keypoints(judge, picture)
            (person,) = pose(picture)
            distance = np.linalg.norm(person.keypoints[:, :2] - expected, axis=1).max() / scale
            assert distance <= 0.1, f"{path.name}: {distance:.3f} px"


def test_keypoints__ten_photos__within_a_tenth_of_a_pixel_of_litert(blazepose_lite: Compiled, data: Path):
    assert_agrees_with_litert(blazepose_lite, data, 10)


def test_keypoints__box_turned_with_the_picture__are_those_of_the_upright_one(blazepose_lite: Compiled, photos: Path):
    picture = cv2.imread(str(photos / CLEAR_PHOTOS[0]))
    height, width = picture.shape[:2]
    x, y, side, _ = box = (width / 2 - 160, height / 2 - 160, 320, 320)
    quarter = np.ascontiguousarray(np.rot90(picture, -1))  # clockwise
    with load(blazepose_lite.bundle) as pose:
        (upright,) = pose(picture, [box])
        (turned,) = pose(quarter, [(height - 1 - (y + side), x, side, side)], angles=[np.pi / 2])
    expected = np.stack([height - 1 - upright.keypoints[:, 1], upright.keypoints[:, 0]], axis=1)
    np.testing.assert_allclose(turned.keypoints[:, :2], expected, atol=0.05)


@pytest.mark.slow
def test_keypoints__hundred_photos__within_a_tenth_of_a_pixel_of_litert(blazepose_lite: Compiled, data: Path):
    assert_agrees_with_litert(blazepose_lite, data, 100)


def test_bundle__copied_elsewhere__checks_itself_with_numpy_alone(blazepose_lite: Compiled, tmp_path: Path):
    shutil.copytree(blazepose_lite.bundle, tmp_path / "board")
    assert run(sys.executable, tmp_path / "board" / "pose.py", "--check").startswith("ok: 33 keypoints within")


# The library as a file


@linux
def test_library__dynamic_section__exports_one_symbol_and_needs_only_libc(blazepose_lite: Compiled):
    library = blazepose_lite.library
    exported = [line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()]
    assert exported == [f"{blazepose_lite.name}_tvmpose"]
    assert not re.search("tvm", run("nm", "-D", "--undefined-only", library), re.IGNORECASE)
    needed = re.findall(r"^\s*(?:(\S+) => )?\S*?([^\s/]+) \(0x", run("ldd", library), re.MULTILINE)
    allowed = {"linux-vdso.so.1", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}
    assert {named or path for named, path in needed} <= allowed


# From C


def printed_keypoints(text: str) -> np.ndarray:
    """(K, 3) that examples/c/pose.c printed with three decimals."""
    return np.array([line.split()[2:] for line in text.splitlines()], dtype=np.float64)


def expected_keypoints(compiled: Compiled, picture: Path) -> np.ndarray:
    with load(compiled.bundle) as pose:
        return pose(cv2.imread(str(picture)))[0].keypoints


def assert_prints_the_same(program: list[str | Path], compiled: Compiled, pictures: list[Path]) -> None:
    for picture in pictures:
        found = printed_keypoints(run(*program, picture))
        np.testing.assert_allclose(found, expected_keypoints(compiled, picture), rtol=0, atol=5.1e-4)


def test_example__photos_as_ppm__same_keypoints_as_from_python(
    build: Builder, blazepose_lite: Compiled, ppms: list[Path]
):
    folder, name = blazepose_lite.bundle, blazepose_lite.name
    program = build(EXAMPLE, f"-DPOSE={name}_tvmpose", f"{folder}/lib{name}.so", f"-Wl,-rpath,{folder}")
    assert_prints_the_same([program], blazepose_lite, ppms)


def test_example__own_c_under_sanitizers__same_keypoints_and_no_report(
    build: Builder, blazepose_lite: Compiled, ppms: list[Path]
):
    program = build(EXAMPLE, *own_c(blazepose_lite), f"-DPOSE={blazepose_lite.name}_tvmpose", *ADDRESS)
    assert_prints_the_same([program], blazepose_lite, ppms)


@pytest.mark.parametrize("flags", [(), ADDRESS], ids=["plain", "sanitized"])
def test_api__real_bundle__every_function_and_refusal(build: Builder, blazepose_lite: Compiled, flags: tuple[str, ...]):
    api = f"-DPOSE_API={blazepose_lite.name}_tvmpose"
    assert run(build("test_api.c", *own_c(blazepose_lite), api, *flags)) == "ok\n"


def test_frame__real_bundle__allocates_nothing(build: Builder, blazepose_lite: Compiled):
    api = f"-DPOSE_API={blazepose_lite.name}_tvmpose"
    assert run(build("count_allocations.c", *own_c(blazepose_lite), api)) == "ok\n"


def test_handles__four_at_once_on_a_real_bundle__no_race(build: Builder, blazepose_lite: Compiled):
    api = f"-DPOSE_API={blazepose_lite.name}_tvmpose"
    program = build("test_threads.c", *own_c(blazepose_lite), api, "-fsanitize=thread")
    assert run(*without_random_addresses(program)) == "ok\n"


# valgrind, which knows no AVX-512 and takes eight seconds for a frame of BlazePose

VALGRIND = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all"]
valgrind = pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")


@valgrind
def test_api__small_bundle_without_avx512_under_valgrind__no_report(build: Builder, tiny: Tiny, tmp_path: Path):
    bundle = compiled_tiny(tiny, tmp_path, "x86-64-v3")
    program = build("test_api.c", *own_c(bundle), "-DPOSE_API=tiny_tvmpose")
    assert run(*VALGRIND, "--errors-for-leak-kinds=all", program) == "ok\n"


@valgrind
@pytest.mark.slow
def test_example__real_bundle_without_avx512_under_valgrind__same_keypoints_and_no_report(
    build: Builder, compiled: Compile, ppms: list[Path]
):
    bundle = compiled("pose_landmark_lite.tflite", "blazepose-lite", target="x86-64-v3")
    program = build(EXAMPLE, *own_c(bundle), f"-DPOSE={bundle.name}_tvmpose")
    assert_prints_the_same([*VALGRIND, "--errors-for-leak-kinds=all", program], bundle, ppms[:2])


# Guard bands


@pytest.fixture(scope="session")
def guarded(compiled: Compile) -> Compiled:
    return compiled("pose_landmark_lite.tflite", "blazepose-lite", guard_bytes=256)


def test_guards__every_kernel_on_several_photos__hold(guarded: Compiled, blazepose_lite: Compiled, ppms: list[Path]):
    with load(guarded.bundle) as checked, load(blazepose_lite.bundle) as plain:
        assert checked.info.arena_bytes > plain.info.arena_bytes
        for path in ppms:
            picture = cv2.imread(str(path))
            boxes = [(0, 0, 120, 200), (50, 20, 300, 300)]
            for ours, theirs in zip(checked(picture, boxes), plain(picture, boxes), strict=True):
                np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)


def test_guards__plan_with_two_tensors_over_each_other__are_caught(
    build: Builder, guarded: Compiled, ppms: list[Path], tmp_path: Path
):
    """The tensor at the arena's end is moved into the one at its start, which some kernel writes."""
    source = (guarded.build / f"{guarded.name}.c").read_text()
    offsets = [int(offset) for offset in re.findall(r"TVMPOSE_IN_ARENA, (\d+)\}", source)]
    end = f"TVMPOSE_IN_ARENA, {max(offsets)}}}"
    assert source.count(end) == 1
    moved = source.replace(end, f"TVMPOSE_IN_ARENA, {min(offsets) + 64}}}")
    (tmp_path / f"{guarded.name}.c").write_text(moved)
    program = build(EXAMPLE, *own_c(guarded, tmp_path), f"-DPOSE={guarded.name}_tvmpose")
    done = subprocess.run([program, ppms[0]], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"kernel \w+ wrote (past the end|before the start) of tensor \d+ \(.*\)\n", done.stderr)


# In one process with others


def test_archives__two_bundles_in_one_program__both_run_right(
    build: Builder, blazepose_lite: Compiled, tiny: Tiny, ppms: list[Path], tmp_path: Path
):
    bundles = (blazepose_lite, compiled_tiny(tiny, tmp_path, "host"))
    objects = [
        str(build(EXAMPLE, "-c", f"-DPOSE={bundle.name}_tvmpose", f"-Dmain=main_{i}"))
        for i, bundle in enumerate(bundles)
    ]
    both = tmp_path / "both.c"
    both.write_text(
        "int main_0(int, char **), main_1(int, char **);\n"
        "int main(int argc, char **argv) { return main_0(argc, argv) || main_1(argc, argv); }\n"
    )
    archives = [str(bundle.bundle / f"lib{bundle.name}.a") for bundle in bundles]
    found = printed_keypoints(run(build(str(both), *objects, *archives), ppms[0]))
    expected = np.concatenate([expected_keypoints(bundle, ppms[0]) for bundle in bundles])
    np.testing.assert_allclose(found, expected, rtol=0, atol=5.1e-4)


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


@linux
def test_tvm_loader__has_loaded_the_library__our_pool_and_results_stay(blazepose_lite: Compiled, photos: Path):
    tvm = pytest.importorskip("tvm", reason="TVM is not installed")
    picture = cv2.imread(str(photos / CLEAR_PHOTOS[0]))

    def find() -> tuple[np.ndarray, int]:
        before = thread_count()
        with open_library(blazepose_lite.library, blazepose_lite.name, threads=3) as pose:
            return pose(picture)[0].keypoints, thread_count() - before

    keypoints, threads = find()
    loaded = tvm.runtime.load_module(str(blazepose_lite.library))
    again, threads_again = find()
    assert threads == threads_again == 2
    np.testing.assert_array_equal(again, keypoints)
    del loaded
