"""The last step of a library, whoever computes the network: C that says what was compiled, linked with the runtime."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm.target import codegen
from tvm.tirx import PrimFunc

from tvmpose import __version__
from tvmpose.codegen.bundle import Step
from tvmpose.codegen.c_source import LibraryFacts, PixelSteps, library_source
from tvmpose.codegen.gpu_source import GpuTables
from tvmpose.codegen.library import Library, Work
from tvmpose.codegen.names import Names
from tvmpose.codegen.plan import Plan
from tvmpose.codegen.toolchain import build_library, toolchain_for
from tvmpose.kernels.cost import kernel_cost
from tvmpose.targets import Target, checked_features


@dataclass(frozen=True)
class Compiled:
    """What there is once kernels are compiled, beside kernels.o; a GPU's library may have none."""

    plan: Plan  # placed
    functions: Mapping[str, PrimFunc]  # that the plan's calls name
    steps: PixelSteps | None  # where there is a card
    kernels: int
    workspace_bytes: int  # for each thread
    cpu_features: frozenset[str]  # that kernels.o takes
    tables: GpuTables | None = None  # of a network on a GPU


def link_library(compiled: Compiled, target: Target, names: Names, directory: Path, work: Work) -> Library:
    """DIRECTORY/libNAME.so and its archive, of DIRECTORY/kernels.o; the generated sources stay beside it."""
    plan, toolchain = compiled.plan, toolchain_for(target)
    mask = sum(1 << checked_features()[feature] for feature in compiled.cpu_features)
    facts = LibraryFacts(names, __version__, target.name, mask, compiled.workspace_bytes, work.guard_bytes)
    (directory / "weights.bin").write_bytes(plan.weights)
    if compiled.tables:
        (directory / "code.bin").write_bytes(compiled.tables.code)
    source = library_source(plan, facts, compiled.steps, compiled.tables)
    (directory / f"{names.symbol}.c").write_text(source)
    path = build_library(directory, names, toolchain)
    work.progress("link", f"{path.name}, {path.stat().st_size / 1e6:.2f} MB")
    return Library(
        target,
        path,
        directory / names.archive,
        plan.arena_bytes,
        len(plan.weights),
        compiled.workspace_bytes,
        compiled.kernels,
        len(plan.calls),
        tuple(sorted(compiled.cpu_features)),
        _tool_versions(toolchain.version()),
        _steps(plan, compiled.functions),
    )


def _steps(plan: Plan, functions: Mapping[str, PrimFunc]) -> tuple[Step, ...]:
    costs = {kernel: kernel_cost(functions[kernel]) for kernel in {call.kernel for call in plan.calls}}
    return tuple(Step(call.kernel, costs[call.kernel].multiply_adds, costs[call.kernel].bytes) for call in plan.calls)


def _tool_versions(compiler: str) -> dict[str, str]:
    return {"tvm": tvm.__version__, "llvm": str(codegen.llvm_version_major()), "compiler": compiler}
