"""The simulation, against the integer kernels that it stands for."""

import numpy as np

from tests.native import pipelined
from tests.quantize.nets import pictures, residual_net
from tvmpose.kernels.requantize import Rounding
from tvmpose.quantize.choices import Choices
from tvmpose.quantize.choose import byte_tensors, corrections, stored_bytes, stored_wide
from tvmpose.quantize.insert import insert
from tvmpose.quantize.network import prepare, read_network
from tvmpose.quantize.observe import observe
from tvmpose.quantize.rebuild import rebuild
from tvmpose.quantize.recipes import Recipe
from tvmpose.quantize.simulate import simulation
from tvmpose.targets import host_target


def test_simulation__off_and_on__the_float_network_and_the_integer_one():
    network, seen, steps = read_network(prepare(residual_net())), pictures(), Recipe.BALANCED.value
    observations = observe(network, seen)
    in_bytes = byte_tensors(network, observations, steps.ranges)
    corrected = corrections(network, in_bytes, observations, steps)
    last, plainly = network.layers[-1].name, pipelined(rebuild(network), host_target())
    with simulation(network, in_bytes, corrected, steps.least_error_weights) as simulated:
        for float_layers in ([], [last]):
            choices = Choices(
                "",
                "",
                bytes=stored_bytes(network, in_bytes, float_layers),
                wide=stored_wide(network, in_bytes, observations, float_layers),
                float_layers=tuple(float_layers),
                corrections=corrected,
                least_error_weights=steps.least_error_weights,
            )
            integer = pipelined(insert(network, choices), host_target(), Rounding.ORT)
            for x in seen[:2]:
                (expected,) = integer(x)
                (found,) = simulated.run_without(x, float_layers)
                (plain,) = simulated.run(x, [], [])
                (judged,) = plainly(x)
                np.testing.assert_allclose(plain, judged, atol=1e-5)
                noise = np.abs(expected - plain).max()
                assert np.abs(found - expected).max() < 0.3 * noise
