"""The float64 reference against OpenCV, and against cases small enough to do by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvmpose.cards.heads import Head
from tvmpose.pose.reference import box_matrix, decode, to_rgb, warp

cv2 = pytest.importorskip("cv2", reason="needs OpenCV")

PLAIN = {"colour": "rgb", "mean": (0, 0, 0), "std": (1, 1, 1), "border": "zero", "downscale": "point"}


def image(width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(width * height).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize(("border", "flag"), [("zero", cv2.BORDER_CONSTANT), ("edge", cv2.BORDER_REPLICATE)])
@given(angle=st.floats(-3, 3), scale=st.floats(0.1, 3), x=st.integers(-8, 40), y=st.integers(-8, 30))
@settings(max_examples=30, deadline=None)
def test_warp__float_image__as_opencv(border: str, flag: int, angle: float, scale: float, x: int, y: int) -> None:
    """OpenCV rounds positions to 1/32 pixel: steps of a horizontal and a vertical ramp show positions instead."""
    ramp = np.zeros((30, 40, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = 4 * np.arange(40), 4 * np.arange(30)[:, None]
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([c, -s, x, s, c, y])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    judge = cv2.warpAffine(ramp.astype(np.float32), matrix.reshape(2, 3), (24, 20), flags=flags, borderMode=flag)
    ours = warp(ramp, "rgb", matrix, input_size=(24, 20), **PLAIN | {"border": border})
    # 1/64 of a pixel, where the slope is 4 a pixel, and up to 160 a pixel across a black border.
    inside = np.abs(ours - judge)[..., :2].max(axis=2) <= 4 / 64 + 1e-3
    assert inside.mean() > 0.7 and np.abs(ours - judge).max() <= 2 * 160 / 64 + 1e-2


@pytest.mark.parametrize("step", [1, 2, 4])
def test_warp__positions_opencv_represents_exactly__equal(step: int) -> None:
    pixels = image(64, 48)
    matrix = np.array([step / 2, 0.0, 3.25, 0.0, step / 4, -1.75])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    judge = cv2.warpAffine(pixels.astype(np.float32), matrix.reshape(2, 3), (40, 56), flags=flags)
    ours = warp(pixels, "rgb", matrix, input_size=(40, 56), **PLAIN)
    np.testing.assert_allclose(ours, judge, rtol=0, atol=1e-3)


def test_warp__whole_image_with_half_pixel_centres__as_opencv_resize() -> None:
    pixels = image(60, 40)
    matrix = box_matrix(None, (60, 40), (30, 20), 1.25, half_pixel=True)
    judge = cv2.resize(pixels.astype(np.float32), (30, 20), interpolation=cv2.INTER_LINEAR)
    ours = warp(pixels, "rgb", matrix, input_size=(30, 20), **PLAIN | {"border": "edge"})
    np.testing.assert_allclose(ours, judge, rtol=0, atol=1e-3)


def test_warp__mean_of_a_whole_number_of_pixels__as_opencv_area() -> None:
    """At half-pixel centres and scale 2, the four samples of an output pixel are the four pixels of its footprint."""
    pixels = image(64, 48)
    matrix = box_matrix(None, (64, 48), (32, 24), 1.0, half_pixel=True)
    judge = cv2.resize(pixels.astype(np.float32), (32, 24), interpolation=cv2.INTER_AREA)
    ours = warp(pixels, "rgb", matrix, input_size=(32, 24), **PLAIN | {"downscale": "mean"})
    np.testing.assert_allclose(ours, judge, rtol=0, atol=1e-3)


def test_warp__colour_and_normalisation__channelwise() -> None:
    pixels = image(4, 4)
    options = PLAIN | {"colour": "bgr", "mean": (1, 2, 3), "std": (2, 4, 8)}
    ours = warp(pixels, "rgb", np.array([1, 0, 0, 0, 1, 0]), input_size=(4, 4), **options)
    np.testing.assert_allclose(ours, (pixels[..., ::-1] - np.array([1.0, 2, 3])) / [2, 4, 8])


@pytest.mark.parametrize("pixel_format", ["rgb", "bgr", "rgba", "bgra"])
def test_to_rgb__packed__as_opencv(pixel_format: str) -> None:
    pixels = image(9, 7, len(pixel_format))
    code = getattr(cv2, f"COLOR_{pixel_format.upper()}2RGB", None)
    judge = pixels if code is None else cv2.cvtColor(pixels, code)
    np.testing.assert_array_equal(to_rgb(pixels, pixel_format), judge)


def test_to_rgb__nv12__as_opencv_within_its_rounding() -> None:
    pixels = image(32, 36, 1)[..., 0]
    judge = cv2.cvtColor(pixels, cv2.COLOR_YUV2RGB_NV12)
    # OpenCV clamps luma below 16; its coefficients have three digits.
    bright = (pixels[:24] >= 16)[..., None]
    assert np.abs(np.where(bright, to_rgb(pixels, "nv12") - judge, 0)).max() <= 1.5


@pytest.mark.parametrize(("half_pixel", "shift"), [(False, 0.0), (True, (2.5 - 1) / 2)])
def test_box_matrix__box__grown_to_aspect_then_padded(half_pixel: bool, shift: float) -> None:
    # 96 x 128 about (200, 100) becomes 96 x 128 at 3:4, then 120 x 160.
    matrix = box_matrix((152, 80, 96, 40), (640, 480), (48, 64), 1.25, half_pixel)
    np.testing.assert_allclose(matrix, [2.5, 0, 140 + shift, 0, 2.5, 20 + shift])


def test_box_matrix__no_box__whole_image_without_padding() -> None:
    np.testing.assert_allclose(box_matrix(None, (640, 480), (64, 64), 1.25, False), [10, 0, 0, 0, 10, -80])


def test_decode__coordinates__by_hand() -> None:
    head = Head("coordinates", 1, ("y", "x", "score"), "normalized", "sigmoid", person_tensor=0)
    rows = np.array([[[0.5, 0.25, 0.0], [1.0, 0.0, 100.0], [9, 9, 9]]], np.float32)
    outputs = [np.array([[0.75]], np.float32), rows]
    keypoints, person = decode(
        head, outputs, np.array([2, 0, 1, 0, 2, 0]), num_keypoints=2, input_size=(40, 20), half_pixel=False
    )
    np.testing.assert_allclose(keypoints, [[21, 20, 0.5], [1, 40, 1]])
    assert person == 0.75


@pytest.mark.parametrize("channels_last", [False, True])
def test_decode__heatmap__by_hand(channels_last: bool) -> None:
    maps = np.zeros((1, 2, 4, 3), np.float32)
    maps[0, 0, 2, 1], maps[0, 0, 2, 0], maps[0, 0, 1, 1] = 0.9, 0.3, 0.4
    maps[0, 1, 3, 2] = 0.5
    outputs = [maps.transpose(0, 2, 3, 1) if channels_last else maps]
    head = Head("heatmap", 0, refine="quarter")
    identity = np.array([1, 0, 0, 0, 1, 0])
    keypoints, person = decode(head, outputs, identity, num_keypoints=2, input_size=(12, 16), half_pixel=False)
    np.testing.assert_allclose(keypoints, [[3, 7, 0.9], [8, 12, 0.5]], rtol=1e-6)
    assert person == pytest.approx(0.7)
    centred, _ = decode(head, outputs, identity, num_keypoints=2, input_size=(12, 16), half_pixel=True)
    np.testing.assert_allclose(centred[:, :2], keypoints[:, :2] + 1.5)
