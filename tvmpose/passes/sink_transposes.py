"""Move transposes down the graph, through every operator that does not mind, until they cancel or reach an output.

One walk: a value may be held as a *view*, the transpose of another value, which is not computed. An operator with a
rule below works on what lies under its operands' views, and its result is again a view. An operator without one, and
an output, gets the transpose after all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvmpose.passes.rebuild_call import rebuild_call


@dataclass(frozen=True)
class View:
    """``permute_dims(base, axes)``, not computed: extent i of the view is extent axes[i] of the base."""

    base: relax.Expr
    axes: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        return self.axes == tuple(range(len(self.axes)))

    @property
    def keeps_order(self) -> bool:
        """Whether only extents of 1 change places, so that the elements stay in order in memory."""
        moved = [axis for axis in self.axes if int(self.base.ty.shape[axis]) != 1]
        return moved == sorted(moved)


def sink_transposes(module: tvm.IRModule) -> tvm.IRModule:
    """Move every ``permute_dims`` of ``main`` towards its outputs and drop those that cancel."""
    sinker = _Sinker(module)
    function = sinker.visit_expr(module["main"])
    sinker.builder_.update_func(module.get_global_var("main"), function)
    cleanup = [relax.transform.DeadCodeElimination(), relax.transform.CanonicalizeBindings()]
    return tvm.transform.Sequential(cleanup)(sinker.builder_.get())


@mutator
class _Sinker(PyExprMutator):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.views: dict[relax.Var, View] = {}
        self.tuples: dict[relax.Var, tuple[relax.Var, tuple[int, ...]]] = {}
        self.computed: dict[tuple[relax.Expr, tuple[int, ...]], relax.Expr] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if isinstance(binding.var, relax.DataflowVar) and self.hold_as_view(binding.var, binding.value):
            return
        super().visit_var_binding_(binding)

    def visit_dataflow_var_(self, var: relax.Var) -> relax.Expr:
        view = self.views.get(var)
        return super().visit_dataflow_var_(var) if view is None else self.compute(view)

    def hold_as_view(self, var: relax.Var, value: relax.Expr) -> bool:
        """Try to record ``value`` as a view instead of computing it."""
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in self.tuples:
            base, axes = self.tuples[value.tuple_value]
            self.views[var] = View(self.builder_.emit(relax.TupleGetItem(base, value.index)), axes)
            return True
        if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
            return False
        rule = RULES.get(value.op.name)
        result = None if rule is None else rule(self, value)
        if result is None:
            return False
        expression, axes = result
        emitted = self.builder_.emit(expression) if isinstance(expression, relax.Call) else expression
        if isinstance(emitted.ty, relax.TupleType):
            self.tuples[var] = (emitted, axes)
        else:
            self.views[var] = View(emitted, axes)
        return True

    def view(self, expression: relax.Expr) -> View:
        """What is known of an operand: its view, or itself in its own order."""
        if expression in self.views:
            return self.views[expression]
        return View(self.visit_expr(expression), tuple(range(expression.ty.ndim)))

    def compute(self, view: View) -> relax.Expr:
        """The view's value, computed once."""
        if view.is_plain:
            return view.base
        key = (view.base, view.axes)
        if key not in self.computed:
            shape = [view.base.ty.shape[axis] for axis in view.axes]
            moved = relax.op.reshape(view.base, shape) if view.keeps_order else relax.op.permute_dims(*key)
            self.computed[key] = self.builder_.emit(moved)
        return self.computed[key]

    def beneath(self, expression: relax.Expr, axes: Sequence[int]) -> relax.Expr:
        """An operand of a broadcasting operator, brought to the order that lies under a view by ``axes``."""
        view = self.view(expression)
        missing = len(axes) - len(view.axes)
        if not view.axes:
            return view.base
        order = [view.axes[axis - missing] + missing if axis >= missing else axis for axis in np.argsort(axes)]
        if isinstance(view.base, tvm.ir.GenericConst):
            value = view.base.value.numpy()
            return relax.const(np.ascontiguousarray(value.reshape((1,) * missing + value.shape).transpose(order)))
        base = view.base
        if missing:
            base = self.builder_.emit(relax.op.reshape(base, [*[1] * missing, *base.ty.shape]))
        return self.compute(View(base, tuple(int(axis) for axis in order)))


# A rule returns the call to make under the views and the axes of its result's view, or None where it does not apply.
Sunk = tuple[relax.Expr, tuple[int, ...]] | None
Rule = Callable[[_Sinker, relax.Call], Sunk]


