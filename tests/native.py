"""A Relax module as a native library of ours, for tests that run what ships."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tvm

from tvmpose.codegen.library import Library, compile_library
from tvmpose.frontend.module_spec import with_spec
from tvmpose.modelspec import ModelSpec
from tvmpose.runtime.pose import open_library
from tvmpose.targets import Target


def compile_module(
    module: tvm.IRModule, target: Target, folder: Path, *, spec: ModelSpec | None = None, guard_bytes: int = 0
) -> Library:
    """folder/libnet.so from a module as the frontends return it, or, without ``spec``, from any with one ``main``."""
    if spec is None:
        main = module["main"]
        count = len(main.ret_ty.fields) if hasattr(main.ret_ty, "fields") else 1
        module, spec = with_spec(module, "tflite", [p.name for p in main.params], [f"output_{i}" for i in range(count)])
    return compile_library(module, spec, None, target, "net", folder, guard_bytes=guard_bytes)


def run_library(library: Library, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One call of the network with tensors, on two threads."""
    with open_library(library.path, "net", threads=2) as network:
        return [output.copy() for output in network.run_tensors(inputs)]
