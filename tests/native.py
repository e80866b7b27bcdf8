"""Relax modules for tests: made in a line, run as a native library of ours, here or on an emulated machine, or in TVM's
virtual machine."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax

from tvmpose.codegen.library import Library, compile_library
from tvmpose.codegen.toolchain import RUNTIME_SOURCES, zig_target
from tvmpose.frontend.module_spec import with_spec
from tvmpose.kernels.requantize import Rounding
from tvmpose.modelspec import ModelSpec
from tvmpose.passes.pipeline import run_pipeline
from tvmpose.runtime.pose import open_library
from tvmpose.targets import Target


def compile_module(
    module: tvm.IRModule,
    target: Target,
    folder: Path,
    *,
    spec: ModelSpec | None = None,
    guard_bytes: int = 0,
    rounding: Rounding | None = None,
) -> Library:
    """folder/libnet.so from a module as the frontends return it, or, without ``spec``, from any with one ``main``."""
    if spec is None:
        module, spec = named(module)
    return compile_library(module, spec, None, target, "net", folder, guard_bytes=guard_bytes, rounding=rounding)


def named(module: tvm.IRModule) -> tuple[tvm.IRModule, ModelSpec]:
    """Any module with one ``main`` as the frontends return it."""
    main = module["main"]
    count = len(main.ret_ty.fields) if hasattr(main.ret_ty, "fields") else 1
    return with_spec(module, "tflite", [p.name for p in main.params], [f"output_{i}" for i in range(count)])


def run_library(library: Library, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One call of the network with tensors, on two threads."""
    with open_library(library.path, "net", threads=2) as network:
        return [output.copy() for output in network.run_tensors(inputs)]


def run_emulated(
    library: Library, target: Target, spec: ModelSpec, inputs: Sequence[np.ndarray], cpu: str
) -> list[np.ndarray]:
    """The same under qemu told to be `cpu`, as a static program: for targets whose libc is musl."""
    qemu = shutil.which(f"qemu-{target.architecture}") or pytest.skip(f"qemu-{target.architecture} is not installed")
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    folder = library.archive.parent
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", zig_target(target), "-static", "-O1"]
    program = Path(__file__).parent / "runtime" / "c" / "run_tensors.c"
    sources = [f"-I{RUNTIME_SOURCES}", str(program), str(library.archive), "-lm"]
    subprocess.run([*zig, *sources, "-o", str(folder / "run")], check=True)
    tensors = b"".join(np.ascontiguousarray(array).tobytes() for array in inputs)
    command = [qemu, "-cpu", cpu, str(folder / "run")]
    found = subprocess.run(command, input=tensors, stdout=subprocess.PIPE, check=True).stdout
    outputs, at = [], 0
    for output in spec.outputs:
        count = int(np.prod(output.shape))
        outputs.append(np.frombuffer(found, output.dtype, count, at).reshape(output.shape))
        at += outputs[-1].nbytes
    assert at == len(found)
    return outputs


def pipelined(
    module: tvm.IRModule, target: Target, rounding: Rounding = Rounding.XNNPACK
) -> Callable[..., list[np.ndarray]]:
    """main() through our passes and schedules, then in TVM's virtual machine: sooner there than a library."""
    llvm = target.llvm()
    compiled = tvm.compile(run_pipeline(module, llvm, rounding=rounding), llvm)
    main = relax.VirtualMachine(compiled, tvm.cpu())["main"]
    return lambda *inputs: [result.numpy() for result in main(*map(tvm.runtime.tensor, inputs))]


def run_pipelined(
    module: tvm.IRModule, target: Target, *inputs: np.ndarray, rounding: Rounding = Rounding.XNNPACK
) -> list[np.ndarray]:
    """The same, called once."""
    return pipelined(module, target, rounding)(*inputs)


def network(
    build: Callable[..., relax.Expr | Sequence[relax.Expr]], *shapes: Sequence[int], dtype: str = "float32"
) -> tvm.IRModule:
    """The module whose main returns what ``build`` makes of variables of these shapes, as a tuple."""
    variables = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", variables):
        with builder.dataflow():
            results = build(*variables)
            results = [results] if isinstance(results, relax.Expr) else list(results)
            output = builder.emit_output(relax.Tuple(list(map(builder.emit, results))))
        builder.emit_func_output(output)
    return builder.get()
