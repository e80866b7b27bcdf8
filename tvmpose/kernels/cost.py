"""What a kernel has to do, read off its TIR: multiply-adds and bytes, the two that a machine limits."""

from dataclasses import dataclass
from math import prod

import numpy as np
from tvm.s_tir import Schedule
from tvm.tirx import IterVar, PrimFunc

from tvmpose.kernels.convolution import TEMPLATE

# Attribute of a kernel whose loops and vectors are written out: nothing is left to schedule or to read off its blocks.
# Annotation of a block that an intrinsic replaces: its initialisation keeps it.
MULTIPLY_ADDS = "tvmpose.multiply_adds"
OPAQUE = 8  # the "op_pattern" of a kernel that nothing is fused with: TVM's OpPatternKind


@dataclass(frozen=True)
class Cost:
    """multiply_adds: of its convolutions; bytes: of all arguments, each counted once."""

    multiply_adds: int
    bytes: int


def kernel_cost(function: PrimFunc) -> Cost:
    """The cost of one call, scheduled or not."""
    traffic = sum(prod(int(n) for n in p.shape) * np.dtype(str(p.dtype)).itemsize for p in function.params)
    if is_written_out(function):
        return Cost(int(function.attrs[MULTIPLY_ADDS]), traffic)
    schedule = Schedule(function)
    blocks = [schedule.get(block) for block in schedule.get_child_blocks(schedule.get_sblock("root"))]
    return Cost(sum(_extent(block) for block in blocks if TEMPLATE in block.annotations), traffic)


def is_written_out(function: PrimFunc) -> bool:
    """Whether the kernel comes without blocks to schedule."""
    return MULTIPLY_ADDS in function.attrs


def _extent(block) -> int:
    """Of the block that accumulates; the one that initialises has no reduction axis."""
    initialises = all(axis.iter_type != IterVar.CommReduce for axis in block.iter_vars)
    if MULTIPLY_ADDS in block.annotations:
        return int(block.annotations[MULTIPLY_ADDS]) if initialises else 0
    if initialises:
        return 0
    return prod(int(axis.dom.extent) for axis in block.iter_vars)
