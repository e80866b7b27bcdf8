"""The first of the greatest values, as decode kernels look for it."""

import math

from tvmpose.kernels.script import T

LANES = 16  # interleaved parts that are searched at once


@T.inline
def find_peak(value_at, count, peak):
    """Set peak[0] to the first of the greatest. NaN is greater than nothing: 0 where all are NaN."""
    lanes = T.meta_var(math.gcd(count, LANES))
    best = T.alloc_buffer((lanes,), "float32")
    cell_of = T.alloc_buffer((lanes,), "int32")
    for lane in T.vectorized(lanes):
        best[lane] = T.float32(-math.inf)
        cell_of[lane] = lane
    for step in T.serial(count // lanes):
        for lane in T.vectorized(lanes):
            value: T.let = value_at(step * lanes + lane)
            greater = T.meta_var(value > best[lane])
            cell_of[lane] = T.Select(greater, step * lanes + lane, cell_of[lane])
            best[lane] = T.Select(greater, value, best[lane])
    winner = T.alloc_buffer((1,), "int32")
    winner[0] = 0
    for lane in T.serial(1, lanes):
        first: T.let = T.Or(
            best[lane] > best[winner[0]],
            T.And(best[lane] == best[winner[0]], cell_of[lane] < cell_of[winner[0]]),
        )
        if first:
            winner[0] = lane
    peak[0] = cell_of[winner[0]]
