"""The warp kernels against float64 NumPy, and that they touch no byte outside the image."""

import ctypes
import functools
import math
import mmap
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tvmpose.pose import reference

tvm = pytest.importorskip("tvm", reason="needs the compiler extra")

import tvm_ffi  # noqa: E402

from tvmpose.errors import ModelError  # noqa: E402
from tvmpose.kernels.warp import warp_kernel  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"})
MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python 3.13 names it
CHANNEL_OFFSETS = {"rgb": (0, 1, 2), "bgr": (2, 1, 0), "rgba": (0, 1, 2), "bgra": (2, 1, 0)}
WIDTH, HEIGHT = 21, 11  # of the network: a whole block of pixels and a part of one, a whole task of rows and a part


@dataclass(frozen=True)
class Options:
    input_dtype: str = "float32"
    layout: str = "NHWC"
    colour: str = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    border: str = "zero"
    downscale: str = "point"

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, HEIGHT, WIDTH, 3) if self.layout == "NHWC" else (1, 3, HEIGHT, WIDTH)


@functools.cache
def compiled(kind: str, options: Options) -> tvm.runtime.Module:
    kernel = warp_kernel(kind, name="warp", input_shape=options.shape, **vars(options))
    return tvm.compile(tvm.IRModule({"warp": kernel}), target=TARGET).mod


def unaligned(array: NDArray[np.generic]) -> tvm.runtime.Tensor:
    """The array's own memory: tvm.runtime.tensor would copy it to an aligned place."""
    return tvm_ffi.from_dlpack(array, require_alignment=1)


