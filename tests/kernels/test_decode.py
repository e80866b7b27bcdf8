"""The decode kernels against float64 NumPy."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tvmpose.cards.heads import Head
from tvmpose.errors import ModelError
from tvmpose.pose import reference

tvm = pytest.importorskip("tvm", reason="needs the compiler extra")

from tvmpose.kernels.decode import decode_kernel  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"})
MATRIX = np.array([1.7, -0.3, 12.25, 0.2, 1.9, -40.5])
INPUT_SIZE = (48, 64)

COORDINATES = Head("coordinates", 0, ("y", "x", "score"), "normalized")
LANDMARKS = Head("coordinates", 1, ("x", "y", "z", "score", "presence"), "pixels", "sigmoid", 0, "sigmoid")
HEATMAP = Head("heatmap", 0)
REFINED = Head("heatmap", 0, score_activation="sigmoid", refine="quarter")


@functools.cache
def compiled(head: Head, shape: tuple[int, ...], num_keypoints: int, half_pixel: bool) -> tvm.runtime.Module:
    kernel = decode_kernel(
        head,
        name="decode",
        shape=shape,
        num_keypoints=num_keypoints,
        input_size=INPUT_SIZE,
        half_pixel_centers=half_pixel,
        person_shape=None if head.person_tensor is None else (1, 1),
    )
    return tvm.compile(tvm.IRModule({"decode": kernel}), target=TARGET).mod


def check(head: Head, outputs: list[NDArray[np.float32]], num_keypoints: int, half_pixel: bool) -> NDArray[np.float32]:
    """Compare kernel and reference; return the keypoints."""
    tensors = [outputs[head.tensor]] + ([] if head.person_tensor is None else [outputs[head.person_tensor]])
    keypoints, person = (tvm.runtime.empty((n,), "float32") for n in (num_keypoints * 3, 1))
    kernel = compiled(head, tensors[0].shape, num_keypoints, half_pixel)
    kernel["decode"](*(tvm.runtime.tensor(t) for t in (*tensors, MATRIX)), keypoints, person)
    actual = keypoints.numpy().reshape(num_keypoints, 3)
    expected, expected_person = reference.decode(
        head, outputs, MATRIX, num_keypoints=num_keypoints, input_size=INPUT_SIZE, half_pixel=half_pixel
    )
    np.testing.assert_allclose(actual[:, :2], expected[:, :2], rtol=0, atol=0.01)
    np.testing.assert_allclose(actual[:, 2], expected[:, 2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(person.numpy()[0], expected_person, rtol=1e-5, atol=1e-6)
    return actual


@pytest.mark.parametrize("half_pixel", [False, True])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_decode__coordinates__as_reference(half_pixel: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(COORDINATES, [rng.random((1, 1, 17, 3), np.float32)], 17, half_pixel)
    landmarks = rng.normal(0, 30, (1, 39 * 5)).astype(np.float32)
    check(LANDMARKS, [rng.normal(0, 3, (1, 1)).astype(np.float32), landmarks], 33, half_pixel)


@pytest.mark.parametrize("half_pixel", [False, True])
@pytest.mark.parametrize("head", [HEATMAP, REFINED])
@pytest.mark.parametrize("shape", [(1, 16, 12, 5), (1, 5, 16, 12), (1, 7, 5, 5), (1, 5, 1, 3), (1, 1, 1, 5)])
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_decode__heatmaps_with_equal_maxima__as_reference(half_pixel, head, shape, seed, levels) -> None:
    heatmaps = np.random.default_rng(seed).integers(-levels, levels, shape, endpoint=True) / np.float32(7)
    check(head, [heatmaps.astype(np.float32)], 5, half_pixel)


@pytest.mark.parametrize("shape", [(1, 16, 12, 5), (1, 5, 16, 12)])
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.02, 0.5, 1.0]))
@settings(max_examples=20, deadline=None)
def test_decode__heatmaps_with_nan_and_infinity__keypoints_inside(shape, seed, share) -> None:
    rng = np.random.default_rng(seed)
    heatmaps = rng.normal(size=shape).astype(np.float32)
    odd = rng.choice([np.nan, np.inf, -np.inf], shape).astype(np.float32)
    mixed = np.where(rng.random(shape) < share, odd, heatmaps)
    with np.errstate(invalid="ignore"):
        check(HEATMAP, [mixed], 5, False)
        check(REFINED, [mixed], 5, False)


def test_decode__peak_of_a_heatmap__where_its_definition_says() -> None:
    heatmap = np.zeros((1, 16, 12, 1), np.float32)
    heatmap[0, 5, 3], heatmap[0, 5, 4], heatmap[0, 4, 3] = 0.9, 0.2, 0.1
    for half_pixel, (x, y) in {False: (3.25 * 4, 4.75 * 4), True: (3.75 * 4 - 0.5, 5.25 * 4 - 0.5)}.items():
        keypoint = check(Head("heatmap", 0, refine="quarter"), [heatmap], 1, half_pixel)[0]
        mapped = MATRIX.reshape(2, 3) @ [x, y, 1]
        np.testing.assert_allclose(keypoint, [*mapped, 0.9], rtol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_decode__coordinates_not_finite__passed_on(value: float) -> None:
    rows = np.full((1, 1, 17, 3), value, np.float32)
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(check(COORDINATES, [rows], 17, False)).any()


def test_decode__generated_code__takes_no_workspace() -> None:
    for head, shape in ((COORDINATES, (1, 1, 17, 3)), (LANDMARKS, (1, 195)), (REFINED, (1, 64, 48, 17))):
        assert "TVMBackendAllocWorkspace" not in compiled(head, shape, 17, False).inspect_source("ll")


@pytest.mark.parametrize(
    ("head", "shape", "message"),
    [
        (COORDINATES, (1, 1, 13, 3), "too small"),
        (HEATMAP, (1, 16, 12, 18), "one heatmap for each"),
        (HEATMAP, (16, 12, 17), "one heatmap for each"),
    ],
)
def test_decode__shape_does_not_fit_head__model_error(head, shape, message) -> None:
    with pytest.raises(ModelError, match=message):
        decode_kernel(head, name="d", shape=shape, num_keypoints=17, input_size=(48, 64), half_pixel_centers=False)
