"""What every frontend refuses in the end."""

import numpy as np
import pytest
from tvm import relax

from tests.native import network
from tvmpose.errors import ModelError
from tvmpose.frontend.module_spec import with_spec


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda x: relax.op.nn.conv2d(x, relax.const(np.ones((1, 1, 5, 5), "float32"))), r"\[1, 1, -2, -2\]"),
        (lambda x: relax.op.tile(x, (1, 1, 1 << 15, 1 << 15)), r"\[1, 1, 65536, 65536\]"),
    ],
    ids=["negative", "huge"],
)
def test_with_spec__shape_that_no_memory_holds__names_the_tensor(build, shape: str):
    with pytest.raises(ModelError, match=rf"tensor \w+ would have the shape {shape}"):
        with_spec(network(build, (1, 1, 2, 2)), "onnx", ["x"], ["y"])
