"""Network outputs to keypoints in image coordinates: coordinates as they stand, or the peaks of heatmaps."""

import math
from collections.abc import Sequence
from functools import partial

from tvm import tirx

from tvmpose.cards.heads import Head
from tvmpose.errors import ModelError
from tvmpose.kernels.activation import activated
from tvmpose.kernels.keypoints import cell_to_pixel, write_keypoint, write_mean_score
from tvmpose.kernels.peak import find_peak
from tvmpose.kernels.script import T

# DARK's modulation, as mmpose has it for heatmaps of a quarter of the input: an 11 x 11 Gaussian, as wide as OpenCV
# makes it of itself; logarithms of less than the floor are not taken.
BLUR = 11
BLUR_DEVIATION = 2.0
BLUR_SUM = sum(math.exp(-((step - BLUR // 2) ** 2) / (2 * BLUR_DEVIATION**2)) for step in range(BLUR))
BLUR_FLOOR = 1e-10


def _uphill(slope):
    return T.Select(slope > 0, T.float64(0.25), T.Select(slope < 0, T.float64(-0.25), T.float64(0)))


def _gaussian(step):
    distance = T.Cast("float64", step) - T.float64(BLUR // 2)
    return T.exp(distance * distance * T.float64(-1 / (2 * BLUR_DEVIATION**2))) * T.float64(1 / BLUR_SUM)


@T.inline
def _blur(heatmap, row, column, rows, columns, blurred):
    """Set blurred (5, 5) to the logarithms of the map blurred by a Gaussian, zero outside, around a place."""
    for y, x in T.grid(5, 5):
        blurred[y, x] = T.float64(0)
        for dy, dx in T.grid(BLUR, BLUR):
            below: T.let = row + y + dy - (BLUR // 2 + 2)
            beside: T.let = column + x + dx - (BLUR // 2 + 2)
            if T.And(T.And(below >= 0, below < rows), T.And(beside >= 0, beside < columns)):
                weight: T.let = _gaussian(dy) * _gaussian(dx)
                blurred[y, x] += weight * T.Cast("float64", heatmap(below * columns + beside))
        blurred[y, x] = T.log(T.max(blurred[y, x], T.float64(BLUR_FLOOR)))


def decode_kernel(
    head: Head,
    *,
    name: str,
    shapes: Sequence[Sequence[int]],
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel_centers: bool,
) -> tirx.PrimFunc:
    """Return the scheduled kernel called ``name`` that turns a network's outputs into keypoints.

    Its arguments: the outputs of ``head.tensors`` (float32, of these ``shapes``), matrix float64[6] (as
    runtime/csrc/model.h defines it), keypoints float32[num_keypoints * 3] as x, y, score, and person float32[1]: the
    first value of the person tensor, without one the mean of the keypoints' scores.

    input_size: the network's (width, height) in pixels. A heatmap is float32[1, h, w, num_keypoints] or [1,
    num_keypoints, h, w]; its cells are spread over the input evenly. The peak is the first of equal maxima in row
    order. half_pixel_centers as in model.h: with it a coordinate c of the network is continuous, the first pixel
    reaching from 0 to 1, and lies at pixel c - 0.5; a heatmap's cell h, of ``stride`` input pixels, is centred at
    (h + 0.5) * stride - 0.5. Without it they lie at c and h * stride.

    Raises ModelError for shapes that the head does not fit.
    """
    shape, person_shape = tuple(shapes[0]), tuple(shapes[-1])
    width, height = input_size
    fields = list(head.fields)
    heatmaps = head.kind == "heatmap"
    if heatmaps:
        channels_last, rows, columns = heatmap_layout(shape, num_keypoints, width / height)
    elif math.prod(shape) < num_keypoints * len(fields):
        raise ModelError(f"output {list(shape)} is too small for {num_keypoints} keypoints of {len(fields)} fields")

    def to_pixel(value, scale):
        """Position along an axis in units of ``scale`` input pixels, as the matrix takes it."""
        pixel = T.Cast("float64", value) * T.float64(scale)
        return pixel - T.float64(0.5) if half_pixel_centers else pixel

    def heatmap(tensor, keypoint, cell):
        y, x = cell // columns, cell % columns
        return tensor[0, y, x, keypoint] if channels_last else tensor[0, keypoint, y, x]

    @T.inline
    def read_coordinates(tensor, matrix, person_score, keypoints):
        values = T.decl_buffer((math.prod(shape),), "float32", data=tensor.data)
        for k in T.serial(num_keypoints):
            scale_x = T.meta_var(width if head.unit == "normalized" else 1)
            scale_y = T.meta_var(height if head.unit == "normalized" else 1)
            x: T.let = to_pixel(values[k * len(fields) + fields.index("x")], scale_x)
            y: T.let = to_pixel(values[k * len(fields) + fields.index("y")], scale_y)
            if "score" in fields:
                score: T.let = values[k * len(fields) + fields.index("score")]
                write_keypoint(keypoints, k, x, y, activated(score, head.score_activation), matrix)
            else:
                write_keypoint(keypoints, k, x, y, person_score, matrix)

    @T.inline
    def quarter(tensor, k, cell, place):
        row: T.let = cell // columns
        column: T.let = cell % columns
        # On the edge both neighbours are the peak itself: the slope is zero.
        beside: T.let = T.Cast("int32", T.And(column > 0, column < columns - 1))
        below: T.let = T.Cast("int32", T.And(row > 0, row < rows - 1)) * columns
        place[0] += _uphill(heatmap(tensor, k, cell + beside) - heatmap(tensor, k, cell - beside))
        place[1] += _uphill(heatmap(tensor, k, cell + below) - heatmap(tensor, k, cell - below))

    @T.inline
    def dark(tensor, k, cell, place):
        row: T.let = cell // columns
        column: T.let = cell % columns
        if T.And(T.And(column > 1, column < columns - 2), T.And(row > 1, row < rows - 2)):
            logs = T.alloc_buffer((5, 5), "float64")
            _blur(partial(heatmap, tensor, k), row, column, rows, columns, logs)
            dx: T.let = (logs[2, 3] - logs[2, 1]) * 0.5
            dy: T.let = (logs[3, 2] - logs[1, 2]) * 0.5
            dxx: T.let = (logs[2, 4] - 2.0 * logs[2, 2] + logs[2, 0]) * 0.25
            dyy: T.let = (logs[4, 2] - 2.0 * logs[2, 2] + logs[0, 2]) * 0.25
            dxy: T.let = (logs[3, 3] - logs[1, 3] - logs[3, 1] + logs[1, 1]) * 0.25
            det: T.let = dxx * dyy - dxy * dxy
            if det != T.float64(0):
                place[0] += (dxy * dy - dyy * dx) / det
                place[1] += (dxy * dx - dxx * dy) / det

    @T.inline
    def integral(tensor, k, cell, place):
        sums = T.alloc_buffer((3,), "float64")
        for i in T.serial(3):
            sums[i] = T.float64(0)
        for other in T.serial(rows * columns):
            above: T.let = T.Cast("float64", heatmap(tensor, k, other)) - T.Cast("float64", heatmap(tensor, k, cell))
            weight: T.let = T.exp(above * T.float64(head.beta))
            sums[0] += weight * T.Cast("float64", other % columns)
            sums[1] += weight * T.Cast("float64", other // columns)
            sums[2] += weight
        place[0] = sums[0] / sums[2]
        place[1] = sums[1] / sums[2]

    @T.inline
    def unrefined(tensor, k, cell, place):
        pass

    refine = {"none": unrefined, "quarter": quarter, "dark": dark, "integral": integral}[head.refine]

    @T.inline
    def find_peaks(tensor, matrix, person_score, keypoints):
        for k in T.parallel(num_keypoints):
            cell = T.alloc_buffer((1,), "int32")
            place = T.alloc_buffer((2,), "float64")
            find_peak(partial(heatmap, tensor, k), rows * columns, cell)
            place[0] = T.Cast("float64", cell[0] % columns)
            place[1] = T.Cast("float64", cell[0] // columns)
            refine(tensor, k, cell[0], place)
            x: T.let = cell_to_pixel(place[0], width / columns, half_pixel_centers)
            y: T.let = cell_to_pixel(place[1], height / rows, half_pixel_centers)
            score: T.let = activated(heatmap(tensor, k, cell[0]), head.score_activation)
            write_keypoint(keypoints, k, x, y, score, matrix)

    read = find_peaks if heatmaps else read_coordinates

    @T.prim_func
    def with_person(
        tensor: T.Buffer(shape, "float32"),
        person_tensor: T.Buffer(person_shape, "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((num_keypoints * 3,), "float32"),
        person: T.Buffer((1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        first = T.decl_buffer((1,), "float32", data=person_tensor.data)
        person[0] = activated(first[0], head.person_activation)
        read(tensor, matrix, person[0], keypoints)

    @T.prim_func
    def without_person(
        tensor: T.Buffer(shape, "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((num_keypoints * 3,), "float32"),
        person: T.Buffer((1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        read(tensor, matrix, T.float32(1), keypoints)
        write_mean_score(keypoints, num_keypoints, person)

    return without_person if head.person_tensor is None else with_person


def heatmap_layout(shape: tuple[int, ...], num_keypoints: int, aspect: float) -> tuple[bool, int, int]:
    """Return (channels last?, rows, columns). Where both layouts fit, the one nearer to the input's aspect ratio."""
    layouts = [(True, *shape[1:3]), (False, *shape[2:])] if len(shape) == 4 and shape[0] == 1 else []
    fitting = [item for item in layouts if shape[3 if item[0] else 1] == num_keypoints]
    if not fitting:
        raise ModelError(f"output {list(shape)} is not one heatmap for each of {num_keypoints} keypoints")
    return min(fitting, key=lambda item: abs(math.log(item[2] / item[1] / aspect)))
