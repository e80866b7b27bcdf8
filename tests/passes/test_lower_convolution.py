"""Convolutions become calls of our kernels; what these cannot do is refused in one line, never computed wrongly."""

import numpy as np
import pytest
from tvm import relax
from tvm.ir import Op
from tvm.tirx import PrimFunc

from tests.native import network, run_pipelined
from tvmpose.errors import ModelError
from tvmpose.kernels.isa import VectorISA
from tvmpose.passes.lower_convolution import LowerConvolution
from tvmpose.passes.pipeline import run_pipeline
from tvmpose.targets import host_target

NHWC = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
IOHW = {"data_layout": "NHWC", "kernel_layout": "IOHW"}


def weight(*shape: int) -> relax.Expr:
    return relax.const(np.random.default_rng(1).standard_normal(shape, dtype="float32"))


def test_lower_convolution__each_kind__leaves_no_relax_convolution():
    def build(x: relax.Expr) -> list[relax.Expr]:
        return [
            relax.op.nn.conv2d(x, weight(3, 3, 6, 17), **NHWC),
            relax.op.nn.conv2d(x, weight(3, 3, 6, 1), groups=6, data_layout="NHWC", kernel_layout="HWOI"),
            relax.op.nn.conv2d(x, weight(3, 3, 1, 6), groups=6, **NHWC),
            relax.op.nn.conv2d_transpose(x, weight(6, 5, 2, 2), strides=2, **IOHW),
        ]

    lowered = LowerConvolution(VectorISA(8, 16))(network(build, (1, 9, 9, 6)))
    operators = []
    relax.analysis.post_order_visit(
        lowered["main"], lambda e: operators.append(e.op) if isinstance(e, relax.Call) else None
    )
    assert [op for op in operators if op != Op.get("relax.call_tir")] == []
    kernels = sorted(v.name_hint for v, f in lowered.functions_items() if isinstance(f, PrimFunc))
    assert [name.rstrip("0123456789") for name in kernels] == ["conv2d", "conv2d_transpose", "depthwise_conv2d"]


def test_pipeline__two_convolutions_of_one_shape__keep_their_own_weights():
    """Two convolutions of one shape share a kernel, but not their weights."""
    x = np.random.default_rng(2).standard_normal((1, 1, 5, 8), dtype="float32")
    first, second = (np.random.default_rng(i).standard_normal((1, 1, 8, 8), dtype="float32") for i in (3, 4))

    def build(v: relax.Expr) -> list[relax.Expr]:
        return [relax.op.nn.conv2d(v, relax.const(w), **NHWC) for w in (first, second)]

    results = run_pipelined(network(build, x.shape), host_target(), x)
    for found, w in zip(results, (first, second), strict=True):
        np.testing.assert_allclose(found, x @ w[0, 0].astype("float64"), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("groups", "inputs", "outputs", "calls"),
    [(2, 40, 48, 2), (4, 24, 16, 1), (8, 64, 64, 4), (6, 6, 18, 1), (3, 9, 3, 1)],  # the fourth: depthwise, times 3
)
def test_pipeline__grouped_convolution__as_torch_in_float64(groups, inputs, outputs, calls):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(groups)
    x = rng.standard_normal((1, 9, 8, inputs), dtype="float32")
    kernel = rng.standard_normal((3, 3, inputs // groups, outputs), dtype="float32")

    def build(v: relax.Expr) -> relax.Expr:
        window = {"strides": (2, 1), "padding": (1, 0, 1, 2)}
        return relax.op.nn.relu(relax.op.nn.conv2d(v, relax.const(kernel), groups=groups, **window, **NHWC))

    padded = torch.from_numpy(np.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0))).transpose(0, 3, 1, 2).astype("float64"))
    weights = torch.from_numpy(kernel.transpose(3, 2, 0, 1).astype("float64"))
    expected = torch.relu(torch.nn.functional.conv2d(padded, weights, stride=(2, 1), groups=groups))
    (found,) = run_pipelined(network(build, x.shape), host_target(), x)
    np.testing.assert_allclose(found, expected.numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-4)
    lowered = LowerConvolution(VectorISA(8, 16))(network(build, x.shape))
    seen = []
    relax.analysis.post_order_visit(lowered["main"], lambda e: seen.append(e) if isinstance(e, relax.Call) else None)
    assert sum(call.op == Op.get("relax.call_tir") for call in seen) == calls


