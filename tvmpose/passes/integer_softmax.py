"""Softmax of bytes: exponentials from a table of 256 float32, their sum, and bytes again, in one kernel."""

import numpy as np
from tvm import relax, te, tirx
from tvm.ir import Expr

from tvmpose.kernels.integer import Output
from tvmpose.kernels.requantize import Rounding
from tvmpose.passes.integer_walk import Walk
from tvmpose.qdq import Quantization


def integer_softmax(walk: Walk, call: relax.Call, target: Quantization, output: Output) -> relax.Expr:
    """The largest is subtracted first, as all sources do, so that a difference of bytes says which exponential it is.

    TensorFlow Lite multiplies by the inverse of the sum and the result's scale together, and rounds half away from
    zero whatever its other kernels do: Softmax of internal/optimized/optimized_ops.h.
    """
    data = walk.integer(call.args[0])
    axis = int(call.attrs.axis) % len(call.ty.shape)
    steps = np.arange(256, dtype="float32")
    table = np.exp(-data.quantization.scale * steps)
    scale = tirx.const(float(target.scale), "float32")

    def stored(exponential: Expr, total: Expr) -> Expr:
        if walk.rounding.is_float:
            return walk.rounding.nearest(walk.rounding.units(exponential / total, target.scale), output)
        share = exponential * (tirx.const(1, "float32") / (total * scale))
        return Rounding.REFERENCE.nearest(share, output)

    def compute(x: te.Tensor, entries: te.Tensor) -> te.Tensor:
        shape = [int(n) for n in x.shape]
        others = (*shape[:axis], *shape[axis + 1 :])
        along, again = (te.reduce_axis((0, shape[axis]), name) for name in ("along", "again"))

        def at(others: tuple[Expr, ...], position: Expr) -> tuple[Expr, ...]:
            return (*others[:axis], position, *others[axis:])

        def without(indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
            return (*indices[:axis], *indices[axis + 1 :])

        largest = te.compute(others, lambda *i: te.max(x[at(i, along)].astype("int32"), axis=along), name="largest")
        exponential = lambda i: entries[largest[without(i)] - x[i].astype("int32")]  # noqa: E731
        total = te.compute(others, lambda *i: te.sum(exponential(at(i, again)), axis=again), name="total")
        return te.compute(shape, lambda *i: stored(exponential(i), total[without(i)]), name="softmax")

    return walk.call("integer_softmax", compute, data.value, relax.const(table))
