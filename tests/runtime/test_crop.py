"""image.c and crop.c against OpenCV and a float64 second opinion."""

import ctypes
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.conftest import Builder

FORMATS = {"RGB": (3, 0, 1, 2), "BGR": (3, 2, 1, 0), "RGBA": (4, 0, 1, 2), "BGRA": (4, 2, 1, 0)}


class Image(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("data", "chroma")),
        *((name, ctypes.c_int32) for name in ("width", "height", "stride", "chroma_stride", "format")),
    )


@dataclass(frozen=True)
class Shim:
    library: ctypes.CDLL

    def crop_matrix(self, box, padding, size, half_pixel_centers) -> np.ndarray:
        matrix = (ctypes.c_double * 6)()
        corners = (ctypes.c_float * 4)(*box)
        self.library.shim_crop_matrix(corners, ctypes.c_double(padding), *size, half_pixel_centers, matrix)
        return np.array(matrix).reshape(2, 3)

    def turn(self, matrix: np.ndarray, angle, size, half_pixel_centers) -> np.ndarray:
        turned = (ctypes.c_double * 6)(*matrix.ravel())
        self.library.shim_turn_matrix(ctypes.c_double(angle), *size, half_pixel_centers, turned)
        return np.array(turned).reshape(2, 3)

    def check_box(self, box, size) -> int:
        return self.library.shim_check_box((ctypes.c_float * 4)(*box), *size, ctypes.create_string_buffer(256))

    def view_image(self, image: Image) -> tuple[int, list[int], list[int]]:
        geometry, plane_bytes = (ctypes.c_int32 * 8)(), (ctypes.c_int64 * 2)()
        error = ctypes.create_string_buffer(256)
        status = self.library.shim_view_image(ctypes.byref(image), geometry, plane_bytes, error)
        return status, list(geometry), list(plane_bytes)


@pytest.fixture(scope="module")
def shim(build: Builder) -> Shim:
    visible = ("-fvisibility=default", "-Wno-unused-function")
    return Shim(ctypes.CDLL(str(build("crop_shim.c", "-shared", "-fPIC", *visible))))


positions = st.floats(-2000, 2000, width=32)
sides = st.floats(0.5, 4000, width=32)
boxes = st.tuples(positions, positions, sides, sides)
sizes = st.tuples(st.integers(16, 512), st.integers(16, 512))
unhurried = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def grown(box, padding, size):
    """The crop in float64: the smallest box of the network's aspect ratio about the same centre, times padding."""
    x, y, width, height = np.float64(box)
    aspect = size[0] / size[1]
    crop = np.array([max(width, height * aspect), max(height, width / aspect)]) * padding
    return np.array([x + width / 2, y + height / 2]) - crop / 2, crop


@unhurried
@given(box=boxes, padding=st.floats(1, 2), size=sizes, half=st.booleans())
def test_crop_matrix__any_box__corners_as_opencv_maps_them(shim, box, padding, size, half):
    corner, crop = grown(box, padding, size)
    network = np.float32([(0, 0), (size[0], 0), (0, size[1])]) - (0.5 if half else 0)
    image = corner + crop * [(0, 0), (1, 0), (0, 1)] - (0.5 if half else 0)
    expected = cv2.getAffineTransform(np.float32(network), np.float32(image))
    matrix = shim.crop_matrix(box, padding, size, half)
    corners = np.c_[network, np.ones(3)].T
    np.testing.assert_allclose(matrix @ corners, image.T, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(matrix @ corners, expected @ corners, rtol=1e-5, atol=2e-2)  # OpenCV's input is float32


@unhurried
@given(box=boxes, padding=st.floats(1, 2), size=sizes)
def test_crop_matrix__any_box__is_one_scale_about_the_box_s_centre(shim, box, padding, size):
    matrix = shim.crop_matrix(box, padding, size, False)
    assert matrix[0, 0] == matrix[1, 1] > 0 and matrix[0, 1] == matrix[1, 0] == 0
    centre = matrix @ [size[0] / 2, size[1] / 2, 1]
    np.testing.assert_allclose(centre, [box[0] + np.float64(box[2]) / 2, box[1] + np.float64(box[3]) / 2], atol=1e-6)


@unhurried
@given(box=boxes, size=sizes, half=st.booleans(), angle=st.floats(-7, 7))
def test_turn_matrix__any_box__is_opencv_s_rotation_of_the_image_about_the_box_s_centre(shim, box, size, half, angle):
    upright = shim.crop_matrix(box, 1.25, size, half)
    centre = np.array([box[0] + np.float64(box[2]) / 2, box[1] + np.float64(box[3]) / 2]) - (0.5 if half else 0)
    rotation = cv2.getRotationMatrix2D(tuple(centre), -np.degrees(angle), 1)  # its angles go the other way
    expected = rotation @ np.vstack([upright, [0, 0, 1]])
    np.testing.assert_allclose(shim.turn(upright, angle, size, half), expected, atol=1e-3, rtol=1e-6)


def test_crop_matrix__whole_image_half_pixel__as_opencv_resizes(shim):
    ramp = np.tile(np.arange(96, dtype=np.float32), (64, 1))
    matrix = shim.crop_matrix((0, 0, 96, 64), 1, (48, 32), True)
    resized = cv2.resize(ramp, (48, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(matrix[0, 0] * np.arange(48) + matrix[0, 2], resized[0], atol=1e-4)


@unhurried
@given(box=st.tuples(*[st.floats(width=32)] * 4), size=st.tuples(*[st.integers(1, 32767)] * 2))
def test_check_box__any_four_floats__usable_or_refused(shim, box, size):
    x, y, width, height = np.float64(box)
    usable = np.isfinite(box).all() and 0 < width <= 2**20 and 0 < height <= 2**20
    usable = usable and x < size[0] and y < size[1] and x + width > 0 and y + height > 0
    assert shim.check_box(box, size) == (0 if usable else 3)
    if usable:
        assert np.isfinite(shim.crop_matrix(box, 1.25, (192, 256), True)).all()


@unhurried
@given(
    size=st.tuples(*[st.integers(1, 32767)] * 2),
    gap=st.integers(0, 4096),
    name=st.sampled_from(sorted(FORMATS)),
)
def test_view_image__packed_pixels__geometry_reaches_exactly_the_last_pixel(shim, size, gap, name):
    pixel, *channels = FORMATS[name]
    stride = size[0] * pixel + gap
    image = Image(1, None, *size, stride if gap else 0, 0, list(FORMATS).index(name))
    status, geometry, plane_bytes = shim.view_image(image)
    if stride * size[1] >= 2**31:
        assert status == 2
        return
    assert (status, geometry) == (0, [*size, stride, pixel, *channels, 0])
    assert plane_bytes[0] == (size[1] - 1) * stride + (size[0] - 1) * pixel + pixel


@unhurried
@given(size=st.tuples(*[st.integers(1, 4000)] * 2), gap=st.integers(0, 64), chroma_gap=st.integers(0, 64))
def test_view_image__nv12__even_sizes_only(shim, size, gap, chroma_gap):
    stride, chroma_stride = size[0] + gap, size[0] + chroma_gap
    status, geometry, plane_bytes = shim.view_image(Image(1, None, *size, stride, chroma_stride, 4))
    if size[0] % 2 or size[1] % 2:
        assert status == 2
        return
    assert (status, geometry) == (0, [*size, stride, chroma_stride, 0, 0, 0, 0])
    assert plane_bytes == [(size[1] - 1) * stride + size[0], (size[1] // 2 - 1) * chroma_stride + size[0]]
