"""MetaSchedule's features of kernels: what a cost model sees of them."""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.tirx import PrimFunc

# A TuneContext imports the tensor intrinsics of every processor: TVM 0.27 parses five hundred of them one after the
# other, for half a minute. Features need none; those of x86 stay.
_UNUSED = ("cuda", "rocm", "metal", "hexagon", "riscv_cpu", "arm_cpu")


def features(workload: PrimFunc, kernels: Sequence[PrimFunc], target: Any) -> list[np.ndarray]:
    """Of each kernel, which all do the same work: those of its stores, their sum and the largest of each."""
    for name in _UNUSED:
        sys.modules.setdefault(f"tvm.s_tir.tensor_intrin.{name}", ModuleType(name))
    context = ms.TuneContext(mod=tvm.IRModule({"main": workload}), target=target, num_threads=1)
    info = ms.arg_info.ArgInfo.from_prim_func(workload)
    candidates = [ms.MeasureCandidate(Schedule(kernel), info) for kernel in kernels]
    found = [rows.numpy() for rows in ms.feature_extractor.PerStoreFeature().extract_from(context, candidates)]
    return [np.concatenate([rows.sum(axis=0), rows.max(axis=0)]) for rows in found]
