"""The two real quantized models: every kernel against the source's on its own integers, and the whole end to end."""

import os
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import cv2
import numpy as np
import pytest

from tests.tflite_steps import single_steps
from tvmpose.baselines.litert import open_model
from tvmpose.codegen.library import compile_library
from tvmpose.frontend.tflite import load, steps
from tvmpose.kernels.requantize import Rounding
from tvmpose.runtime.pose import Pose, open_library
from tvmpose.targets import host_target

DATA = os.environ.get("TVMPOSE_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")
MODELS = Path(DATA or ".") / "models"
POSENET = MODELS / "posenet_mobilenet_v1_075_353_481_quant.tflite"
MOVENET = MODELS / "movenet_single_pose_lightning_ptq.tflite"
RESOLVERS = {Rounding.REFERENCE: "reference", Rounding.XNNPACK: "default"}
slow = pytest.mark.slow
# TensorFlow Lite's reference kernels take seconds a photo
WHOLE = {Rounding.REFERENCE: 20, Rounding.XNNPACK: 100}
both_roundings = pytest.mark.parametrize("rounding", RESOLVERS, ids=lambda rounding: rounding.value)


def photos(count: int, height: int, width: int) -> list[np.ndarray]:
    """The first photos of the data, uint8 (1, height, width, 3) RGB."""
    files = sorted((Path(DATA) / "coco" / "val2017").glob("*.jpg"))[:count]
    return [cv2.resize(cv2.imread(str(file)), (width, height))[None, ..., ::-1].copy() for file in files]


@cache
def library(path: Path, rounding: Rounding, alone: bool = False) -> Pose:
    """The model compiled; alone: each kernel is fed and returns, in the order of ``fed`` and ``computed``."""
    module, spec = load(path, computed(path), fed(path)) if alone else load(path)
    folder = Path(mkdtemp())
    built = compile_library(module, spec, None, host_target(), "net", folder, rounding=rounding)
    return open_library(built.path, "net", threads=2)


def fed(path: Path) -> list[str]:
    return list(dict.fromkeys(name for step in steps(path) for name in step.inputs))


def computed(path: Path) -> list[str]:
    return [name for step in steps(path) for name in step.outputs]


def source_tensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of the model on a photo, by LiteRT's reference kernels."""
    judge = open_model(path, threads=2, kernels="reference")
    (photo,) = photos(1, *judge.inputs[0].shape[1:3])
    names = fed(path) + computed(path)
    return dict(zip(names, judge.run([photo], names), strict=True)) | {judge.inputs[0].name: photo}


@both_roundings
@pytest.mark.parametrize("path", [POSENET, pytest.param(MOVENET, marks=slow)], ids=lambda path: path.stem)
def test_kernels__each_fed_the_source_s_integers__are_its_named_kernels(path: Path, rounding: Rounding):
    tensors = source_tensors(path)
    results = library(path, rounding, alone=True).run_tensors([np.ascontiguousarray(tensors[n]) for n in fed(path)])
    found, table, by_xnnpack = dict(zip(computed(path), results, strict=True)), [], set()
    for step in single_steps(path):
        expected, delegated = step.run(tensors, RESOLVERS[rounding])
        by_xnnpack |= {step.operator} if delegated else set()
        for name, tensor in expected.items():
            if tensor.dtype.kind == "f":
                np.testing.assert_allclose(found[name], tensor, rtol=2e-6, err_msg=name)
                continue
            difference = np.abs(found[name].astype("int64") - tensor)
            table.append(((difference == 0).mean(), int(difference.max()), step.operator, name))
    assert len(table) >= 32
    for identical, furthest, operator, name in sorted(table)[:8]:
        print(f"{operator:24}{identical:10.3%}{furthest:4} {name}")
    assert min(row[0] for row in table) >= 0.999
    assert max(row[1] for row in table) <= 1
    convolutions = {"CONV_2D", "DEPTHWISE_CONV_2D"}
    assert by_xnnpack >= convolutions if rounding is Rounding.XNNPACK else not by_xnnpack


@both_roundings
@pytest.mark.parametrize("count", [3, pytest.param(100, marks=slow)])
def test_posenet__whole__outputs_are_the_same_resolver_s(count: int, rounding: Rounding):
    judge, network = open_model(POSENET, threads=2, kernels=RESOLVERS[rounding]), library(POSENET, rounding)
    assert {spec.dtype for spec in judge.outputs} == {"uint8"}
    steps_apart = []
    for photo in photos(min(count, WHOLE[rounding]), 353, 481):
        for found, expected in zip(network.run_tensors([photo]), judge.run([photo]), strict=True):
            steps_apart.append(np.abs(found.astype("int64") - expected).ravel())
    apart = np.concatenate(steps_apart)
    print(f"posenet, {rounding.value}: {np.mean(apart <= 1):.4%} within a step, {np.mean(apart == 0):.4%} identical")
    assert np.mean(apart == 0) >= 0.99  # one odd value grows to many: XNNPACK and reference differ by 93 steps


@both_roundings
@pytest.mark.parametrize("count", [pytest.param(100, marks=slow)])
def test_movenet__whole__sure_keypoints_are_the_same_resolver_s(count: int, rounding: Rounding):
    judge, network = open_model(MOVENET, threads=2, kernels=RESOLVERS[rounding]), library(MOVENET, rounding)
    distances = []
    for photo in photos(min(count, WHOLE[rounding]), 192, 192):
        (expected,), (found,) = judge.run([photo]), network.run_tensors([photo])
        sure = expected[0, 0, :, 2] >= 0.3
        distances.append(np.linalg.norm((found - expected)[0, 0, sure, :2] * 192, axis=-1))
    apart = np.concatenate(distances)
    print(f"movenet, {rounding.value}: median {np.median(apart):.3f} px, p95 {np.percentile(apart, 95):.3f} px")
    assert apart.size > 100
    assert np.percentile(apart, 95) <= 0.5
