"""Loops that LLVM must neither unroll nor empty of what it thinks does not change.

A short loop over inputs, written out, lets LLVM load all its weights before the loop around it: far more than there are
registers, so that weights and sums move to the stack and back. An empty piece of assembly that must not be duplicated
keeps the loop.
"""

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV
from tvm.tirx import For, PrimFunc, SeqStmt
from tvm_ffi import structural_map

from tvmpose.kernels.load_pairs import IMPORT

_KEPT = "tvmpose.rolled"  # annotation of a loop
_MARK = "tvmpose_rolled"
_IR = f"""
define linkonce_odr hidden void @{_MARK}() alwaysinline nounwind {{
  call void asm sideeffect "", ""() noduplicate nounwind
  ret void
}}
"""


def keep_rolled(schedule: Schedule, loop: LoopRV) -> None:
    schedule.annotate(loop, _KEPT, True)


def mark_rolled(function: PrimFunc) -> PrimFunc:
    """Write the mark into the loops that are to be kept."""

    def marked(loop: For) -> For:
        if _KEPT not in loop.annotations:
            return loop
        annotations = {key: value for key, value in loop.annotations.items() if key != _KEPT}
        mark = tirx.Evaluate(tirx.call_extern("void", _MARK))
        annotations[IMPORT] = annotations.get(IMPORT, "") + _IR
        return For(
            loop.loop_var,
            loop.min,
            loop.extent,
            loop.kind,
            SeqStmt([mark, loop.body]),
            loop.thread_binding,
            annotations,
            loop.step,
        )

    return function.with_body(structural_map(function.body, (For, marked)))
