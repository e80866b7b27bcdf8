"""Relax modules as native libraries on this machine's OpenCL; PoCL makes one of its CPU."""

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tvm

from tests.native import compile_module
from tvmpose.runtime.pose import open_library
from tvmpose.targets import Gpu, load_target


def require_opencl() -> None:
    """Skip where there is no OpenCL at all."""
    try:
        ctypes.CDLL("libOpenCL.so.1")
    except OSError:
        pytest.skip("no libOpenCL.so.1: apt install pocl-opencl-icd ocl-icd-libopencl1")


def run_on_opencl(module: tvm.IRModule, folder: Path, *inputs: np.ndarray, gpu: Gpu | None = None) -> list[np.ndarray]:
    """main() once, by the kernels of host-opencl, or of another GPU as OpenCL."""
    require_opencl()
    target = load_target("host-opencl")
    if gpu:
        target = replace(target, gpu=replace(gpu, api="opencl", arch=None, any_device=True))
    library = compile_module(module, target, folder)
    with open_library(library.path, "net") as net:
        return [output.copy() for output in net.run_tensors(inputs)]