def permute(sinker: _Sinker, call: relax.Call) -> Sunk:
    view = sinker.view(call.args[0])
    outer = call.attrs.axes or reversed(range(len(view.axes)))
    return view.base, tuple(view.axes[int(axis)] for axis in outer)


def broadcast(sinker: _Sinker, call: relax.Call) -> Sunk:
    """Operators that work element by element, operands of fewer dimensions included."""
    is_tensor = [isinstance(argument.ty, relax.TensorType) for argument in call.args]
    views = [sinker.view(argument) for argument, tensor in zip(call.args, is_tensor, strict=True) if tensor]
    axes = next((v.axes for v in views if not v.is_plain and len(v.axes) == call.ty.ndim), None)
    if axes is None:
        return None
    operands = [
        sinker.beneath(argument, axes) if tensor else argument
        for argument, tensor in zip(call.args, is_tensor, strict=True)
    ]
    return rebuild_call(call, operands), axes


def concatenate(sinker: _Sinker, call: relax.Call) -> Sunk:
    parts = call.args[0]
    if not isinstance(parts, relax.Tuple):
        return None
    axes = next((v.axes for v in map(sinker.view, parts.fields) if not v.is_plain), None)
    if axes is None:
        return None
    operands = relax.Tuple([sinker.beneath(part, axes) for part in parts.fields])
    return rebuild_call(call, [operands], axis=axes[call.attrs.axis]), axes


def along_axis(sinker: _Sinker, call: relax.Call) -> Sunk:
    """split, softmax: one axis is named, and all stay."""
    view = sinker.view(call.args[0])
    return None if view.is_plain else (rebuild_call(call, [view.base], axis=view.axes[call.attrs.axis]), view.axes)


def pad(sinker: _Sinker, call: relax.Call) -> Sunk:
    view = sinker.view(call.args[0])
    if view.is_plain:
        return None
    widths = np.reshape([int(width) for width in call.attrs.pad_width], (-1, 2))[np.argsort(view.axes)]
    return rebuild_call(call, [view.base], pad_width=widths.flatten().tolist()), view.axes


def strided_slice(sinker: _Sinker, call: relax.Call) -> Sunk:
    view = sinker.view(call.args[0])
    if view.is_plain:
        return None
    axes = [view.axes[int(axis.value)] for axis in call.args[1].fields]
    return rebuild_call(call, [view.base, relax.Tuple([relax.prim_value(a) for a in axes]), *call.args[2:]]), view.axes


def reduce(sinker: _Sinker, call: relax.Call) -> Sunk:
    view = sinker.view(call.args[0])
    counts_elements = call.op.name in ("relax.argmax", "relax.argmin") and call.attrs.axis is None
    if view.is_plain or counts_elements:
        return None
    rank = len(view.axes)
    reduced = range(rank) if call.attrs.axis is None else np.atleast_1d(call.attrs.axis)
    gone = {int(axis) % rank for axis in reduced}
    inner = [view.axes[axis] for axis in sorted(gone)]
    kept = view.axes if call.attrs.keepdims else [view.axes[axis] for axis in range(rank) if axis not in gone]
    axis = inner[0] if np.isscalar(call.attrs.axis) else inner
    return rebuild_call(call, [view.base], axis=axis), tuple(sorted(kept).index(axis) for axis in kept)


def reshape(sinker: _Sinker, call: relax.Call) -> Sunk:
    """Free where the transpose under it is."""
    view = sinker.view(call.args[0])
    if view.is_plain or not view.keeps_order:
        return None
    return relax.op.reshape(view.base, call.ty.shape), tuple(range(call.ty.ndim))


RULES: dict[str, Rule] = {"relax.permute_dims": permute, "relax.concat": concatenate}
RULES |= {"relax.nn.pad": pad, "relax.strided_slice": strided_slice}
RULES |= dict.fromkeys(("relax.split", "relax.nn.softmax", "relax.nn.log_softmax"), along_axis)
RULES |= dict.fromkeys(("relax.reshape", "relax.squeeze", "relax.expand_dims", "relax.flatten"), reshape)
RULES |= {f"relax.{name}": reduce for name in "mean sum max min prod argmax argmin".split()}
RULES |= {f"relax.nn.{name}": broadcast for name in "relu leakyrelu gelu gelu_tanh silu softplus selu".split()}
RULES |= {
    f"relax.{name}": broadcast
    for name in (
        "abs astype ceil clip cos erf exp floor log negative round rsqrt sigmoid sign sin sqrt square tanh "
        "add subtract multiply divide floor_divide mod maximum minimum power where logical_and logical_or "
        "equal not_equal less less_equal greater greater_equal"
    ).split()
}
