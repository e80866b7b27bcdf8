"""to_nhwc and sink_transposes: the same numbers as before, and no transposes but at the borders."""

from pathlib import Path

import numpy as np
import pytest
import torch
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from tvm import relax, topi

from tvmpose.frontend.torch import load_module, load_net
from tvmpose.passes.convert_layout import to_nhwc
from tvmpose.passes.fold_batch_norm import fold_batch_norm
from tvmpose.passes.sink_transposes import sink_transposes


def legalize_deconvolution(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """An NHWC deconvolution by way of TOPI's NCHW one."""
    attributes = call.attrs

    def compute(data, kernel):
        strides, padding, extra = map(list, (attributes.strides, attributes.padding, attributes.output_padding))
        result = topi.nn.group_conv2d_transpose_nchw(
            topi.transpose(data, (0, 3, 1, 2)), kernel, strides, padding, "float32", extra, attributes.groups
        )
        return topi.transpose(result, (0, 2, 3, 1))

    return builder.call_te(compute, *call.args)


def run(module: tvm.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
    """main() in TVM's virtual machine, unscheduled."""
    if 'data_layout="NHWC"' in module.script():
        module = relax.transform.LegalizeOps({"relax.nn.conv2d_transpose": legalize_deconvolution})(module)
    machine = relax.VirtualMachine(tvm.compile(module, tvm.target.Target("llvm")), tvm.cpu())
    return [result.numpy() for result in machine["main"](*map(tvm.runtime.tensor, inputs))]


def calls(module: tvm.IRModule) -> list[relax.Call]:
    """The operator calls of main, in order."""
    found = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call):
            found.append(expression)

    relax.analysis.post_order_visit(module["main"], visit)
    return found


def count(module: tvm.IRModule, name: str) -> int:
    return sum(call.op.name == name for call in calls(module))


def check(net: nn.Module, *, transposes: int, size: tuple[int, int] = (12, 10)) -> tvm.IRModule:
    """Convert ``net`` and compare it with torch; returns the converted module."""
    picture = torch.from_numpy(np.random.default_rng(2).standard_normal((1, 4, *size), dtype="float32"))
    module = to_nhwc(fold_batch_norm(load_module(net.eval(), picture)[0]))
    with torch.no_grad():
        theirs = net(picture)
    for ours, their in zip(
        run(module, picture.numpy()), theirs if isinstance(theirs, tuple) else (theirs,), strict=True
    ):
        np.testing.assert_allclose(ours, their.numpy(), rtol=0, atol=1e-5 * their.abs().max().item())
    assert count(module, "relax.permute_dims") == transposes
    return module


class Net(nn.Module):
    """A forward function with a few convolutions at hand."""

    def __init__(self, forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(4, 8, 3, 1, 1), nn.Conv2d(4, 8, 3, 1, 1)
        self.body = forward

    def forward(self, x):
        return self.body(self, x)


BODIES = {
    # what stands between convolution and output: (function, transposes left: one in, one for each 4-d output)
    "residual": (lambda net, x: net.first(x) + net.second(x), 2),
    "concat": (lambda net, x: torch.cat([net.first(x), net.second(x).relu()], 1), 2),
    "with the input itself": (lambda net, x: torch.cat([net.first(x), x], 1) * 2, 2),
    "split": (lambda net, x: torch.add(*net.first(x).chunk(2, 1)), 2),
    "slice": (lambda net, x: net.first(x)[:, 2:6, 1:], 2),
    "padding": (lambda net, x: nn.functional.pad(net.first(x), (1, 2, 3, 0)), 2),
    "channel scale": (lambda net, x: net.first(x) * torch.arange(8.0).reshape(8, 1, 1) + torch.arange(10.0), 2),
    "squeeze and excite": (lambda net, x: net.first(x) * net.first(x).mean((2, 3), keepdim=True).sigmoid(), 2),
    "global pooling": (lambda net, x: nn.functional.adaptive_avg_pool2d(net.first(x), 1).flatten(1), 1),
    "mean over space": (lambda net, x: net.first(x).mean((2, 3)), 1),
    "softmax": (lambda net, x: net.first(x).softmax(1), 2),
    "channels last in the source": (lambda net, x: net.first(x).permute(0, 2, 3, 1), 1),
    "flattened heatmaps": (lambda net, x: net.first(x).flatten(2).softmax(2), 2),
    "max pooling": (lambda net, x: nn.functional.max_pool2d(net.first(x), 3, 2, 1), 2),
    "average pooling": (lambda net, x: nn.functional.avg_pool2d(net.first(x), 2), 2),
    "resize": (lambda net, x: nn.functional.interpolate(net.first(x), scale_factor=2, mode="bilinear"), 2),
    "nearest": (lambda net, x: nn.functional.interpolate(net.first(x), scale_factor=2, mode="nearest"), 2),
    "two outputs": (lambda net, x: (net.first(x), net.first(x).relu()), 3),
}


@pytest.mark.parametrize("name", BODIES)
def test_to_nhwc__operators_around_convolutions__agree_with_torch(name):
    body, transposes = BODIES[name]
    check(Net(body), transposes=transposes)


def test_to_nhwc__every_kind_of_convolution__is_nhwc_with_constant_kernels():
    layers = [
        nn.Conv2d(4, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.Conv2d(8, 12, 3, 1, 2, dilation=2, groups=4),
        nn.ConvTranspose2d(12, 6, 4, 2, 1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2),
    ]
    module = check(nn.Sequential(*layers), transposes=2)
    convolutions = [call for call in calls(module) if "conv2d" in call.op.name]
    assert len(convolutions) == 5
    for call in convolutions:
        assert (call.attrs.data_layout, call.attrs.out_layout) == ("NHWC", "NHWC")
        assert call.attrs.kernel_layout == ("IOHW" if "transpose" in call.op.name else "HWIO")
        assert isinstance(call.args[1], tvm.ir.GenericConst)
    assert tuple(map(int, convolutions[1].args[1].ty.shape)) == (3, 3, 1, 8)


@pytest.mark.slow
def test_to_nhwc__mobilenetv2_deconv__keeps_a_transpose_at_each_end_and_agrees_with_torch():
    net = load_net(Path(__file__).parents[2] / "models" / "mobilenetv2-deconv" / "net.py")
    picture = torch.from_numpy(np.random.default_rng(4).standard_normal((1, 3, 256, 192), dtype="float32"))
    module = to_nhwc(fold_batch_norm(load_module(net, picture)[0]))
    assert count(module, "relax.permute_dims") == 2
    assert count(module, "relax.nn.conv2d") + count(module, "relax.nn.conv2d_transpose") == 55
    with torch.no_grad():
        theirs = net(picture).numpy()
    np.testing.assert_allclose(run(module, picture.numpy())[0], theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_sink_transposes__random_chains__compute_the_same(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4), label="shape"))
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    values: list[relax.Expr] = [x]
    bindings = []
    for _ in range(data.draw(st.integers(1, 6), label="steps")):
        call = relax.BlockBuilder().normalize(data.draw(step(values[-1])))
        values.append(relax.DataflowVar("v", call.ty))
        bindings.append(relax.VarBinding(values[-1], call))
    result = relax.Var("result", relax.TupleType([values[-1].ty]))
    bindings.append(relax.VarBinding(result, relax.Tuple([values[-1]])))
    body = relax.SeqExpr([relax.DataflowBlock(bindings)], result)
    before = tvm.IRModule({"main": relax.Function([x], body, result.ty).with_attr("global_symbol", "main")})
    after = sink_transposes(before)
    relax.analysis.well_formed(after)  # raises
    assert count(after, "relax.permute_dims") <= min(1, count(before, "relax.permute_dims"))
    array = np.random.default_rng(3).standard_normal(shape, dtype="float32")
    np.testing.assert_allclose(run(after, array)[0], run(before, array)[0], rtol=1e-5, atol=1e-5)


def step(value: relax.Expr) -> st.SearchStrategy:
    """An operator that has a rule, on ``value``."""
    rank = value.ty.ndim
    axis = st.integers(0, rank - 1)
    weights = np.arange(1.0, 1 + int(value.ty.shape[-1]), dtype="float32")
    widths = st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank)
    return st.one_of(
        st.permutations(range(rank)).map(lambda axes: relax.op.permute_dims(value, axes)),
        st.just(relax.op.multiply(value, relax.const(weights))),
        st.just(relax.op.nn.relu(value)),
        axis.map(lambda a: relax.op.nn.softmax(value, a)),
        axis.map(lambda a: relax.op.concat([value, value], a)),
        axis.map(lambda a: relax.op.mean(value, [a], keepdims=True)),
        st.just(relax.op.sum(value, [0]) if rank > 2 else relax.op.exp(value)),
        widths.map(lambda w: relax.op.nn.pad(value, w)),
        axis.map(lambda a: relax.op.strided_slice(value, [a], [0], [1])),
    )
