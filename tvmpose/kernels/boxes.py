"""Choosing among many boxes inside a network: the best scores, and non-maximum suppression.

detections.py does the latter to a network's outputs. Nothing is sorted: what is kept is little.
"""

from tvm import tirx

from tvmpose.kernels.cost import MULTIPLY_ADDS, OPAQUE
from tvmpose.kernels.script import T

LOWEST = -3.4028234663852886e38  # of all finite float32
NONE = float("-inf")
WRITTEN_OUT = {"tirx.noalias": True, "op_pattern": OPAQUE, MULTIPLY_ADDS: 0}


@T.inline
def find_highest(values, size, winner):
    """Set winner to the index of the first of the highest values."""
    winner[0] = 0
    for row in T.serial(1, size):
        if values[row] > values[winner[0]]:
            winner[0] = row


def best_kernel(size: int, count: int) -> tirx.PrimFunc:
    """(scores float32[size], indices int64[count]): the highest scores' places, see nets/region_operators.py.

    What is no number comes last.
    """

    @T.prim_func(s_tir=True)
    def best(scores: T.Buffer((size,), "float32"), indices: T.Buffer((count,), "int64")):
        T.func_attr(WRITTEN_OUT)
        with T.sblock("root"):
            T.reads()
            T.writes()
            left = T.alloc_buffer((size,), "float32")
            winner = T.alloc_buffer((1,), "int32")
            for row in T.serial(size):
                left[row] = T.Select(scores[row] > T.float32(LOWEST), scores[row], T.float32(LOWEST))
            for place in T.serial(count):
                find_highest(left, size, winner)
                indices[place] = T.Cast("int64", winner[0])
                left[winner[0]] = T.float32(NONE)

    return best


def suppress_kernel(size: int, overlap: float, most: int) -> tirx.PrimFunc:
    """(boxes float32[size, 4], scores float32[size], groups int64[size], indices int64[most], count int64[1]).

    See nets/region_operators.py; overlaps are computed in float64.
    """

    def corner(boxes, row, index):
        return T.Cast("float64", boxes[row, index])

    def area(boxes, row):
        return (corner(boxes, row, 2) - corner(boxes, row, 0)) * (corner(boxes, row, 3) - corner(boxes, row, 1))

    def shared_along(boxes, one, other, axis):
        low = T.max(corner(boxes, one, axis), corner(boxes, other, axis))
        high = T.min(corner(boxes, one, axis + 2), corner(boxes, other, axis + 2))
        return T.max(high - low, T.float64(0))

    @T.inline
    def drop_overlapping(boxes, groups, left, best):
        for row in T.serial(size):
            if T.And(left[row] >= T.float32(LOWEST), groups[row] == groups[best]):
                shared: T.let = shared_along(boxes, row, best, 0) * shared_along(boxes, row, best, 1)
                union: T.let = area(boxes, row) + area(boxes, best) - shared
                if T.Or(row == best, shared > T.float64(overlap) * union):
                    left[row] = T.float32(NONE)

    @T.prim_func(s_tir=True)
    def suppress(
        boxes: T.Buffer((size, 4), "float32"),
        scores: T.Buffer((size,), "float32"),
        groups: T.Buffer((size,), "int64"),
        indices: T.Buffer((most,), "int64"),
        count: T.Buffer((1,), "int64"),
    ):
        T.func_attr(WRITTEN_OUT)
        with T.sblock("root"):
            T.reads()
            T.writes()
            left = T.alloc_buffer((size,), "float32")  # the score of a box that may still be taken, else NONE
            winner = T.alloc_buffer((1,), "int32")
            for row in T.serial(size):
                left[row] = T.Select(scores[row] >= T.float32(LOWEST), scores[row], T.float32(NONE))  # NaN too
            count[0] = T.int64(0)
            for place in T.serial(most):
                indices[place] = T.int64(0)
                if count[0] == T.Cast("int64", place):  # else there was none the last time
                    find_highest(left, size, winner)
                    if left[winner[0]] >= T.float32(LOWEST):
                        indices[place] = T.Cast("int64", winner[0])
                        count[0] = T.Cast("int64", place + 1)
                        drop_overlapping(boxes, groups, left, winner[0])

    return suppress
