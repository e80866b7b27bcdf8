"""A loop that is kept is one loop in LLVM's code, however short it is."""

import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule

from tvmpose.kernels.keep_rolled import keep_rolled, mark_rolled


@pytest.mark.parametrize("kept", [False, True])
def test_keep_rolled__three_passes__are_written_out_only_without(kept: bool):
    x, w = te.placeholder((64, 3), "float32"), te.placeholder((3,), "float32")
    k = te.reduce_axis((0, 3), "k")
    schedule = Schedule(te.create_prim_func([x, w, te.compute((64,), lambda i: te.sum(x[i, k] * w[k], [k]), "y")]))
    if kept:
        keep_rolled(schedule, schedule.get_loops(schedule.get_sblock("y"))[-1])
    module = tvm.compile(mark_rolled(schedule.mod["main"]), tvm.target.Target({"kind": "llvm"}))
    assert module.mod.inspect_source("ll").count('asm sideeffect ""') == kept
