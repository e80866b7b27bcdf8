"""Mean sums of a layer from the mean of its input: what torch makes of whole pictures."""

import numpy as np
import pytest
import torch
from tvm import relax
from tvm.relax import op as R

from tests.native import network
from tvmpose.quantize.bias import mean_sums
from tvmpose.quantize.network import prepare, read_network

RANDOM = np.random.default_rng(0)
NHWC = {"data_layout": "NHWC", "out_layout": "NHWC"}


def layer_of(convolution, shape: tuple[int, ...]):
    (layer,) = read_network(prepare(network(convolution, shape))).layers
    return layer


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1)])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("layout", ["HWIO", "HWOI"])
def test_mean_sums__convolution__as_torch(strides, padding, groups: int, layout: str):
    inputs, outputs = 6 // groups, 6 if groups > 1 else 4
    weight = RANDOM.standard_normal((3, 3, inputs, outputs)).astype("float32")
    stored = weight if layout == "HWIO" else weight.swapaxes(2, 3)
    data = RANDOM.standard_normal((5, 7, 9, 6)).astype("float32")
    layer = layer_of(
        lambda x: R.nn.conv2d(x, relax.const(stored), strides, padding, groups=groups, kernel_layout=layout, **NHWC),
        (1, 7, 9, 6),
    )
    top, left, bottom, right = padding
    padded = torch.nn.functional.pad(torch.from_numpy(data.transpose(0, 3, 1, 2)), (left, right, top, bottom))
    expected = torch.nn.functional.conv2d(
        padded.double(), torch.from_numpy(weight.transpose(3, 2, 0, 1)).double(), stride=strides, groups=groups
    )
    found = mean_sums(layer, data.mean(axis=0), layer.weight)
    np.testing.assert_allclose(found, expected.mean(dim=(0, 2, 3)).numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [2, 4])
def test_mean_sums__transposed_convolution__as_torch(size: int):
    weight = RANDOM.standard_normal((6, 4, size, size)).astype("float32")
    data = RANDOM.standard_normal((5, 7, 9, 6)).astype("float32")
    padding = (size - 2) // 2
    layer = layer_of(
        lambda x: R.nn.conv2d_transpose(x, relax.const(weight), (2, 2), (padding,) * 4, kernel_layout="IOHW", **NHWC),
        (1, 7, 9, 6),
    )
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(data.transpose(0, 3, 1, 2)).double(),
        torch.from_numpy(weight).double(),
        stride=2,
        padding=padding,
    )
    found = mean_sums(layer, data.mean(axis=0), layer.weight)
    np.testing.assert_allclose(found, expected.mean(dim=(0, 2, 3)).numpy(), atol=1e-5)
