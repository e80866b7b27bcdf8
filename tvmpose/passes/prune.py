"""Drop outputs and parts of outputs, and all that computes nothing else.

A cut moves up the graph as far as that is exact: through elementwise operators, reshapes and resizes into the weights
of the convolution or matrix product behind them. It stops at an operator without a rule, and at a value that something
else needs whole. Where it reaches no weights, nothing would be saved, and the output is cut as the last thing.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvmpose.passes.convert_layout import POOLINGS
from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.passes.sink_transposes import RULES as TRANSPOSE_RULES
from tvmpose.passes.sink_transposes import broadcast as is_elementwise

if TYPE_CHECKING:
    from tvmpose.selection import Part


T = relax.transform
CLEANUP = tvm.transform.Sequential([T.Normalize(), T.CanonicalizeBindings(), T.DeadCodeElimination()])


def prune(module: tvm.IRModule, parts: "Sequence[Part]") -> tvm.IRModule:
    """``main`` returning these parts of its outputs, in this order."""
    module = T.Normalize()(module)
    outputs = _outputs(module["main"])
    module = _returning(module, [outputs[part.output] for part in parts])
    cutter = _Cutter(module["main"])
    results = [
        value if part.indices is None else cutter.cut_output(value, part.axis, np.array(part.indices))
        for part, value in zip(parts, _outputs(module["main"]), strict=True)
    ]
    return _returning(module, results, cutter.bindings)


def _bindings(main: relax.Function) -> list[relax.Binding]:
    return [binding for block in main.body.blocks for binding in block.bindings]


def _outputs(main: relax.Function) -> list[relax.Expr]:
    """The values in the tuple that it returns."""
    made = {binding.var: binding.value for binding in _bindings(main) if isinstance(binding, relax.VarBinding)}
    result = main.body.body
    while isinstance(result, relax.Var):
        result = made[result]
    return list(result.fields)


def _returning(module: tvm.IRModule, outputs: Sequence[relax.Expr], more: Sequence[relax.Binding] = ()) -> tvm.IRModule:
    """``main`` with more bindings at its end and these outputs, without what they do not need."""
    main, values = module["main"], relax.Tuple(list(outputs))
    result = relax.Var("outputs", relax.TupleType([value.ty for value in outputs]))
    block = relax.DataflowBlock([*_bindings(main), *more, relax.VarBinding(result, values)])
    function = relax.Function(main.params, relax.SeqExpr([block], result), result.ty, attrs=main.attrs)
    module = module.clone()
    module.update_func(module.get_global_var("main"), function)
    return CLEANUP(module)


class _Cutter:
    """Makes parts of a function's values; ``bindings`` is what has to be computed for them, in order."""

    def __init__(self, main: relax.Function) -> None:
        self.builder = relax.BlockBuilder()
        self.bindings: list[relax.Binding] = []
        self.made: dict[relax.Var, relax.Expr] = {}
        self.uses: dict[relax.Var, int] = {}
        self.weights_cut = 0
        for binding in _bindings(main):
            self.made[binding.var] = binding.value
            relax.analysis.post_order_visit(binding.value, self._count)

    def _count(self, expression: relax.Expr) -> None:
        if isinstance(expression, relax.Var):
            self.uses[expression] = self.uses.get(expression, 0) + 1

    def cut_output(self, value: relax.Expr, axis: int, kept: np.ndarray) -> relax.Expr:
        """``take(value, kept, axis)``, with as little computed for it as can be."""
        bindings, weights_cut = len(self.bindings), self.weights_cut
        result = self.cut(value, axis, kept)
        if self.weights_cut == weights_cut:
            del self.bindings[bindings:]
            result = self.emit(take(value, axis, kept))
        return result

    def cut(self, value: relax.Expr, axis: int, kept: np.ndarray) -> relax.Expr:
        """The same, as far up the graph as there are rules."""
        if isinstance(value, GenericConst):
            return relax.const(np.ascontiguousarray(np.take(value.value.numpy(), kept, axis)))
        call = self.made.get(value) if self.uses.get(value, 0) == 1 else None
        rule = RULES.get(getattr(call.op, "name", "")) if isinstance(call, relax.Call) else None
        result = rule(self, call, axis, kept) if rule else None
        return self.emit(take(value, axis, kept) if result is None else result)

    def cut_weights(self, weights: relax.Expr, axis: int, kept: np.ndarray) -> relax.Expr:
        self.weights_cut += 1
        return self.cut(weights, axis, kept)

    def emit(self, value: relax.Expr) -> relax.Expr:
        if not isinstance(value, relax.Call):
            return value
        value = self.builder.normalize(value)
        variable = relax.DataflowVar("kept", value.ty)
        self.bindings.append(relax.VarBinding(variable, value))
        return variable


def take(value: relax.Expr, axis: int, kept: np.ndarray) -> relax.Call:
    return relax.op.take(value, relax.const(kept, "int64"), axis, mode="clip")  # of the others, TVM warns on stderr


# A rule returns what makes ``kept`` of a call's result along an axis, or None where there is nothing.
Rule = Callable[[_Cutter, relax.Call, int, np.ndarray], relax.Expr | None]


def _shape(value: relax.Expr) -> tuple[int, ...]:
    return tuple(int(extent) for extent in value.ty.shape)


