"""Values of constant expressions: what NumPy makes of a short chain of operators on constants."""

from collections.abc import Callable, Mapping

import numpy as np
from tvm import relax
from tvm.ir import GenericConst, IRModule
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvmpose import qdq
from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.qdq import Quantization

Definitions = Mapping[relax.Var, relax.Expr]


def constant_value(expression: relax.Expr, definitions: Definitions) -> np.ndarray | None:
    """The value of a constant, of a dequantized one, or of either reshaped or transposed; None for anything else."""
    if (integers := constant_integers(expression, definitions)) is not None:
        values, quantization = integers
        shape = [1] * values.ndim
        if quantization.scale.ndim:
            shape[quantization.axis] = -1
        zero_point, scale = (a.reshape(shape) for a in (quantization.zero_point, quantization.scale))
        return (values.astype("int64") - zero_point).astype("float32") * scale
    while isinstance(expression, relax.Var) and expression in definitions:
        expression = definitions[expression]
    return expression.value.numpy() if isinstance(expression, GenericConst) else None


def constant_integers(expression: relax.Expr, definitions: Definitions) -> tuple[np.ndarray, Quantization] | None:
    """The integers and their quantization behind a dequantized constant; None for anything else."""
    while isinstance(expression, relax.Var) and expression in definitions:
        expression = definitions[expression]
    if not isinstance(expression, relax.Call):
        return None
    name = getattr(expression.op, "name", "")
    if name == "relax.dequantize":
        integers, quantization = _integers(expression.args[0], definitions), qdq.quantization_of(expression)
        return None if integers is None or quantization is None else (integers, quantization)
    if name not in ("relax.permute_dims", "relax.reshape"):
        return None
    inner = constant_integers(expression.args[0], definitions)
    if inner is None:
        return None
    integers, quantization = inner
    if name == "relax.permute_dims":
        axes = [int(a) for a in expression.attrs.axes] if expression.attrs.axes else list(range(integers.ndim))[::-1]
        moved = axes.index(quantization.axis) if quantization.scale.ndim else 0
        return integers.transpose(axes), Quantization(
            quantization.scale, quantization.zero_point, quantization.dtype, moved
        )
    shape = tuple(int(n) for n in expression.ty.shape)
    axis = 0
    if quantization.scale.ndim:
        axes = [i for i, n in enumerate(shape) if n == quantization.scale.size]
        if len(axes) != 1:
            return None
        (axis,) = axes
    return integers.reshape(shape), Quantization(quantization.scale, quantization.zero_point, quantization.dtype, axis)


def _integers(expression: relax.Expr, definitions: Definitions) -> np.ndarray | None:
    while isinstance(expression, relax.Var) and expression in definitions:
        expression = definitions[expression]
    if isinstance(expression, GenericConst) and np.dtype(str(expression.ty.dtype)).kind in "iu":
        return expression.value.numpy()
    return None


def keeping_quantized_constants(passes: Callable[[IRModule], IRModule]) -> Callable[[IRModule], IRModule]:
    """`passes` on a module whose dequantized constants it takes for parameters: folding would make floats of them."""

    def run(mod: IRModule) -> IRModule:
        hider = _Hider(mod)
        main = hider.visit_expr(mod["main"])
        if not hider.hidden:
            return passes(mod)
        main = relax.Function([*main.params, *hider.hidden], main.body, main.ret_ty, main.is_pure, main.attrs)
        mod = mod.clone()
        mod.update_func(mod.get_global_var("main"), main)
        values = {var.name: value.value for var, value in hider.hidden.items()}
        return relax.transform.BindParams("main", values)(passes(mod))

    return run


@mutator
class _Hider(PyExprMutator):
    """Replaces the constant of each dequantize by a variable."""

    def __init__(self, mod: IRModule) -> None:
        super().__init__(mod)
        self.hidden: dict[relax.Var, GenericConst] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        if getattr(call.op, "name", "") != "relax.dequantize" or not isinstance(call.args[0], GenericConst):
            return call
        var = relax.Var(f"quantized_constant_{len(self.hidden)}", call.args[0].ty)
        self.hidden[var] = call.args[0]
        return rebuild_call(call, [var, *call.args[1:]])
