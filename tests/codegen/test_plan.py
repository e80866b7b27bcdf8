"""The memory plan: a simulation of what is where, and the arena's bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tests.native import compile_module, network, run_library
from tvmpose.codegen.plan import ALIGNMENT, Plan, Storage, plan_module
from tvmpose.passes.pipeline import run_pipeline
from tvmpose.targets import host_target


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@st.composite
def storages(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """bytes, first and last call of each."""
    calls = st.integers(-1, 12)
    ends = st.tuples(calls, calls).map(sorted)
    return [(size, *ends) for size, ends in draw(st.lists(st.tuples(st.integers(1, 5000), ends), max_size=25))]


def placed(lifetimes: list[tuple[int, int, int]], guard_bytes: int = 0) -> Plan:
    plan = Plan()
    for index, (size, first, last) in enumerate(lifetimes):
        plan.add_tensor(f"t{index}", (size,), "uint8", first, last)
    plan.place(guard_bytes)
    return plan


def alive_together(a: Storage, b: Storage) -> bool:
    return a.first <= b.last and b.first <= a.last


def pairs(plan: Plan) -> list[tuple[Storage, Storage]]:
    return [(a, b) for i, a in enumerate(plan.storages) for b in plan.storages[:i]]


@settings(max_examples=200, deadline=None)
@given(storages())
def test_place__any_lifetimes__aligned_and_disjoint_while_alive(lifetimes):
    plan = placed(lifetimes)
    assert all(storage.offset % ALIGNMENT == 0 for storage in plan.storages)
    for a, b in pairs(plan):
        disjoint = a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset
        assert disjoint or not alive_together(a, b)


@settings(max_examples=200, deadline=None)
@given(storages())
def test_place__any_lifetimes__arena_lies_between_the_peak_and_the_sum(lifetimes):
    arena = placed(lifetimes).arena_bytes
    alive = [sum(size for size, first, last in lifetimes if first <= call <= last) for call in range(-1, 13)]
    assert max(alive) <= arena <= sum(aligned(size) for size, *_ in lifetimes)
    assert arena % ALIGNMENT == 0


@settings(max_examples=100, deadline=None)
@given(storages(), st.integers(1, 300))
def test_place__guard_bands__belong_to_nobody_ever(lifetimes, guard_bytes):
    plan = placed(lifetimes, guard_bytes)
    for storage in plan.storages:
        assert storage.offset % ALIGNMENT == 0
        assert guard_bytes <= storage.offset <= plan.arena_bytes - storage.bytes - guard_bytes
    for a, b in pairs(plan):
        assert a.offset + a.bytes + guard_bytes <= b.offset or b.offset + b.bytes + guard_bytes <= a.offset


def test_place__a_chain__takes_two_storages():
    assert placed([(6400, i, i + 1) for i in range(-1, 9)]).arena_bytes == 2 * 6400


def simulate(plan: Plan) -> None:
    """Run the calls on an arena that remembers, for each byte, who wrote it last."""
    owner = np.full(plan.arena_bytes, -1)

    def region(index: int) -> np.ndarray:
        storage = plan.storages[plan.tensors[index].storage]
        return owner[storage.offset : storage.offset + plan.tensors[index].bytes]

    def read(index: int) -> None:
        if plan.tensors[index].storage is not None:
            assert np.all(region(index) == plan.tensors[index].storage), plan.tensors[index]

    for index in plan.inputs:
        region(index)[:] = plan.tensors[index].storage
    known = set(plan.inputs)
    for call in plan.calls:
        for index in call.args:
            tensor = plan.tensors[index]
            if tensor.storage is None or any(plan.tensors[i].storage == tensor.storage for i in known):
                read(index)
            else:
                region(index)[:] = tensor.storage  # a result: written here first
                known.add(index)
        for index in call.args:  # no result may have run over an operand
            read(index)
    for index in plan.outputs:
        read(index)


@st.composite
def graphs(draw: st.DrawFn):
    """A random graph over 4 x 8 tensors, with reshapes, splits, constants, and any of its values as outputs."""
    steps = draw(
        st.lists(st.tuples(st.sampled_from("softmax add reshape split weight".split()), st.integers(0, 99)), max_size=9)
    )
    outputs = draw(st.lists(st.integers(0, 99), min_size=1, max_size=4))

    def build(x: relax.Expr, y: relax.Expr) -> list[relax.Expr]:
        emit, values = relax.BlockBuilder.current().emit, [x, y]
        for kind, choice in steps:
            value, other = values[choice % len(values)], values[-1 - choice % 2]
            if kind == "reshape":
                values.append(emit(relax.op.reshape(emit(relax.op.reshape(value, (32,))), (4, 8))))
            elif kind == "split":
                parts = emit(relax.op.split(value, 2, 1))
                values.append(emit(relax.op.concat([relax.TupleGetItem(parts, 1), relax.TupleGetItem(parts, 0)], 1)))
            elif kind == "weight":
                values.append(emit(relax.op.multiply(value, relax.const(np.arange(8, dtype="float32")))))
            else:
                values.append(emit(relax.op.nn.softmax(value) if kind == "softmax" else relax.op.add(value, other)))
        return [values[index % len(values)] for index in outputs]

    return network(build, (4, 8), (4, 8))


@settings(max_examples=25, deadline=None)
@given(graphs(), st.sampled_from([0, 64, 100]))
def test_plan_module__random_graphs__no_call_reads_what_another_has_overwritten(module, guard_bytes):
    plan = plan_module(run_pipeline(module, host_target().llvm()))
    plan.place(guard_bytes)
    simulate(plan)


def test_plan_module__equal_constants__are_stored_once_and_aligned():
    def build(x: relax.Expr) -> list[relax.Expr]:
        weight, other = np.arange(30, dtype="float32").reshape(5, 6), np.arange(6, dtype="float32")
        product = relax.op.nn.softmax(relax.op.multiply(x, relax.const(weight)))
        return [
            relax.op.nn.softmax(relax.op.add(product, relax.const(weight))),
            relax.op.multiply(x, relax.const(other)),
        ]

    plan = plan_module(run_pipeline(network(build, (5, 6)), host_target().llvm()))
    weights = [tensor for tensor in plan.tensors if tensor.weight_offset is not None]
    assert sorted(tensor.shape for tensor in weights) == [(5, 6), (6,)]
    assert all(tensor.weight_offset % ALIGNMENT == 0 for tensor in weights)
    for tensor in weights:
        stored = np.frombuffer(plan.weights, tensor.dtype, int(np.prod(tensor.shape)), tensor.weight_offset)
        np.testing.assert_array_equal(stored, np.arange(stored.size))


CONSTANT = np.arange(8, dtype="float32")


@pytest.mark.parametrize("guard_bytes", [0, 128])
def test_library__outputs_that_nothing_computes__are_returned(tmp_path, guard_bytes):
    """The input itself, a view of it, one tensor twice, a constant; and a network without a single kernel."""

    def build(x: relax.Expr) -> list[relax.Expr]:
        view = relax.BlockBuilder.current().emit(relax.op.reshape(x, (8, 1)))
        return [x, view, view, relax.const(CONSTANT)]

    library = compile_module(network(build, (2, 4)), host_target(), tmp_path, guard_bytes=guard_bytes)
    x = np.random.default_rng(1).standard_normal((2, 4), dtype="float32")
    for found, expected in zip(run_library(library, [x]), [x, x.reshape(8, 1), x.reshape(8, 1), CONSTANT], strict=True):
        np.testing.assert_array_equal(found, expected)
