"""Modules of the quantizer as libraries that run here."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tvm.ir import IRModule

from tvmpose.codegen.library import compile_library
from tvmpose.modelspec import ModelSpec, TensorSpec
from tvmpose.targets import host_target

if TYPE_CHECKING:
    from tvmpose.runtime import Pose


@contextmanager
def running(module: IRModule, outputs: Sequence[str], name: str) -> "Iterator[Pose]":
    """``main`` compiled for this machine. outputs: their names, in order; inputs are called as main calls them."""
    from tvmpose.runtime.pose import open_library

    main = module["main"]
    spec = ModelSpec(
        "relax",
        tuple(_tensor(parameter.name, parameter.ty) for parameter in main.params),
        tuple(_tensor(name, field) for name, field in zip(outputs, main.ret_ty.fields, strict=True)),
    )
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder:
        library = compile_library(module, spec, None, host_target(), name, Path(folder))
        with open_library(library.path, name) as pose:
            yield pose


def _tensor(name: str, ty) -> TensorSpec:  # type: ignore[no-untyped-def]
    return TensorSpec(name, tuple(int(extent) for extent in ty.shape), str(ty.dtype))
