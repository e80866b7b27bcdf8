"""Loops of the integer convolutions: register tiles as in tiling.py, with dot products inside."""

from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.cost import MULTIPLY_ADDS
from tvmpose.kernels.dot_product import DotProduct
from tvmpose.kernels.integer import TILE, integer_tiles
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.keep_rolled import keep_rolled
from tvmpose.kernels.load_pairs import IMPORT
from tvmpose.kernels.start_at_bias import start_at, take_bias
from tvmpose.kernels.tiling import (
    RegisterTile,
    extent,
    inline_epilogue,
    load_inputs_by_vectors,
    output_shape,
    share_between_threads,
    take_tile,
    tile_loops,
    vectorize_tile,
)

# steps from which LLVM would take several at a time, and add their products to each other before they reach the sums:
# more registers than there are
_LONG = 8
_ON_STACK = 1024  # bytes from which TVM 0.27 asks the runtime for a tile: rolled loops would leave its sums in memory


def schedule_integer_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA, choices: Choices) -> None:
    _, height, width, *_ = output_shape(schedule, conv)
    _schedule_tiles(schedule, conv, (height, width), isa, choices)


def schedule_integer_conv2d_transpose(schedule: Schedule, conv: SBlockRV, isa: VectorISA, choices: Choices) -> None:
    _, rows, columns, sy, sx, _ = output_shape(schedule, conv)
    _schedule_tiles(schedule, conv, (rows, columns), isa, choices, phases=(sy, sx))


def _tiles(
    schedule: Schedule, conv: SBlockRV, size: tuple[int, int], isa: VectorISA, dot: DotProduct, default: RegisterTile
) -> list[RegisterTile]:
    """The one that the picture was made for, and others that read it and the weights as they are."""
    side_by_side = int(schedule.get(conv).reads[1].source.shape[-2])
    vectors = output_shape(schedule, conv)[-1] // dot.lanes
    tiles = integer_tiles(size, vectors, dot, isa, ragged=False)
    if isa.by_element:
        tiles = [tile for tile in tiles if tile.vectors * tile.lanes == side_by_side]
    return [default, *tiles]


def _schedule_tiles(
    schedule: Schedule,
    conv: SBlockRV,
    size: tuple[int, int],
    isa: VectorISA,
    choices: Choices,
    phases: tuple[int, int] = (1, 1),
) -> None:
    default = RegisterTile(*(int(n) for n in schedule.get(conv).annotations[TILE]))
    weights = schedule.get(conv).reads[1].source  # (..., kh, kw, inputs / taken, lanes, taken)
    widening = str(schedule.get(conv).reads[0].source.dtype) == "int16"
    points = 2 if len(output_shape(schedule, conv)) == 5 and phases == (1, 1) else 1
    dot = isa.dot_product(default.lanes, widening, inputs=int(weights.shape[-1]), points=points)
    tiles = _tiles(schedule, conv, size, isa, dot, default) if points == 1 else [default]
    tile = take_tile(schedule, tiles, choices)
    output, conv = inline_epilogue(schedule, conv)
    bias = take_bias(schedule, output, conv)
    window_sums = [block for block in schedule.get_producers(output) if schedule.get(block) != schedule.get(conv)]
    stored = 16 if isa.saturating else 0
    loops = tile_loops(schedule, output, conv, tile, int(weights.shape[-5]), 4, phases, choices, stored, points)
    (*outer, taken), (*unrolled, lane) = loops.reduction, loops.tile
    if dot.llvm:
        schedule.reorder(*loops.phases, *outer, *loops.tile, taken)
        for loop in unrolled:
            schedule.unroll(loop)
    else:  # one product in a lane needs no intrinsic: plain vectors
        schedule.reorder(*loops.phases, *outer, taken, *loops.tile)
        vectorize_tile(schedule, unrolled, lane)
    share_between_threads(schedule, conv, loops, choices, beside=window_sums, lanes=64)
    channel: LoopRV | None = outer[-1]
    row, column, vector, lane = loops.tile
    if dot.imported:  # it loads them itself
        schedule.reorder(vector, row, column, lane)
        schedule.annotate(outer[0], IMPORT, dot.imported)
    elif dot.llvm and isa.by_element:
        channel = load_inputs_by_vectors(schedule, conv, outer[-1], loops.tile, passes=2)
        if channel is None:
            schedule.reorder(vector, row, column, lane)
            channel = outer[-1]
    on_stack = 4 * tile.rows * tile.columns * tile.vectors * tile.lanes < _ON_STACK
    long = dot.widens and channel is not None and extent(schedule, channel) >= _LONG
    if channel is not None and dot.llvm and (isa.by_element or (long and on_stack)):
        keep_rolled(schedule, channel)
    schedule.annotate(conv, MULTIPLY_ADDS, prod(int(axis.dom.extent) for axis in schedule.get(conv).iter_vars))
    init = schedule.decompose_reduction(conv, outer[0])
    start_at(schedule, init, bias)
    if dot.llvm:
        schedule.vectorize(schedule.get_loops(init)[-1])
        schedule.tensorize(lane, dot.intrinsic(str(weights.dtype)))
