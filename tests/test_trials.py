"""What the gate runs, and where."""

import pytest

from tvmpose.targets import Target, host_target
from tvmpose.trials import runs_here


@pytest.mark.parametrize("triple", ["riscv64-linux-gnu", "x86_64-linux-musl", "aarch64-linux-gnu"])
def test_runs_here__foreign_architecture_or_c_library__not(triple: str):
    assert runs_here(host_target())
    assert not runs_here(Target("foreign", "a target without features to check", triple, "generic"))
