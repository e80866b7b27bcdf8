"""Where a defect begins."""

import numpy as np
import pytest

from tests.sabotage import relu_becomes_tanh
from tests.tiny import Tiny
from tvmpose.devices.machine import Machine
from tvmpose.divergence import first_divergence
from tvmpose.frontend.source import Source
from tvmpose.targets import host_target

INPUT = np.random.default_rng(0).random((1, 3, 24, 32), np.float32)


def test_first_divergence__pass_that_changes_the_activation__names_its_tensor(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
):
    relu_becomes_tanh(monkeypatch)
    clause = first_divergence(Source(tiny.model), Machine(host_target()), INPUT)
    assert clause.startswith("the first tensor that diverges is relu (1, 8, 24, 32), by ")


def test_first_divergence__nothing_wrong__says_that_it_lies_elsewhere(tiny: Tiny):
    assert first_divergence(Source(tiny.model), Machine(host_target()), INPUT).startswith("every single tensor agrees")
