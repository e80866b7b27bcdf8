"""int8 weights: how far from the float ones they are."""

import numpy as np
import pytest

from tvmpose.quantize.weights import integers, rounded, weight_quantization

RANDOM = np.random.default_rng(0)
LAYOUTS = [((3, 3, 8, 5), 3), ((3, 3, 8, 1), 2), ((8, 5, 4, 4), 1)]


@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
def test_weight_quantization__each_output__half_a_step_of_its_own_largest(shape: tuple[int, ...], axis: int):
    weight = RANDOM.standard_normal(shape).astype("float32") * 10.0 ** RANDOM.uniform(-3, 1, shape[axis]).reshape(
        [-1 if i == axis else 1 for i in range(len(shape))]
    )
    weight = weight.astype("float32")
    q = weight_quantization(weight, axis, np.zeros(shape[axis], "float32"), 0.1, least_error=False)
    others = tuple(i for i in range(len(shape)) if i != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    assert (np.abs(rounded(weight, q) - weight) <= largest / 127 / 2 * 1.0001).all()
    assert (np.abs(integers(weight, q)).max(axis=others) == 127).all()


def test_weight_quantization__least_error__never_more_than_plain():
    weight = RANDOM.standard_t(3, (1, 1, 4096, 16)).astype("float32")
    bias = np.zeros(16, "float32")
    errors = [
        np.square(rounded(weight, weight_quantization(weight, 3, bias, 0.1, least)) - weight).sum(axis=(0, 1, 2))
        for least in (True, False)
    ]
    assert (errors[0] <= errors[1] * 1.0001).all()
    assert errors[0].sum() < 0.99 * errors[1].sum()


def test_weight_quantization__tiny_weights_and_a_large_bias__the_bias_fits_well_into_32_bits():
    weight, bias = np.full((1, 1, 4, 1), 1e-12, "float32"), np.array([100.0], "float32")
    q = weight_quantization(weight, 3, bias, 0.01, least_error=True)
    steps = bias / (0.01 * q.scale.astype("float64"))
    assert 2**20 < steps[0] <= 2**22 * 1.001
