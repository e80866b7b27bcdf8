"""A convolution that skips what lies outside its picture, in place of reading zeros from a padded copy.

A product with a zero adds nothing, so each step of the reduction first asks whether it is inside. In unrolled loops,
only the few steps that can be outside keep their question, and it is one for a whole vector.
"""

from collections.abc import Iterator

from tvm.ir import Call, Expr, Op
from tvm.s_tir import SBlock, Schedule
from tvm.s_tir.schedule import SBlockRV
from tvm.tirx import Add, And, BufferStore, FloatImm, IfThenElse, Mul

_IF_THEN_ELSE = Op.get("prim.if_then_else")


def is_zero_padding(schedule: Schedule, block: SBlockRV) -> bool:
    """Whether the block stores `inside ? x : 0.0`, which is what the guard is made of."""
    value = schedule.get(block).body.value
    is_choice = isinstance(value, Call) and value.op.same_as(_IF_THEN_ELSE)
    return is_choice and isinstance(value.args[2], FloatImm) and value.args[2].value == 0


def guard_padding(schedule: Schedule, update: SBlockRV) -> None:
    """sum = sum + (inside ? x : 0) * w  ->  if inside: sum = sum + x * w.

    update: the block that accumulates, after its padding was inlined and its initialisation decomposed.
    """
    block = schedule.get(update)
    store = block.body
    assert isinstance(store.value, Add) and isinstance(store.value.b, Mul)
    total, product = store.value.a, store.value.b
    inside, value, _ = product.a.args
    body = BufferStore(store.buffer, total + value * product.b, store.indices)
    for condition in reversed(list(_conjuncts(inside))):
        body = IfThenElse(condition, body, None)
    guarded = SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        body,
        block.init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )
    schedule.state.replace(schedule.get_sref(update), guarded, {block: guarded})


def _conjuncts(condition: Expr) -> Iterator[Expr]:
    if isinstance(condition, And):
        yield from _conjuncts(condition.a)
        yield from _conjuncts(condition.b)
    else:
        yield condition
