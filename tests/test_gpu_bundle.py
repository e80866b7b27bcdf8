"""Bundles for a GPU, from pixels to keypoints on PoCL, against float64 NumPy and the source model's own runtime."""

import itertools
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from torch import nn

from tests.opencl import require_opencl
from tests.tiny import Tiny, write_tiny, write_tiny_quantized
from tvmpose.cards import Card, load_card
from tvmpose.codegen import half_storage
from tvmpose.codegen.bundle import refuse_other_files
from tvmpose.compact import Compact
from tvmpose.compile import Report, compile_model, resolve
from tvmpose.errors import InputError, ModelError
from tvmpose.nets import random_weights
from tvmpose.pose import reference
from tvmpose.quantize.request import Request
from tvmpose.runtime.pose import load
from tvmpose.targets import Target, load_target

BOXES = [(3.0, 4.0, 30.0, 20.0), (20.0, 10.0, 44.0, 33.0)]
MODELS = Path(__file__).parents[1] / "models"
RANDOMIZE = random_weights.randomize
NO_DRIVERS = {"OCL_ICD_VENDORS": "/nowhere"}  # what the loader of drivers then finds


def compile_for(target: Target, tiny: Tiny, output: Path, **changes: object) -> Report:
    options = resolve(str(tiny.model), card=str(tiny.card), target=target, output=output, samples=tiny.samples)
    return compile_model(replace(options, **changes))