@pytest.mark.parametrize("channels", [(40, 48), (6, 17), (16, 3), (64, 1)])
def test_pipeline__convolutions_of_a_batch__as_torch_in_float64(channels):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((3, 6, 8, channels[0]), dtype="float32")
    kernel = rng.standard_normal((3, 3, *channels), dtype="float32")
    wide = rng.standard_normal((*channels, 4, 4), dtype="float32")

    def build(v: relax.Expr) -> list[relax.Expr]:
        plain = relax.op.nn.relu(relax.op.nn.conv2d(v, relax.const(kernel), padding=1, **NHWC))
        return [plain, relax.op.nn.conv2d_transpose(v, relax.const(wide), strides=2, padding=1, **IOHW)]

    pictures = torch.from_numpy(x.transpose(0, 3, 1, 2).astype("float64"))
    weights = torch.from_numpy(kernel.transpose(3, 2, 0, 1).astype("float64"))
    expected = [
        torch.relu(torch.nn.functional.conv2d(pictures, weights, padding=1)),
        torch.nn.functional.conv_transpose2d(pictures, torch.from_numpy(wide.astype("float64")), stride=2, padding=1),
    ]
    for found, judge in zip(run_pipelined(network(build, x.shape), host_target(), x), expected, strict=True):
        np.testing.assert_allclose(found, judge.numpy().transpose(0, 2, 3, 1), rtol=0, atol=2e-4)


@pytest.mark.parametrize(("rows", "outputs"), [(7, 40), (30, 2), (12, 17)])
def test_pipeline__rows_times_constant_weights__a_kernel_of_ours_as_in_float64(rows, outputs):
    rng = np.random.default_rng(rows)
    x, table = (rng.standard_normal(shape, dtype="float32") for shape in ((rows, 24), (24, outputs)))
    bias = rng.standard_normal(outputs, dtype="float32")

    def build(v: relax.Expr) -> relax.Expr:
        return relax.op.nn.relu(relax.op.add(relax.op.matmul(v, relax.const(table)), relax.const(bias)))

    (found,) = run_pipelined(network(build, x.shape), host_target(), x)
    np.testing.assert_allclose(found, np.maximum(x.astype("float64") @ table + bias, 0), rtol=0, atol=2e-5)
    lowered = LowerConvolution(VectorISA(8, 16))(network(build, x.shape))
    assert [v.name_hint for v, f in lowered.functions_items() if isinstance(f, PrimFunc)] == ["matmul"]


REFUSED = {
    "batch of 2": lambda x: relax.op.nn.conv2d(relax.op.concat([x, x], 0), weight(3, 3, 3, 4), groups=2, **NHWC),
    r"transposed convolution to \(19, 19\)": lambda x: relax.op.nn.conv2d_transpose(
        x, weight(6, 4, 3, 3), strides=2, **IOHW
    ),
    "weights computed at run time": lambda x: relax.op.nn.conv2d(x, relax.op.reshape(x, (3, 3, 6, 9)), **NHWC),
}


@pytest.mark.parametrize("message", REFUSED)
def test_pipeline__convolution_we_lack__is_refused(message):
    with pytest.raises(ModelError, match=message.replace("weights computed", "weights are computed")) as caught:
        run_pipeline(network(REFUSED[message], (1, 9, 9, 6)), host_target().llvm())
    assert "\n" not in str(caught.value)
