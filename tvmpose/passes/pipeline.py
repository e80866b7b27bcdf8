"""The road from an imported model to scheduled kernels: one flat list."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tvm
from tvm import relax
from tvm.ir import IRModule
from tvm.target import Target

from tvmpose.compact import Compact
from tvmpose.kernels.isa import vector_isa
from tvmpose.kernels.requantize import Rounding
from tvmpose.passes.annotate_fusion import AnnotateFusion
from tvmpose.passes.constants import keeping_quantized_constants
from tvmpose.passes.convert_layout import to_nhwc
from tvmpose.passes.fold_batch_norm import fold_batch_norm
from tvmpose.passes.fold_padding import FoldPadding
from tvmpose.passes.legalize import legalize
from tvmpose.passes.lower_convolution import LowerConvolution
from tvmpose.passes.lower_gpu import LowerConvolutionForGpu
from tvmpose.passes.lower_integer import lower_integer
from tvmpose.passes.schedule_kernels import ScheduleKernels, Tuned
from tvmpose.passes.verify_integer import refusals_of, verify_integer
from tvmpose.targets import Gpu

Phase = tuple[str, list[tvm.ir.transform.Pass]]
PHASES = ("layout", "integers", "graph", "lower", "fuse", "schedule")


def shared_phases() -> list[Phase]:
    """Those that no target decides."""
    return [("layout", [relax.transform.Normalize(), _module_pass(keeping_quantized_constants(_layout), "layout")])]


def phases(
    target: Target,
    rounding: Rounding = Rounding.XNNPACK,
    weights: Compact | None = None,
    tuned: Tuned | None = None,
    gpu: Gpu | None = None,
) -> list[Phase]:
    """Those after the shared ones. gpu: what the kernels are for, in place of the target's CPU."""
    isa, T = vector_isa(target), relax.transform
    lower = LowerConvolutionForGpu(gpu, weights is Compact.FLOAT16) if gpu else LowerConvolution(isa, weights)
    schedule = ScheduleKernels(gpu or isa, tuned)
    return [
        (
            "integers",
            [_module_pass(lambda mod: lower_integer(mod, isa, rounding), "LowerInteger"), T.DeadCodeElimination()],
        ),
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
        ("lower", [lower, legalize(gpu is not None), T.FoldConstant(), T.DeadCodeElimination()]),
        # bias, activation, residual into the kernel before them
        ("fuse", [AnnotateFusion(), T.FuseOps(), T.FuseTIR(), T.RewriteDataflowReshape(), T.DeadCodeElimination()]),
        ("schedule", [schedule]),
    ]


def _layout(mod: IRModule) -> IRModule:
    return to_nhwc(fold_batch_norm(mod))


def _module_pass(function: Callable[[IRModule], IRModule], name: str) -> tvm.ir.transform.Pass:
    return tvm.transform.module_pass(lambda mod, _: function(mod), opt_level=0, name=name)


def run_pipeline(
    mod: IRModule,
    target: Target,
    on_phase: Callable[[str, IRModule], None] | None = None,
    rounding: Rounding = Rounding.XNNPACK,
    weights: Compact | None = None,
) -> IRModule:
    """Returns a module whose main is a straight line of call_tir over scheduled PrimFuncs.

    on_phase(name, module) is called after each phase, for progress and dumps. weights: what those of float
    convolutions are rounded to.
    """
    return finish_pipeline(begin_pipeline(mod, on_phase), target, on_phase, rounding, weights)


def begin_pipeline(mod: IRModule, on_phase: Callable[[str, IRModule], None] | None = None) -> IRModule:
    """The part of run_pipeline that is the same for every target."""
    with tvm.transform.PassContext(opt_level=3):
        return dict(_after_each(shared_phases(), mod, on_phase))["layout"]


def finish_pipeline(
    mod: IRModule,
    target: Target,
    on_phase: Callable[[str, IRModule], None] | None = None,
    rounding: Rounding = Rounding.XNNPACK,
    weights: Compact | None = None,
    tuned: Tuned | None = None,
    gpu: Gpu | None = None,
) -> IRModule:
    """The rest of it, for what begin_pipeline returned. tuned: decisions of kernels other than by default."""
    with target, tvm.transform.PassContext(opt_level=3):
        after = dict(_after_each(phases(target, rounding, weights, tuned, gpu), mod, on_phase))
    if refusals_of(after["integers"]) is not None:
        verify_integer(after["integers"], after["schedule"])
    return after["schedule"]


def _after_each(
    phases: Iterable[Phase], mod: IRModule, on_phase: Callable[[str, IRModule], None] | None
) -> Iterator[tuple[str, IRModule]]:
    """The module after each phase, by its name."""
    for name, passes in phases:
        mod = tvm.transform.Sequential(passes)(mod)
        if on_phase:
            on_phase(name, mod)
        yield name, mod


def dump_to(directory: Path) -> Callable[[str, IRModule], None]:
    """An on_phase that writes DIR/N-phase.py, TVMScript without the constants."""
    directory.mkdir(parents=True, exist_ok=True)

    def dump(name: str, mod: IRModule) -> None:
        (directory / f"{PHASES.index(name)}-{name}.py").write_text(mod.script(show_meta=False))

    return dump
