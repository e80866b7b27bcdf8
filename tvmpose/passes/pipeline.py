"""The road from an imported model to scheduled kernels: one flat list."""

from collections.abc import Callable
from pathlib import Path

import tvm
from tvm import relax
from tvm.ir import IRModule
from tvm.target import Target

from tvmpose.kernels.isa import vector_isa
from tvmpose.passes.annotate_fusion import AnnotateFusion
from tvmpose.passes.convert_layout import to_nhwc
from tvmpose.passes.fold_batch_norm import fold_batch_norm
from tvmpose.passes.fold_padding import FoldPadding
from tvmpose.passes.legalize import legalize
from tvmpose.passes.lower_convolution import LowerConvolution
from tvmpose.passes.schedule_kernels import ScheduleKernels

Phase = tuple[str, list[tvm.ir.transform.Pass]]


def phases(target: Target) -> list[Phase]:
    isa, T = vector_isa(target), relax.transform
    return [
        ("layout", [_module_pass(fold_batch_norm), _module_pass(to_nhwc)]),
        (
            "graph",
            [
                T.Normalize(),
                T.FoldConstant(),
                FoldPadding(),
                T.CanonicalizeBindings(),
                T.EliminateCommonSubexpr(),
                T.DeadCodeElimination(),
            ],
        ),
        # our kernels for what costs, TVM's definitions for the rest; nothing is scheduled yet
        ("lower", [LowerConvolution(isa), legalize(), T.FoldConstant(), T.DeadCodeElimination()]),
        # bias, activation, residual into the kernel before them
        ("fuse", [AnnotateFusion(), T.FuseOps(), T.FuseTIR(), T.RewriteDataflowReshape(), T.DeadCodeElimination()]),
        ("schedule", [ScheduleKernels(isa)]),
    ]


def _module_pass(function: Callable[[IRModule], IRModule]) -> tvm.ir.transform.Pass:
    return tvm.transform.module_pass(lambda mod, _: function(mod), opt_level=0, name=function.__name__)


def run_pipeline(mod: IRModule, target: Target, on_phase: Callable[[str, IRModule], None] | None = None) -> IRModule:
    """Returns a module whose main is a straight line of call_tir over scheduled PrimFuncs.

    on_phase(name, module) is called after each phase, for progress and dumps.
    """
    with target, tvm.transform.PassContext(opt_level=3):
        for name, passes in phases(target):
            mod = tvm.transform.Sequential(passes)(mod)
            if on_phase:
                on_phase(name, mod)
    return mod


def dump_to(directory: Path) -> Callable[[str, IRModule], None]:
    """An on_phase that writes DIR/N-phase.py, TVMScript without the constants."""
    directory.mkdir(parents=True, exist_ok=True)
    count = 0

    def dump(name: str, mod: IRModule) -> None:
        nonlocal count
        (directory / f"{count}-{name}.py").write_text(mod.script(show_meta=False))
        count += 1

    return dump
