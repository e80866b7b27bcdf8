"""A compiler with a defect, put in from outside."""

import pytest
from tvm import relax
from tvm.ir import IRModule, Op

from tvmpose.passes import pipeline


@relax.expr_functor.mutator
class _ReluToTanh(relax.PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        return relax.op.tanh(call.args[0]) if call.op == Op.get("relax.nn.relu") else call


def relu_becomes_tanh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pass of the pipeline computes another activation."""

    def fold_batch_norm(module: IRModule) -> IRModule:
        mutator = _ReluToTanh(module)
        main = mutator.visit_expr(module["main"])
        module = IRModule({module.get_global_var("main"): main})
        return relax.transform.Normalize()(module)

    monkeypatch.setattr(pipeline, "fold_batch_norm", fold_batch_norm)
