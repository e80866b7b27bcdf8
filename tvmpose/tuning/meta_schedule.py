"""MetaSchedule, imported without the tensor intrinsics of processors that no target of ours has.

TVM 0.27 parses five hundred of them at import, one after the other, which takes half a minute.
"""

import sys
import types
from functools import cache
from types import ModuleType

_UNUSED = ("cuda", "rocm", "metal", "hexagon", "riscv_cpu", "arm_cpu")


@cache
def meta_schedule() -> ModuleType:
    """The module tvm.s_tir.meta_schedule."""
    import tvm.s_tir

    for name in _UNUSED:
        sys.modules.setdefault(f"tvm.s_tir.tensor_intrin.{name}", types.ModuleType(name))
    from tvm.s_tir import meta_schedule as module

    return module
