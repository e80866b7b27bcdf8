"""Equalization: the same function, with channels that reach as far as one another."""

import numpy as np
import pytest

from tests.quantize.nets import pictures, residual_net
from tvmpose.errors import InputError
from tvmpose.quantize.choices import Equalization
from tvmpose.quantize.equalize import equalizations, equalized, streams
from tvmpose.quantize.library import running
from tvmpose.quantize.network import prepare, read_network
from tvmpose.quantize.observe import observe
from tvmpose.quantize.rebuild import rebuild


def test_streams__residual_block__its_tensors_go_together_and_input_and_output_stay_as_they_are():
    network = read_network(prepare(residual_net()))
    stem, wide, deep, branch, joined, last = (unit.name for unit in network.units)
    assert [set(stream) for stream in streams(network)] == [{stem, branch, joined}, {wide}, {deep}]
    assert last not in {name for stream in streams(network) for name in stream}


def reach(largest, *tensors: str) -> np.ndarray:
    """Of each channel, as a share of the furthest, in the tensor where it reaches furthest."""
    return np.max([largest[name] / largest[name].max() for name in tensors], axis=0)


def test_equalized__uneven_channels__same_outputs_on_what_was_seen_and_even_channels():
    network = read_network(prepare(residual_net(uneven=100.0)))
    seen = pictures()
    before = observe(network, seen, ranges=False)
    balanced = equalized(network, equalizations(network, before.largest))
    after = observe(balanced, seen, ranges=False)
    stem, joined = network.units[0].name, network.units[4].name
    assert reach(before.largest, stem, joined).min() < 0.25 < 0.6 < reach(after.largest, stem, joined).min()
    outputs = []
    for each in (network, balanced):
        with running(rebuild(each), ["y"], "net") as pose:
            outputs.append([pose.run_tensors([x])[0].copy() for x in seen])
    np.testing.assert_allclose(outputs[1], outputs[0], atol=2e-5)


def test_equalized__factors_of_another_network__input_error():
    network = read_network(prepare(residual_net()))
    strange = Equalization((network.units[0].name,), np.ones(7, "float32"))
    with pytest.raises(InputError, match="6 channels, not 7"):
        equalized(network, [strange])
