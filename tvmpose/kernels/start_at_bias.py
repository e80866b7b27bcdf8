"""Sums that start at the bias, not at zero: accumulators are set in any case, and an addition behind them is saved."""

from operator import or_

from tvm.ir import Expr, Range, TensorLoad
from tvm.s_tir import SBlock, Schedule
from tvm.s_tir.schedule import SBlockRV
from tvm.tirx import Add, BufferLoad, BufferRegion, BufferStore, Stmt
from tvm_ffi import structural_equal, structural_map, structural_walk

_PLACE = 3  # axes of the sums that say where in the picture they are


def take_bias(schedule: Schedule, output: SBlockRV, conv: SBlockRV) -> Expr | None:
    """Remove `+ bias` from the output, where it stands behind every read of the sums; returns the bias, a tensor.

    Only one for each of the channels of the sums (n, y, x, ...), those included that merely fill up the last vector.
    """
    sums, block = schedule.get(conv).writes[0].source, schedule.get(output)
    reads: list[Expr] = []
    biases: list[Expr] = []

    def look(node: Expr) -> None:
        if isinstance(node, TensorLoad):
            reads.extend([node] * node.source.same_as(sums))
        elif (bias := _bias(node, sums)) is not None:
            biases.append(bias)

    structural_walk(block.body, ((Add, TensorLoad), look))
    if not biases or len(biases) != len(reads) or not all(bias.same_as(biases[0]) for bias in biases):
        return None

    def without(node: Expr) -> Expr:
        if (bias := _bias(node, sums)) is None or not bias.same_as(biases[0]):
            return node
        return node.a if _reads(node.a, sums) else node.b

    body = structural_map(block.body, (Add, without))
    _replace(schedule, output, body, [read for read in block.reads if not read.source.same_as(biases[0])])
    return biases[0]


def start_at(schedule: Schedule, init: SBlockRV, bias: Expr | None) -> None:
    """init: the block that sets the sums to zero, decomposed from their reduction."""
    if bias is None:
        return
    store = schedule.get(init).body
    last = list(store.indices)[-len(bias.shape) :]
    indices = [index if int(extent) != 1 else 0 for index, extent in zip(last, bias.shape, strict=True)]
    body = BufferStore(store.buffer, BufferLoad(bias, indices), store.indices)
    region = BufferRegion(bias, [Range.from_min_extent(index, 1) for index in indices])
    _replace(schedule, init, body, [region])


def _bias(node: Add, sums: Expr) -> Expr | None:
    """The tensor that is added to a read of the sums, if it is a bias."""
    total, other = (node.a, node.b) if _reads(node.a, sums) else (node.b, node.a)
    if not _reads(total, sums) or not isinstance(other, TensorLoad) or _reads(other, sums):
        return None
    rank = len(other.indices)
    axes = zip(other.source.shape, other.indices, list(sums.shape)[-rank:], list(total.indices)[-rank:], strict=True)
    fits = [int(size) == int(extent) and structural_equal(index, its) for size, index, extent, its in axes]
    ones = [int(size) == 1 for size in other.source.shape]
    everywhere = all(ones[: -(len(sums.shape) - _PLACE)])
    return other.source if everywhere and fits[-1] and all(map(or_, fits, ones)) else None


def _reads(node: Expr, tensor: Expr) -> bool:
    return isinstance(node, TensorLoad) and node.source.same_as(tensor)


def _replace(schedule: Schedule, name: SBlockRV, body: Stmt, reads: list[BufferRegion]) -> None:
    old = schedule.get(name)
    block = SBlock(
        old.iter_vars,
        reads,
        old.writes,
        old.name_hint,
        body,
        old.init,
        old.alloc_buffers,
        old.match_buffers,
        old.annotations,
    )
    schedule.state.replace(schedule.get_sref(name), block, {old: block})
