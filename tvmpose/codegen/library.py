"""One model, one target, one library: passes, memory plan, kernels; link.py does the rest. levels.py makes several."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.codegen.bundle import Step
from tvmpose.codegen.names import Names
from tvmpose.targets import Target, needed_features

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tvmpose.cards.card import Card
    from tvmpose.compact import Compact
    from tvmpose.kernels.requantize import Rounding
    from tvmpose.modelspec import ModelSpec
    from tvmpose.tuning.records import Unit

Progress = Callable[[str, str], None]
"""Called after each step with its name and what came of it."""


@dataclass(frozen=True)
class Library:
    """A linked library and what it needs."""

    target: Target
    path: Path
    archive: Path  # the same for static linking
    arena_bytes: int
    weight_bytes: int
    workspace_bytes: int  # for each thread
    kernels: int
    calls: int
    cpu_features: tuple[str, ...]
    tools: dict[str, str]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Work:
    """What compiling takes besides a module and a target.

    dump: write the IR after each phase there. guard_bytes: see tvmpose_model.guard_bytes in model.h.
    rounding: of a quantized model; None is the pipeline's default. weights: what those of float convolutions are made
    of. records: which of tuning's to use.
    """

    spec: "ModelSpec"
    card: "Card | None"
    progress: Progress = lambda step, result: None
    dump: Path | None = None
    guard_bytes: int = 0
    rounding: "Rounding | None" = None
    weights: "Compact | None" = None
    records: "Unit | None" = "seconds"

    def after_phase(self, phase: str, module: "IRModule") -> None:
        """For the pipeline: reports what came of a phase, and dumps it."""
        from tvmpose.passes.pipeline import dump_to
        from tvmpose.passes.verify_integer import integer_summary, refusals_of

        refusals = refusals_of(module) if phase == "integers" else None
        functions = f"{len(module.functions) - 1} functions"
        self.progress(phase, functions if refusals is None else integer_summary(module, refusals))
        if self.dump:
            dump_to(self.dump)(phase, module)


def compile_library(
    module: "IRModule",
    spec: "ModelSpec",
    card: "Card | None",
    target: Target,
    name: str,
    directory: Path,
    *,
    progress: Progress = lambda step, result: None,
    dump: Path | None = None,
    guard_bytes: int = 0,
    rounding: "Rounding | None" = None,
    weights: "Compact | None" = None,
) -> Library:
    """Compile into DIRECTORY/libNAME.so; the generated sources stay beside it. For the options see Work."""
    from tvmpose.passes.pipeline import begin_pipeline

    work = Work(spec, card, progress, dump, guard_bytes, rounding, weights)
    return finish_library(begin_pipeline(module, work.after_phase), target, Names(name), directory, work)


def finish_library(module: "IRModule", target: Target, names: Names, directory: Path, work: Work) -> Library:
    """The rest of compile_library, for what begin_pipeline returned."""
    from tvmpose.codegen.kernel_object import compile_kernels, kernels_of
    from tvmpose.codegen.link import Compiled, link_library
    from tvmpose.codegen.plan import plan_module
    from tvmpose.kernels.requantize import Rounding
    from tvmpose.passes.pipeline import finish_pipeline
    from tvmpose.tuning.hits import count_hits, usable

    if target.gpu:
        from tvmpose.codegen.gpu_library import finish_gpu_library

        return finish_gpu_library(module, target, names, directory, work)
    progress = work.progress
    records = usable(target, work.records) if work.records else {}

    def after_phase(phase: str, module: "IRModule") -> None:
        work.after_phase(phase, module)
        if phase == "fuse" and records:
            progress("tuned", str(count_hits(module, records)))

    tuned = {workload: record.decisions for workload, record in records.items()}
    rounding = work.rounding or Rounding.XNNPACK
    module = finish_pipeline(module, target.llvm(), after_phase, rounding, work.weights, tuned)
    plan = plan_module(module)
    plan.name_ends(work.spec)
    functions, steps = kernels_of(module), None
    if work.card:
        from tvmpose.codegen.pixels import add_pixel_steps

        steps, pixel_kernels = add_pixel_steps(plan, work.spec, work.card)
        functions |= pixel_kernels
    plan.place(work.guard_bytes)
    progress("plan", plan.summary())
    workspace = compile_kernels(functions, names.symbol, target.llvm(), directory / "kernels.o")
    progress("kernels", f"{len(functions)} kernels, {(directory / 'kernels.o').stat().st_size / 1e3:.0f} kB")
    compiled = Compiled(plan, functions, steps, len(functions), workspace, needed_features(target))
    return link_library(compiled, target, names, directory, work)