@pytest.fixture(scope="module")
def tiny_mean(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny network, whose crop is averaged over what an output pixel covers."""
    tiny = write_tiny(tmp_path_factory.mktemp("gpu") / "tiny")
    tiny.card.write_text(tiny.card.read_text().replace('"point"', '"mean"'))
    return tiny


@pytest.fixture(scope="module")
def bundle(tiny_mean: Tiny) -> tuple[Path, Report]:
    """With the CPU's kernels too."""
    require_opencl()
    folder = tiny_mean.model.parent.parent / "bundle"
    return folder, compile_for(load_target("host-opencl").with_fallback(), tiny_mean, folder)


def expected(tiny: Tiny, card: Card, image: np.ndarray, pixel_format: str, matrix: np.ndarray) -> np.ndarray:
    size = (card.input.width, card.input.height)
    settings = {"colour": card.input.colour, "mean": card.input.mean, "std": card.input.std}
    crop = {"border": card.crop.border, "downscale": card.crop.downscale}
    picture = reference.warp(image, pixel_format, matrix, input_size=size, **settings, **crop)
    session = onnxruntime.InferenceSession(tiny.model)
    outputs = session.run(None, {"image": picture.transpose(2, 0, 1)[None].astype("float32")})
    keypoints, _ = reference.decode(card.head, outputs, matrix, num_keypoints=17, input_size=size, half_pixel=False)
    return keypoints


def test_compile__gpu_with_fallback__both_libraries_verified(bundle: tuple[Path, Report]):
    entries = bundle[1].manifest.libraries
    assert [entry.target for entry in entries] == ["host-opencl:gpu", "host-opencl:cpu"]
    assert {entry.verification.status for entry in entries} == {"verified"}
    assert entries[0].verification.max_px < 0.01


@pytest.mark.parametrize("pixel_format", ["rgb", "bgr", "rgba", "bgra", "nv12"])
def test_run__any_pixel_format__keypoints_of_the_source(
    bundle: tuple[Path, Report], tiny_mean: Tiny, pixel_format: str
):
    card = load_card(str(tiny_mean.card))
    photo = cv2.imread(str(next(tiny_mean.samples.iterdir())))
    extra = np.full((*photo.shape[:2], 1), 7, np.uint8)
    rgb = photo[..., ::-1]
    images = {"rgb": rgb, "bgr": photo, "rgba": np.dstack([rgb, extra]), "bgra": np.dstack([photo, extra])}
    image = np.ascontiguousarray(images.get(pixel_format, nv12_of(photo)))
    with load(bundle[0]) as network:
        people = network(image, boxes=BOXES, format=pixel_format)
    for box, person in zip(BOXES, people, strict=True):
        matrix = reference.box_matrix(box, (72, 48), (32, 24), 1.25, False)
        theirs = expected(tiny_mean, card, image, pixel_format, matrix)
        np.testing.assert_allclose(person.keypoints, theirs, rtol=1e-4, atol=2e-3)


def nv12_of(photo: np.ndarray) -> np.ndarray:
    planar = cv2.cvtColor(photo, cv2.COLOR_BGR2YUV_I420)
    height, width = photo.shape[:2]
    chroma = planar[height:].reshape(2, height // 2, width // 2).transpose(1, 2, 0).reshape(height // 2, width)
    return np.vstack([planar[:height], chroma])


def test_run__two_handles_at_once_and_growing_frames__same_keypoints(bundle: tuple[Path, Report]):
    random = np.random.default_rng(5)
    images = [random.integers(0, 256, (side, side, 3), np.uint8) for side in (16, 1400, 64)]  # one of over 4 MB
    with load(bundle[0]) as network:
        alone = [network(image)[0].keypoints.copy() for image in images]
    found: dict[int, list[np.ndarray]] = {}

    def frames(index: int) -> None:
        with load(bundle[0]) as network:
            found[index] = [network(image)[0].keypoints.copy() for image in images * 3]

    threads = [threading.Thread(target=frames, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results in found.values():
        np.testing.assert_array_equal(results, alone * 3)
    assert len(found) == 2


def test_load__no_driver__fallback_runs_else_one_line(bundle: tuple[Path, Report], tiny_mean: Tiny, tmp_path: Path):
    check = [sys.executable, "pose.py", "--check"]
    environment = {**os.environ, **NO_DRIVERS}
    done = subprocess.run(check, cwd=bundle[0], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compile_for(load_target("host-opencl"), tiny_mean, tmp_path / "alone", verify=False)
    code = f"import pose\ntry: pose.load({str(tmp_path / 'alone')!r})\nexcept pose.PoseError as e: print(e)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "alone", env=environment, capture_output=True, text=True
    )
    assert "compiled for a GPU, and this machine's OpenCL has none" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1


@pytest.mark.slow
def test_compile__float16__stored_in_half_and_keypoints_within_half_a_pixel(
    tiny_mean: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    require_opencl()
    folder = tmp_path / "dump"
    monkeypatch.setattr(half_storage, "KEPT_BYTES", 0)  # all of this network is small
    changes = {"weights": Compact.FLOAT16, "accept_loss": True, "dump": folder}
    report = compile_for(load_target("host-opencl"), tiny_mean, tmp_path / "half", **changes)
    assert report.findings is not None and report.findings.max_px < 0.5
    source = (folder / "build" / "code.bin").read_text()
    assert "vload_half" in source and "vstore_half" in source


def in_its_linear_range(net: nn.Module) -> None:
    """Random weights, and biases with which hardly any number meets an activation's bounds.

    Rounding is then not magnified from layer to layer, as it is by random weights, and is not by trained ones.
    """
    RANDOMIZE(net)
    for layers in net.modules():
        if isinstance(layers, nn.Sequential):
            for norm, activation in itertools.pairwise(layers):
                if isinstance(norm, nn.BatchNorm2d) and isinstance(activation, (nn.ReLU, nn.ReLU6)):
                    norm.bias.fill_(3.0)  # of batch norm's standard deviations


@pytest.mark.slow
def test_compile__float16_of_mobilenetv2_that_magnifies_nothing__heatmaps_within_a_hundredth_and_joints_stay(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    require_opencl()
    monkeypatch.setattr(random_weights, "randomize", in_its_linear_range)
    model, target = MODELS / "mobilenetv2-deconv", load_target("host-opencl")
    options = resolve(str(model), card=None, target=target, output=tmp_path / "half", samples=photos)
    report = compile_model(replace(options, weights=Compact.FLOAT16))
    assert report.findings is not None and report.findings.joints > 40
    assert 1e-4 < report.findings.tensors_max_relative < 1e-2  # below it nothing was rounded
    assert report.findings.p95_px < 0.5  # some heatmaps have two peaks within a hundredth of each other


def test_compile__over_a_bundle_with_a_kept_program__replaces_it(bundle: tuple[Path, Report]):
    load(bundle[0]).close()
    assert list(bundle[0].glob("libtiny-gpu.so.*.clbin"))
    refuse_other_files(bundle[0])  # does not raise
    (bundle[0] / "libtiny-gpu.so.notes").touch()
    with pytest.raises(InputError, match="notes"):
        refuse_other_files(bundle[0])


def test_compile__quantized__refused_in_one_line(tmp_path: Path):
    with pytest.raises(ModelError, match="quantized models have no kernels for GPUs yet"):
        compile_for(load_target("host-opencl"), write_tiny_quantized(tmp_path), tmp_path / "q", verify=False)


@pytest.mark.parametrize("changes", [{"weights": Compact.BFLOAT16}, {"quantization": Request(Path("no photos"))}])
def test_compile__precision_without_kernels__refused_in_one_line(
    tiny_mean: Tiny, tmp_path: Path, changes: dict[str, object]
):
    with pytest.raises(InputError, match=r"--precision \w+: host-opencl computes on a GPU, which has no such kernels"):
        compile_for(load_target("host-opencl"), tiny_mean, tmp_path / "refused", verify=False, **changes)


def test_compile__guard_bytes_or_no_gpu__refused(tiny_mean: Tiny, tmp_path: Path):
    with pytest.raises(InputError, match="computes on a GPU"):
        compile_for(load_target("host-opencl"), tiny_mean, tmp_path / "guarded", guard_bytes=64, verify=False)
    with pytest.raises(InputError, match="x86-64-v3 has no GPU"):
        load_target("x86-64-v3").with_fallback()


@pytest.mark.slow  # cross-compilers build C libraries first
@pytest.mark.parametrize("name", ["android-adreno", "android-mali", "rk3588-mali"])
def test_compile__gpu_of_a_phone_or_board__its_schedules_verified_here(tiny_mean: Tiny, tmp_path: Path, name: str):
    require_opencl()
    report = compile_for(load_target(name), tiny_mean, tmp_path / name)
    (entry,) = report.manifest.libraries
    assert entry.verification.status == "host-equivalent only"
    assert entry.verification.max_px < 0.01