def random_image(rng: np.random.Generator, pixel_format: str, width: int, height: int) -> NDArray[np.uint8]:
    shape = (height * 3 // 2, width) if pixel_format == "nv12" else (height, width, len(pixel_format))
    return rng.integers(0, 256, shape, np.uint8)


def strided(rows: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """The rows' bytes (2-D), stride apart, ending with the last row's last one; at an odd address."""
    padded = np.full((len(rows), stride), 255, np.uint8)
    padded[:, : rows.shape[1]] = rows
    size = stride * (len(rows) - 1) + rows.shape[1]
    memory = np.empty(size + 65, np.uint8)
    start = 1 + -memory.ctypes.data % 64
    memory[start : start + size] = padded.reshape(-1)[:size]
    return memory[start : start + size]


def run(options: Options, pixel_format: str, image: NDArray[np.uint8], matrix: list[float], gap: int = 0):
    """The kernel's output as [height, width, 3]."""
    rows = image.reshape(len(image), -1)
    if pixel_format == "nv12":
        height, width = len(image) * 2 // 3, image.shape[1]
        pixels = [strided(rows[:height], width + gap), strided(rows[height:], width + gap + 1)]
        geometry = [width, height, width + gap, width + gap + 1, 0, 0, 0, 0]
    else:
        height, width, pixel_bytes = image.shape
        stride = width * pixel_bytes + gap
        pixels = [strided(rows, stride)]
        geometry = [width, height, stride, pixel_bytes, *CHANNEL_OFFSETS[pixel_format], 0]
    return call(options, pixel_format, pixels, geometry, matrix)


def call(options: Options, pixel_format: str, pixels: list, geometry: list[int], matrix: list[float]):
    kernel = compiled("nv12" if pixel_format == "nv12" else "packed", options)
    out = tvm.runtime.empty(options.shape, options.input_dtype)
    arguments = [np.array(geometry, np.int32), np.array(matrix, np.float64)]
    kernel["warp"](*map(unaligned, pixels), *map(tvm.runtime.tensor, arguments), out)
    result = out.numpy()[0]
    return result if options.layout == "NHWC" else result.transpose(1, 2, 0)


def expected(options: Options, pixel_format: str, image: NDArray[np.uint8], matrix: list[float]):
    keys = ("colour", "mean", "std", "border", "downscale")
    values = {key: getattr(options, key) for key in keys}
    return reference.warp(image, pixel_format, np.array(matrix), input_size=(WIDTH, HEIGHT), **values)


def rotation(angle: float, scale_x: float, scale_y: float, centre: tuple[float, float]) -> list[float]:
    """The network's centre at ``centre`` of the image."""
    cosine, sine = math.cos(angle), math.sin(angle)
    a, b, d, e = scale_x * cosine, -scale_y * sine, scale_x * sine, scale_y * cosine
    x, y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    return [a, b, centre[0] - a * x - b * y, d, e, centre[1] - d * x - e * y]


scales = st.floats(-3, 3).map(lambda power: 10.0**power) | st.sampled_from([1.0, 2.0, 3.0])
angles = st.just(0.0) | st.sampled_from([math.pi / 2, math.pi]) | st.floats(-4, 4)


@pytest.mark.parametrize("downscale", ["point", "mean"])
@pytest.mark.parametrize("border", ["zero", "edge"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_warp__any_image_and_matrix__within_a_thousandth_of_a_grey_level(border, downscale, data) -> None:
    pixel_format = data.draw(st.sampled_from([*CHANNEL_OFFSETS, "nv12"]))
    sides = st.integers(1, 12) | st.integers(1, 60)
    width, height = data.draw(sides), data.draw(sides)
    if pixel_format == "nv12":
        width, height = 2 * width, 2 * height
    centre = (data.draw(st.floats(-0.5, 1.5)) * width, data.draw(st.floats(-0.5, 1.5)) * height)
    matrix = rotation(data.draw(angles), data.draw(scales), data.draw(scales), centre)
    options = Options(border=border, downscale=downscale)
    image = random_image(np.random.default_rng(data.draw(st.integers(0, 9))), pixel_format, width, height)
    actual = run(options, pixel_format, image, matrix, gap=data.draw(st.sampled_from([0, 1, 3, 64, 1000])))
    np.testing.assert_allclose(actual, expected(options, pixel_format, image, matrix), rtol=0, atol=1e-3)


@pytest.mark.parametrize("pixel_format", ["rgb", "nv12"])
@pytest.mark.parametrize("options", [Options(), Options(border="edge", downscale="mean")])
@pytest.mark.parametrize("matrix", [[1e30, 0, 0.25, 0, 1e30, 0.25], [1, 0, 1e18, 0, 1, -1e18], [0] * 6])
def test_warp__matrix_beyond_any_image__as_reference(matrix, options, pixel_format) -> None:
    image = random_image(np.random.default_rng(0), pixel_format, 6, 4)
    actual = run(options, pixel_format, image, matrix)
    np.testing.assert_allclose(actual, expected(options, pixel_format, image, matrix), rtol=0, atol=1e-3)


@pytest.mark.parametrize("pixel_format", ["bgr", "nv12"])
def test_warp__far_end_of_a_wide_image__coordinates_stay_exact(pixel_format: str) -> None:
    image = random_image(np.random.default_rng(1), pixel_format, 4000, 24)
    matrix = rotation(0.0003, 1.7, 1.7, (3971.37, 11.21))
    actual = run(Options(), pixel_format, image, matrix)
    np.testing.assert_allclose(actual, expected(Options(), pixel_format, image, matrix), rtol=0, atol=1e-3)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("pixel_format", ["rgb", "bgra", "nv12"])
def test_warp__layout_colour_and_normalisation__as_reference(pixel_format, colour, layout) -> None:
    options = Options(layout=layout, colour=colour, mean=(123.675, 116.28, 103.53), std=(58.4, 57.12, 57.38))
    image = random_image(np.random.default_rng(2), pixel_format, 40, 30)
    matrix = rotation(0.1, 1.3, 1.3, (20, 15))
    difference = run(options, pixel_format, image, matrix) - expected(options, pixel_format, image, matrix)
    assert np.abs(difference * np.array(options.std)).max() <= 1e-3


@pytest.mark.parametrize("dtype", ["int32", "uint8"])
def test_warp__integer_input__rounded(dtype: str) -> None:
    options = Options(input_dtype=dtype, layout="NCHW")
    image = random_image(np.random.default_rng(3), "rgb", 40, 30)
    matrix = rotation(0, 0.37, 0.37, (20, 15))
    exact = expected(options, "rgb", image, matrix)
    settled = np.abs(exact - np.floor(exact) - 0.5) > 1e-3  # halves may fall on either side
    actual = run(options, "rgb", image, matrix)
    assert actual.dtype == dtype and settled.mean() > 0.9
    np.testing.assert_array_equal(actual[settled], np.floor(exact + 0.5)[settled])


@pytest.mark.parametrize("place", ["after a guard page", "before a guard page"])
@pytest.mark.parametrize("pixel_format", ["rgb", "rgba", "nv12"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (37, 13)])
def test_warp__image_between_guard_pages__no_byte_outside_is_read(size, pixel_format, place) -> None:
    width, height = (2 * n for n in size) if pixel_format == "nv12" else size
    image = random_image(np.random.default_rng(4), pixel_format, width, height)
    luma_bytes = width * height
    planes = [image[:height], image[height:]] if pixel_format == "nv12" else [image]
    pixels = [fenced(plane, at_end=place.startswith("before")) for plane in planes]
    geometry = (
        [width, height, width, width, 0, 0, 0, 0]
        if pixel_format == "nv12"
        else [width, height, image.nbytes // height, image.nbytes // luma_bytes, 0, 1, 2, 0]
    )
    for angle in (0.0, 0.4, math.pi / 2):
        matrix = rotation(angle, width / WIDTH, width / WIDTH, (width / 2, height / 2))
        actual = call(Options(), pixel_format, pixels, geometry, matrix)
        np.testing.assert_allclose(actual, expected(Options(), pixel_format, image, matrix), rtol=0, atol=1e-3)


def fenced(plane: NDArray[np.uint8], at_end: bool) -> NDArray[np.uint8]:
    """A copy whose first or last byte borders on memory that cannot be read."""
    page = mmap.PAGESIZE
    inside = -(-plane.nbytes // page) * page
    memory = np.frombuffer(mmap.mmap(-1, inside + 2 * page), np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    for start in (0, page + inside):
        assert libc.mprotect(ctypes.c_void_p(memory.ctypes.data + start), page, 0) == 0
    first = page + inside - plane.nbytes if at_end else page
    copy = memory[first : first + plane.nbytes]
    copy[:] = plane.reshape(-1)
    return copy


def test_warp__image_of_4_gigabytes__rows_found() -> None:
    """The largest picture the C interface allows, of which only the last row's memory is ever used."""
    stride, height, width = 131068, 32767, 32767
    try:
        memory = mmap.mmap(-1, stride * height, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    except OSError:
        pytest.skip("no 4 GB of address space")
    pixels = np.frombuffer(memory, np.uint8)
    last = pixels[-stride:].reshape(-1, 4)
    last[:] = np.random.default_rng(5).integers(0, 256, last.shape)
    matrix = [1, 0, width - WIDTH, 0, 1, height - HEIGHT]
    actual = call(Options(), "rgba", [pixels], [width, height, stride, 4, 0, 1, 2, 0], matrix)
    np.testing.assert_array_equal(actual[-1], last[-WIDTH:, :3])


@pytest.mark.parametrize("kind", ["packed", "nv12"])
@pytest.mark.parametrize("downscale", ["point", "mean"])
def test_warp__generated_code__takes_no_workspace_and_assumes_no_alignment_of_pixels(kind, downscale) -> None:
    source = compiled(kind, Options(downscale=downscale)).inspect_source("ll")
    assert "TVMBackendAllocWorkspace" not in source
    assert "TVMBackendParallelLaunch" in source
    byte_loads = [line for line in source.splitlines() if "load <4 x i8>" in line]
    assert all("align 1," in line for line in byte_loads) and (kind == "nv12" or byte_loads)


@pytest.mark.parametrize(
    "change",
    [{"input_shape": (1, 8, 8, 1)}, {"input_shape": (2, 8, 8, 3)}, {"input_shape": (8, 8, 3)}, {"input_dtype": "int8"}],
)
def test_warp__network_input_is_no_picture__model_error(change) -> None:
    arguments = {"name": "warp", "input_shape": (1, 8, 8, 3), **vars(Options()), **change}
    with pytest.raises(ModelError, match="network input"):
        warp_kernel("packed", **arguments)
