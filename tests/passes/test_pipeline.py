"""The whole road over the real models: nothing is left unscheduled, and what belongs together is one kernel."""

import os
from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import pytest
from tvm import relax
from tvm.ir import IRModule, Op
from tvm.s_tir import Schedule
from tvm.tirx import ForKind, PrimFunc

from tests.native import network
from tvmpose.frontend.source import Source
from tvmpose.kernels.convolution import TEMPLATE
from tvmpose.kernels.generic import PARALLEL_WORK
from tvmpose.passes.pipeline import PHASES, dump_to, phases, run_pipeline, shared_phases
from tvmpose.targets import host_target, load_target

DATA = os.environ.get("TVMPOSE_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")
ROOT = Path(__file__).parents[2]
NETS = {
    # each for another instruction set
    "blazepose-lite": (lambda: Source(Path(DATA, "models", "pose_landmark_lite.tflite")), "x86-64-v3"),
    "cpm": (lambda: Source(Path(DATA, "models", "edvardhua_cpm_192.tflite")), "x86-64-v2"),
    "movenet-lightning": (lambda: Source(Path(DATA, "models", "movenet-lightning.onnx")), "x86-64-v4"),
    "mobilenetv2-deconv": (
        lambda: Source(ROOT / "models" / "mobilenetv2-deconv" / "net.py", (1, 3, 256, 192)),
        "host",
    ),
}


def calls(module: IRModule) -> list[relax.Call]:
    values = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    return [v for v in values if isinstance(v, relax.Call) and v.op == Op.get("relax.call_tir")]


def loop_nests(function: PrimFunc) -> Iterator[tuple[bool, int, set[int]]]:
    """Of each block of a scheduled kernel: whether a convolution, how many iterations, and its kinds of loops."""
    schedule = Schedule(function)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        loops = [schedule.get(loop) for loop in schedule.get_loops(block)]
        convolution = TEMPLATE in schedule.get(block).annotations
        yield convolution, prod(int(loop.extent) for loop in loops), {int(loop.kind) for loop in loops}


def kernels(module: IRModule) -> dict[str, PrimFunc]:
    return {v.name_hint: f for v, f in module.functions_items() if isinstance(f, PrimFunc)}


@cache
def compiled(net: str) -> IRModule:
    source, target = NETS[net]
    return run_pipeline(source().load()[0], load_target(target).llvm())


@needs_data
@pytest.mark.parametrize("net", NETS)
def test_pipeline__real_model__every_kernel_worth_it_is_parallel_and_every_convolution_vectorized(net):
    functions = kernels(compiled(net))
    assert len(functions) > 10
    for name, function in functions.items():
        for convolution, iterations, kinds in loop_nests(function):
            if iterations > PARALLEL_WORK:
                assert ForKind.PARALLEL in kinds, (name, function.script())
            if convolution:
                assert ForKind.VECTORIZED in kinds, (name, function.script())


@needs_data
@pytest.mark.parametrize("net", NETS)
def test_pipeline__real_model__main_is_a_straight_line_of_calls_and_reshapes(net):
    module = compiled(net)
    allowed = {Op.get("relax.call_tir"), Op.get("relax.reshape")}
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    for value in (binding.value for binding in bindings):
        assert not isinstance(value, relax.Call) or value.op in allowed, value
    assert {value.args[0].name_hint for value in calls(module)} == set(kernels(module))


def inverted_residual(x: relax.Expr) -> relax.Expr:
    """MobileNetV2's block: expand, depthwise, project, add."""
    random = np.random.default_rng(1)
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}

    def weight(*shape: int) -> relax.Expr:
        return relax.const(random.standard_normal(shape, dtype="float32"))

    def relu6(value: relax.Expr) -> relax.Expr:
        return relax.op.clip(relax.op.add(value, weight(24)), 0.0, 6.0)

    wide = relu6(relax.op.nn.conv2d(x, weight(1, 1, 8, 24), **layouts))
    padded = relax.op.nn.pad(wide, [0, 0, 0, 1, 0, 1, 0, 0])
    deep = relu6(relax.op.nn.conv2d(padded, weight(3, 3, 1, 24), padding=(1, 1, 0, 0), groups=24, **layouts))
    return relax.op.add(relax.op.nn.conv2d(deep, weight(1, 1, 24, 8), **layouts), x)


def test_pipeline__inverted_residual__is_three_kernels():
    module = run_pipeline(network(inverted_residual, (1, 16, 16, 8)), host_target().llvm())
    assert len(calls(module)) == 3


def test_pipeline__equal_subgraphs__are_computed_once():
    module = network(lambda x: [relax.op.exp(inverted_residual(x)), relax.op.exp(inverted_residual(x))], (1, 16, 16, 8))
    assert len(calls(run_pipeline(module, host_target().llvm()))) <= 4


def test_pipeline__imported_module__is_left_as_it_was():
    module = network(inverted_residual, (1, 16, 16, 8))
    before = module.script(show_meta=True)
    run_pipeline(module, host_target().llvm())
    assert module.script(show_meta=True) == before


def test_dump_to__each_phase__is_a_numbered_file(tmp_path):
    target = host_target().llvm()
    run_pipeline(network(inverted_residual, (1, 16, 16, 8)), target, dump_to(tmp_path / "dump"))
    names = [f"{number}-{name}.py" for number, (name, _) in enumerate([*shared_phases(), *phases(target)])]
    assert len(names) == len(PHASES)
    assert sorted(path.name for path in (tmp_path / "dump").iterdir()) == sorted(names)
    assert "call_tir" not in (tmp_path / "dump" / names[0]).read_text()
    assert "call_tir" in (tmp_path / "dump" / names[-1]).read_text()
