"""A convolution that skips what lies outside its picture, in place of reading zeros from a padded copy.

A product with a zero adds nothing, so each step of the reduction first asks whether it is inside. In unrolled loops,
only the few steps that can be outside keep their question, and it is one for a whole vector.
"""

from collections.abc import Iterator

from tvm import tirx
from tvm.ir import Call, Expr, Op
from tvm.s_tir import SBlock, Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import Add, And, BufferStore, FloatImm, IfThenElse, Mul, Stmt

_IF_THEN_ELSE = Op.get("prim.if_then_else")


def is_padding(schedule: Schedule, block: SBlockRV) -> bool:
    """Whether the block stores `inside ? x : y`."""
    value = schedule.get(block).body.value
    return isinstance(value, Call) and value.op.same_as(_IF_THEN_ELSE)


def is_zero_padding(schedule: Schedule, block: SBlockRV) -> bool:
    """Whether the block stores `inside ? x : 0.0`, which is what the guard is made of."""
    fill = schedule.get(block).body.value.args[2] if is_padding(schedule, block) else None
    return isinstance(fill, FloatImm) and fill.value == 0


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
    _replace_body(schedule, update, body)


def copy_inside_apart(schedule: Schedule, pad: SBlockRV, column: LoopRV) -> None:
    """Split a padding copy's loop over columns, so that those inside the picture are copied without a question.

    pad: a block that stores `inside ? x : y`, already at its place.
    """
    store = schedule.get(pad).body
    inside, value, fill = store.value.args
    conditions = [tirx.likely(condition) for condition in _conjuncts(inside)]
    value = tirx.if_then_else(tirx.all(*conditions), value, fill)
    schedule.annotate(column, "pragma_loop_partition_hint", True)
    _replace_body(schedule, pad, BufferStore(store.buffer, value, store.indices))


def _replace_body(schedule: Schedule, block_rv: SBlockRV, body: Stmt) -> None:
    block = schedule.get(block_rv)
    replaced = SBlock(
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
    schedule.state.replace(schedule.get_sref(block_rv), replaced, {block: replaced})


def _conjuncts(condition: Expr) -> Iterator[Expr]:
    if isinstance(condition, And):
        yield from _conjuncts(condition.a)
        yield from _conjuncts(condition.b)
    else:
        yield condition
