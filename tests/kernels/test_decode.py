"""The decode kernels against float64 NumPy."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tvmpose.cards.heads import AnyHead, CentreHead, Head, SimccHead
from tvmpose.errors import ModelError
from tvmpose.pose import reference

tvm = pytest.importorskip("tvm", reason="needs the compiler extra")

from tvmpose.kernels.decoders import kernel_of  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"})
MATRIX = np.array([1.7, -0.3, 12.25, 0.2, 1.9, -40.5])
INPUT_SIZE = (48, 64)

COORDINATES = Head("coordinates", 0, ("y", "x", "score"), "normalized")
LANDMARKS = Head("coordinates", 1, ("x", "y", "z", "score", "presence"), "pixels", "sigmoid", 0, "sigmoid")
HEATMAP = Head("heatmap", 0)
REFINED = Head("heatmap", 0, score_activation="sigmoid", refine="quarter")
DARK = Head("heatmap", 0, refine="dark")
INTEGRAL = Head("heatmap", 0, refine="integral", beta=20.0)
SIMCC = SimccHead("simcc", 0, 1)
CENTRE = CentreHead("centre", 0, 1, 2, 3, "sigmoid")


@functools.cache
def compiled(
    head: AnyHead, shapes: tuple[tuple[int, ...], ...], num_keypoints: int, half_pixel: bool
) -> tvm.runtime.Module:
    kernel = kernel_of(
        head,
        name="decode",
        shapes=shapes,
        num_keypoints=num_keypoints,
        input_size=INPUT_SIZE,
        half_pixel_centers=half_pixel,
    )
    return tvm.compile(tvm.IRModule({"decode": kernel}), target=TARGET).mod


def check(
    head: AnyHead, outputs: list[NDArray[np.float32]], num_keypoints: int, half_pixel: bool
) -> NDArray[np.float32]:
    """Compare kernel and reference; return the keypoints."""
    tensors = [outputs[index] for index in head.tensors]
    keypoints, person = (tvm.runtime.empty((n,), "float32") for n in (num_keypoints * 3, 1))
    kernel = compiled(head, tuple(t.shape for t in tensors), num_keypoints, half_pixel)
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


@pytest.mark.parametrize("half_pixel", [False, True])
@pytest.mark.parametrize("head", [DARK, INTEGRAL])
@pytest.mark.parametrize("shape", [(1, 16, 12, 5), (1, 5, 16, 12), (1, 5, 4, 3)])
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 0.01))
@settings(max_examples=20, deadline=None)
def test_decode__smooth_heatmaps_refined__as_reference(half_pixel, head, shape, seed, noise) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = shape[2:] if shape[1] == 5 else shape[1:3]
    y, x = np.indices((rows, columns))
    tops = rng.random((5, 2)) * [rows, columns]
    maps = [np.exp(-((y - top[0]) ** 2 + (x - top[1]) ** 2) / 8) for top in tops] + rng.random((5, 1, 1)) * noise
    outputs = np.stack(maps)[None] if shape[1] == 5 else np.stack(maps, axis=2)[None]
    check(head, [outputs.astype(np.float32)], 5, half_pixel)


def test_decode__dark__finds_the_top_of_a_gaussian_between_cells() -> None:
    y, x = np.indices((16, 12))
    heatmap = np.exp(-((y - 7.3) ** 2 + (x - 5.6) ** 2) / 8)[None, :, :, None].astype(np.float32)
    found = {head: check(head, [heatmap], 1, False)[0, :2] for head in (REFINED, DARK)}
    exact = MATRIX.reshape(2, 3) @ [5.6 * 4, 7.3 * 4, 1]
    assert np.abs(found[DARK] - exact).max() < 0.1 < np.abs(found[REFINED] - exact).max()


@pytest.mark.parametrize("half_pixel", [False, True])
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_decode__simcc_bins_with_equal_maxima__as_reference(half_pixel, seed, levels) -> None:
    rng = np.random.default_rng(seed)
    bins = [rng.integers(-levels, levels, (1, 5, n)).astype(np.float32) / 7 for n in (96, 127)]
    bins[0][rng.random(bins[0].shape) < 0.01] = np.nan
    check(SIMCC, bins, 5, half_pixel)


@pytest.mark.parametrize("half_pixel", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_decode__centre__as_reference(half_pixel: bool, channels_last: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outputs = [rng.normal(0, 3, (1, 16, 12, depth)).astype(np.float32) for depth in (5, 1, 10, 10)]
    check(CENTRE, outputs if channels_last else [o.transpose(0, 3, 1, 2).copy() for o in outputs], 5, half_pixel)


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
    bins, maps = ((1, 17, 384), (1, 17, 512)), [(1, 48, 48, n) for n in (17, 1, 34, 34)]
    plain = [(COORDINATES, ((1, 1, 17, 3),)), (LANDMARKS, ((1, 195), (1, 1))), (REFINED, ((1, 64, 48, 17),))]
    for head, shapes in (*plain, (DARK, ((1, 64, 48, 17),)), (SIMCC, bins), (CENTRE, tuple(maps))):
        assert "TVMBackendAllocWorkspace" not in compiled(head, shapes, 17, False).inspect_source("ll")


@pytest.mark.parametrize(
    ("head", "shape", "message"),
    [
        (COORDINATES, (1, 1, 13, 3), "too small"),
        (HEATMAP, (1, 16, 12, 18), "one heatmap for each"),
        (HEATMAP, (16, 12, 17), "one heatmap for each"),
        (SIMCC, (1, 18, 17), "not a row of bins for each"),
        (CENTRE, (1, 16, 12, 17), "on one grid"),
    ],
)
def test_decode__shape_does_not_fit_head__model_error(head, shape, message) -> None:
    with pytest.raises(ModelError, match=message):
        kernel_of(
            head,
            name="d",
            shapes=[shape] * len(head.tensors),
            num_keypoints=17,
            input_size=(48, 64),
            half_pixel_centers=False,
        )
