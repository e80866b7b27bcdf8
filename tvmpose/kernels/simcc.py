"""SimCC heads: the highest bin of x and of y of each keypoint."""

import math
from collections.abc import Sequence
from functools import partial

from tvm import tirx

from tvmpose.cards.heads import SimccHead
from tvmpose.errors import ModelError
from tvmpose.kernels.activation import activated
from tvmpose.kernels.keypoints import cell_to_pixel, write_keypoint, write_mean_score
from tvmpose.kernels.peak import find_peak
from tvmpose.kernels.script import T


def simcc_kernel(
    head: SimccHead,
    *,
    name: str,
    shapes: Sequence[Sequence[int]],
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel_centers: bool,
) -> tirx.PrimFunc:
    """Return the kernel of a SimCC head; arguments as decode_kernel's, the outputs being the bins of x and of y.

    Bins are spread over the input evenly, as cells of heatmaps are; of equal ones the first is taken. Raises
    ModelError where an output is no row of bins for each keypoint.
    """
    for shape in shapes:
        if math.prod(shape) % num_keypoints or num_keypoints not in shape[:-1]:
            raise ModelError(f"output {list(shape)} is not a row of bins for each of {num_keypoints} keypoints")
    x_shape, y_shape = (tuple(shape) for shape in shapes)
    across, along = x_shape[-1], y_shape[-1]
    width, height = input_size

    def bin_of(bins, keypoint, count, index):
        return bins[keypoint * count + index]

    @T.prim_func
    def decode(
        x_tensor: T.Buffer(x_shape, "float32"),
        y_tensor: T.Buffer(y_shape, "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((num_keypoints * 3,), "float32"),
        person: T.Buffer((1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        x_bins = T.decl_buffer((num_keypoints * across,), "float32", data=x_tensor.data)
        y_bins = T.decl_buffer((num_keypoints * along,), "float32", data=y_tensor.data)
        for k in T.serial(num_keypoints):
            column = T.alloc_buffer((1,), "int32")
            row = T.alloc_buffer((1,), "int32")
            find_peak(partial(bin_of, x_bins, k, across), across, column)
            find_peak(partial(bin_of, y_bins, k, along), along, row)
            lower: T.let = T.min(x_bins[k * across + column[0]], y_bins[k * along + row[0]])
            x: T.let = cell_to_pixel(column[0], width / across, half_pixel_centers)
            y: T.let = cell_to_pixel(row[0], height / along, half_pixel_centers)
            write_keypoint(keypoints, k, x, y, activated(lower, head.score_activation), matrix)
        write_mean_score(keypoints, num_keypoints, person)

    return decode