def elementwise(cutter: _Cutter, call: relax.Call, axis: int, kept: np.ndarray) -> relax.Call:
    """Operands that are broadcast along the axis stay."""
    extent, rank = _shape(call)[axis], len(_shape(call))
    operands = []
    for operand in call.args:
        own = axis - rank + operand.ty.ndim if isinstance(operand.ty, relax.TensorType) else -1
        runs_along = own >= 0 and _shape(operand)[own] == extent
        operands.append(cutter.cut(operand, own, kept) if runs_along else operand)
    return rebuild_call(call, operands)


def reshape(cutter: _Cutter, call: relax.Call, axis: int, kept: np.ndarray) -> relax.Call | None:
    """Where one axis of the operand runs over the same elements, or over blocks or parts of them."""
    data, shape = call.args[0], _shape(call)
    outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
    for own, extent in enumerate(_shape(data)):
        within = prod(_shape(data)[own + 1 :])
        if prod(_shape(data)[:own]) != outer or extent * within != shape[axis] * inner:
            continue
        indices = _regrouped(kept, inner, within)
        if indices is not None:
            part = cutter.cut(data, own, indices)
            return relax.op.reshape(part, (*shape[:axis], len(kept), *shape[axis + 1 :]))
    return None


def _regrouped(kept: np.ndarray, inner: int, within: int) -> np.ndarray | None:
    """Indices of blocks of ``inner`` elements as indices of blocks of ``within``; None where they cut such a block."""
    elements = (kept[:, None] * inner + np.arange(inner)).reshape(-1)
    if len(elements) % within:
        return None
    blocks = elements.reshape(-1, within)
    whole = (blocks[:, 0] % within == 0).all() and (blocks == blocks[:, :1] + np.arange(within)).all()
    return blocks[:, 0] // within if whole else None


def permute(cutter: _Cutter, call: relax.Call, axis: int, kept: np.ndarray) -> relax.Call:
    axes = call.attrs.axes or list(reversed(range(call.ty.ndim)))
    return rebuild_call(call, [cutter.cut(call.args[0], int(axes[axis]), kept)])


def concatenate(cutter: _Cutter, call: relax.Call, axis: int, kept: np.ndarray) -> relax.Expr | None:
    """Along its own axis each part keeps its share; parts without one are not computed."""
    if not isinstance(call.args[0], relax.Tuple):
        return None
    fields = list(call.args[0].fields)
    if int(call.attrs.axis) % call.ty.ndim != axis:
        return rebuild_call(call, [relax.Tuple([cutter.cut(field, axis, kept) for field in fields])])
    starts = np.cumsum([0, *(_shape(field)[axis] for field in fields)])
    shares = [kept[(kept >= low) & (kept < high)] - low for low, high in pairwise(starts)]
    cuts = [cutter.cut(field, axis, share) for field, share in zip(fields, shares, strict=True) if len(share)]
    return cuts[0] if len(cuts) == 1 else rebuild_call(call, [relax.Tuple(cuts)])


def convolution(cutter: _Cutter, call: relax.Call, axis: int, kept: np.ndarray) -> relax.Call | None:
    """Fewer kernels."""
    layout = call.attrs.out_layout or call.attrs.data_layout
    if layout.index("C") != axis or call.attrs.groups != 1:
        return None
    kernel_axis = call.attrs.kernel_layout.index("O")
    return rebuild_call(call, [call.args[0], cutter.cut_weights(call.args[1], kernel_axis, kept)])


def matmul(cutter: _Cutter, call: relax.Call, axis: int, kept: np.ndarray) -> relax.Call | None:
    """Fewer columns."""
    data, weights = call.args
    if axis != call.ty.ndim - 1 or weights.ty.ndim < 2:
        return None
    return rebuild_call(call, [data, cutter.cut_weights(weights, weights.ty.ndim - 1, kept)])


def channelwise(cutter: _Cutter, call: relax.Call, axis: int, kept: np.ndarray) -> relax.Call | None:
    """Pooling and resizing: each channel by itself."""
    if call.attrs.layout.index("C") != axis:
        return None
    return rebuild_call(call, [cutter.cut(call.args[0], axis, kept), *call.args[1:]])


def scaled(cutter: _Cutter, call: relax.Call, axis: int, kept: np.ndarray) -> relax.Call:
    """quantize, dequantize: scales and zero points of the axis go with its elements."""
    along = int(call.attrs.axis) % call.ty.ndim == axis
    constants = [cutter.cut(c, 0, kept) if along and c.ty.ndim and _shape(c)[0] > 1 else c for c in call.args[1:]]
    return rebuild_call(call, [cutter.cut(call.args[0], axis, kept), *constants])


RULES: dict[str, Rule] = {name: elementwise for name, rule in TRANSPOSE_RULES.items() if rule is is_elementwise}
RULES |= dict.fromkeys(("relax.reshape", "relax.squeeze", "relax.expand_dims", "relax.flatten"), reshape)
RULES |= {"relax.permute_dims": permute, "relax.concat": concatenate, "relax.matmul": matmul}
RULES |= dict.fromkeys(("relax.nn.conv2d", "relax.nn.conv2d_transpose"), convolution)
RULES |= dict.fromkeys(("relax.image.resize2d", *POOLINGS), channelwise)
RULES |= dict.fromkeys(("relax.quantize", "relax.dequantize"), scaled)
