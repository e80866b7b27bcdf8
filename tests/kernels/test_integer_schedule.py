"""Integer convolutions on x86: what their innermost loops look like in assembly."""

import re

import pytest
import tvm
from tvm import te

from tvmpose.kernels.convolution import Window
from tvmpose.kernels.dispatch import schedule_kernel
from tvmpose.kernels.integer import integer_conv2d, integer_tile
from tvmpose.kernels.isa import vector_isa
from tvmpose.targets import load_target


def innermost_loops(assembly: str) -> list[str]:
    """What stands between a label and the first jump back to it, without another label in between."""
    return [body for label, body in re.findall(r"^(\.L\w+):((?:(?!^\.L).)*?)\tj\w+\t\1$", assembly, re.M | re.S)]


@pytest.mark.parametrize("channels", [(384, 384), (96, 96), (24, 40)], ids=str)
@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_integer_conv2d__without_vnni__no_sum_goes_to_memory_in_the_loop(level: str, channels: tuple[int, int]):
    llvm, (inputs, outputs), size = load_target(level).llvm(), channels, (23, 31)
    isa = vector_isa(llvm)
    dot = isa.dot_product(isa.lanes_for(outputs))
    assert dot.widens
    data = te.placeholder((1, *size, inputs), "int16", "data")
    packed = (-(-outputs // dot.lanes), 1, 1, inputs // dot.taken, dot.lanes, dot.taken)
    weights = te.placeholder(packed, "int8", "weights")
    sums = integer_conv2d(
        data, weights, Window((1, 1), (0, 0, 0, 0), (1, 1)), size, integer_tile(size, outputs, dot, isa)
    )
    kernel = schedule_kernel(te.create_prim_func([data, weights, sums]), isa)
    assembly = tvm.tirx.build(kernel.with_attr("global_symbol", "main"), target=llvm).inspect_source("asm")
    loops = [body for body in innermost_loops(assembly) if "pmaddwd" in body]
    assert loops
    for body in loops:
        assert not re.search(r"\tv?mov[du]q[au]?\w*\t%[xyz]mm\d+, .*\(", body), body
