"""What the quantizer finds in a graph."""

import numpy as np
import pytest
from tvm import relax, te
from tvm.relax import op as R

from tests.native import network
from tests.quantize.nets import LAYOUT, emit, residual_net
from tvmpose.errors import ModelError
from tvmpose.quantize.network import Layer, byte_operands, prepare, read_network, wide_operands


def test_read_network__residual_block__layers_with_their_biases_and_activations():
    found = read_network(prepare(residual_net()))
    assert [(unit.call.op.name, unit.bounds) for unit in found.units] == [
        ("relax.nn.conv2d", (-np.inf, np.inf)),
        ("relax.nn.conv2d", (0.0, 6.0)),
        ("relax.nn.conv2d", (0.0, 6.0)),
        ("relax.nn.conv2d", (-np.inf, np.inf)),
        ("relax.add", (0.0, np.inf)),
        ("relax.nn.conv2d", (-np.inf, np.inf)),
    ]
    assert [layer.is_depthwise for layer in found.layers] == [False, False, True, False, False]
    assert [bool(layer.bias.any()) for layer in found.layers] == [False, True, True, True, True]
    assert [layer.multiply_adds for layer in found.layers] == [64 * 36, 64 * 72, 64 * 108, 64 * 72, 36 * 270]


def test_integer_units__residual_block__bytes_for_layers_and_16_bits_for_additions_and_the_caller():
    found = read_network(prepare(residual_net()))
    stem, wide, deep, branch, joined, last = (unit.name for unit in found.units)
    units = found.integer_units()
    assert [unit.name for unit in units] == [stem, wide, deep, branch, joined, last]
    assert byte_operands(found, units) == {"x0", stem, wide, deep, joined}
    assert wide_operands(found, units) == {stem, branch, last}


def test_integer_units__last_layer_stays_float__so_does_the_addition_before_it():
    found = read_network(prepare(residual_net()))
    *kept, branch, joined, last = (unit.name for unit in found.units)
    units = found.integer_units([last])
    assert [unit.name for unit in units] == [*kept, branch]
    assert joined not in byte_operands(found, units)


def test_integer_units__arithmetic_of_a_head__is_float():
    def build(x: relax.Expr) -> relax.Expr:
        weight = relax.const(np.ones((1, 1, 6, 4), "float32"))
        maps = emit(R.nn.conv2d(x, weight, kernel_layout="HWIO", **LAYOUT))
        return R.reshape(emit(R.multiply(maps, maps)), (1, 256))

    found = read_network(prepare(network(build, (1, 8, 8, 6))))
    assert [type(unit) for unit in found.integer_units()] == [Layer]


def test_groups__concatenated_tensors__share_a_scale():
    def build(x: relax.Expr) -> relax.Expr:
        one, two = (relax.const(np.full((1, 1, 6, 4), n, "float32")) for n in (1.0, 2.0))
        parts = [emit(R.nn.conv2d(x, w, kernel_layout="HWIO", **LAYOUT)) for w in (one, two)]
        joined = emit(R.concat(parts, axis=3))
        return R.nn.conv2d(joined, relax.const(np.ones((1, 1, 8, 2), "float32")), kernel_layout="HWIO", **LAYOUT)

    found = read_network(prepare(network(build, (1, 8, 8, 6))))
    first, second, joined, last = (unit.name for unit in found.units)
    assert found.groups[first] == found.groups[second] == found.groups[joined]
    assert found.groups["x0"] != found.groups[first] != found.groups[last]


def test_prepare__network_with_kernels_of_its_own__is_refused() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4,), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(builder.call_te(lambda data: te.compute((4,), lambda i: data[i] + 1), x))
        builder.emit_func_output(y)
    with pytest.raises(ModelError, match="networks of two stages"):
        prepare(builder.get())
