"""What the loops of all convolutions share: register tiles, how they are cut out of the loops, and who works on what.

A register tile is a part of the output, rows x columns x vectors, that stays in registers while the reduction runs over
kernel rows, columns and input channels. The padded rows that a band of output rows needs are copied once, in cache;
whatever was fused behind the convolution (bias, activation, residual) is applied to the tile before it is stored. Tiles
come from a small analytic model of the instruction set, unless a search found others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.dot_product import FUSED, DotProduct
from tvmpose.kernels.isa import VectorISA

MANY_TASKS = 8  # keep up to four threads evenly busy
_LOAD_TIME = 1.2  # in multiply-adds
WRITTEN_OUT = 12  # tiles of channels whose last one is smaller: each of fewer has code of its own


@dataclass(frozen=True)
class RegisterTile:
    """The part of the output that one innermost kernel step keeps in registers."""

    rows: int
    columns: int
    vectors: int
    lanes: int


def conv2d_tiles(
    height: int,
    width: int,
    vectors: int,
    lanes: int,
    registers: int,
    ragged: bool = False,
    whole: bool = False,
    dot: DotProduct = FUSED,
) -> list[RegisterTile]:
    """All that fit into the registers, first the one that takes least time, by a model of one step of the reduction.

    Beside the accumulators a step holds its weight vectors, one broadcast input, and what a dot product of two
    instructions leaves in between. The last tile of the channels may have fewer vectors, if there are few such tiles
    and they need not be whole ones. ragged: the last tile of a row may stand over its end, whose share of the work is
    then lost.
    """
    candidates = [
        RegisterTile(rows, columns, count, lanes)
        for count in range(1, min(vectors, 6) + 1)
        if vectors % count == 0 or (not whole and vectors // count < WRITTEN_OUT)
        for columns in (range(1, min(width, 16) + 1) if ragged else divisors(width, 16))
        for rows in divisors(height, 4)
        if rows * columns * count + _held(rows * columns, count, dot) <= registers
        and (rows == 1 or width % columns == 0)
    ]

    def time_of_a_point(tile: RegisterTile) -> float:
        points = tile.rows * tile.columns
        useful = width / (-(-width // tile.columns) * tile.columns)
        tiles, rest = divmod(vectors, tile.vectors)
        time = tiles * _step_time(points, tile.vectors, dot) + (_step_time(points, rest, dot) if rest else 0)
        # of equally fast ones that with whole tiles, then with fewer loads, then with fewer rows
        tie = 1e-2 * bool(rest) + 1e-3 * (points + tile.vectors) / (points * tile.vectors) + 1e-6 * tile.rows
        return time / (points * useful**2) + tie

    return sorted(candidates, key=time_of_a_point)


def _held(points: int, vectors: int, dot: DotProduct) -> int:
    """Registers beside the accumulators: weights and one input; or, by two instructions, a product too.

    Then it may also be inputs and one vector of weights, for which compilers need another register.
    """
    return vectors + 1 if dot.multiply == 1 else min(vectors + 2, points + 3)


def _step_time(points: int, vectors: int, dot: DotProduct) -> float:
    """Of one step of the reduction, in multiply-adds of a core that starts two of them and two loads in a cycle.

    A multiply-add takes four cycles, so that eight have to be under way; loads get in each other's way a little.
    """
    return max(points * vectors, _LOAD_TIME * (points + vectors), dot.in_flight)


def by_element_tiles(
    height: int, width: int, vectors: int, lanes: int, registers: int, dot: DotProduct = FUSED
) -> list[RegisterTile]:
    """All that fit into the registers, first the one with fewest instructions a product.

    Each product takes its input out of a vector of inputs.

    Beside the accumulators are one such vector for each point, and two of weights, which one instruction loads; what is
    broadcast beforehand or summed behind takes a few more.
    """
    held = dot.inputs_held
    # vectors of 4 lanes are stored as bytes: by fours, if they can be
    joined = 1 if dot is FUSED else max(n for n in (4, 2, 1) if vectors % n == 0)
    spare = 3 + (dot.multiply > 1)
    candidates = [
        RegisterTile(rows, columns, count, lanes)
        for count in divisors(vectors, 10)
        if count % joined == 0
        for columns in divisors(width, 16)
        for rows in divisors(height, 4)
        if columns % dot.points == 0 and rows * columns * (count + held / dot.points) + spare < registers
    ]

    def instructions_per_product(tile: RegisterTile) -> float:
        points, count = tile.rows * tile.columns, tile.vectors
        loop = 3  # counter, pointer, branch
        times = 16 // max(4, dot.taken)  # that it multiplies with a vector of weights, or with two
        inputs, weights = points * (times * dot.broadcast + (dot.taken < 8 or dot.points)), lanes * count / 2
        # a tie goes to fewer rows
        return (inputs + weights + loop) / (times * points * count) + 0.001 * tile.rows

    return sorted(candidates, key=instructions_per_product)


def float_tiles(size: tuple[int, int], channels: int, inputs: int, isa: VectorISA) -> list[RegisterTile]:
    """Tiles of a float convolution to `size` and so many channels, the best by the models above first."""
    lanes = isa.lanes_for(channels)
    vectors = -(-channels // lanes)
    if not isa.by_element:
        return conv2d_tiles(*size, vectors, lanes, isa.registers)
    if inputs % lanes:  # loaded one by one, in loops that are unrolled: more registers are taken for them
        return conv2d_tiles(*size, vectors, lanes, isa.registers - 8)
    return by_element_tiles(*size, vectors, lanes, isa.registers)


def packed_lanes(size: tuple[int, int], channels: int, inputs: int, isa: VectorISA) -> int:
    """How many output channels' weights lie side by side: a vector's, or a tile's where loads of two vectors pay."""
    tile = float_tiles(size, channels, inputs, isa)[0]
    return tile.lanes * tile.vectors if isa.by_element else tile.lanes


@dataclass(frozen=True)
class TileLoops:
    """Loops of a convolution's output in bands and tiles, and of the convolution itself inside one tile."""

    n: LoopRV
    band: LoopRV
    c_outer: LoopRV
    tile: tuple[LoopRV, LoopRV, LoopRV, LoopRV]  # of the convolution: row, column, vector, lane
    phases: list[LoopRV]
    reduction: list[LoopRV]
    whole: bool  # the last vector of channels is full


def tile_loops(
    schedule: Schedule,
    output: SBlockRV,
    conv: SBlockRV,
    tile: RegisterTile,
    kernel_rows: int,
    reductions: int,
    phases: tuple[int, int],
    choices: Choices,
    stored: int = 0,
    points: int = 1,
) -> TileLoops:
    """Make the output's loops bands of rows, output channels, rows of tiles, columns of tiles; inside, the tile.

    The convolution comes inside a tile, into registers. All phases of a transposed convolution's tile are made from the
    same input and stored together. stored: lanes of the vectors in which the output is, where not those of the tile.
    points: columns whose sums share a vector, (n, y, x / points, c / lanes, points * lanes).
    """
    n, y, x, c = schedule.get_loops(output)
    (_, height, width, channels), (sy, sx) = output_shape(schedule, output), phases
    per_band = take_band(schedule, height // (tile.rows * sy), tile.rows, kernel_rows - 1, choices)
    band, band_row, row = schedule.split(y, [None, per_band, tile.rows * sy])
    x_outer, column = schedule.split(x, [None, tile.columns * sx])
    lanes = max(n for n in (tile.lanes, 8, 16) if n <= max(stored, tile.lanes) and tile.vectors * tile.lanes % n == 0)
    c_outer, vector, lane = schedule.split(c, [None, tile.vectors * tile.lanes // lanes, lanes])
    schedule.reorder(n, band, c_outer, band_row, x_outer, row, column, vector, lane)
    schedule.compute_at(conv, x_outer, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    vectorize_tile(schedule, [row, column, vector], lane)
    if lanes != tile.lanes and points == 1:
        _join_vectors(schedule, output, conv, tile.lanes)
    whole = channels % (tile.vectors * tile.lanes) == 0
    if -(-channels // tile.lanes) % tile.vectors and extent(schedule, c_outer) <= WRITTEN_OUT:
        schedule.unroll(c_outer)
    elif not whole and extent(schedule, c_outer) > 1:  # only the last vector of channels tests its lanes
        schedule.annotate(c_outer, "pragma_loop_partition_hint", True)
    if width % (tile.columns * sx):  # only the last tile of a row tests its columns
        schedule.annotate(x_outer, "pragma_loop_partition_hint", True)
    rank = len(output_shape(schedule, conv))
    *spatial, conv_channel = schedule.get_loops(conv)[-rank - reductions : -reductions]
    _, conv_row, conv_column, *conv_phases = spatial
    reduction = schedule.get_loops(conv)[-reductions:]
    if points > 1:
        (conv_vector,), conv_lane, conv_phases = conv_phases, conv_channel, []
    else:
        conv_vector, conv_lane = schedule.split(conv_channel, [tile.vectors, tile.lanes])
    inner = (conv_row, conv_column, conv_vector, conv_lane)
    return TileLoops(n, band, c_outer, inner, conv_phases, reduction, whole)


def _join_vectors(schedule: Schedule, output: SBlockRV, conv: SBlockRV, lanes: int) -> None:
    """Let the output read a copy of the sums, which LLVM sees as wide vectors: the sums themselves stay narrow ones."""
    sums = schedule.get(conv).writes[0].source
    index = next(i for i, read in enumerate(schedule.get(output).reads) if read.source.same_as(sums))
    copy = schedule.cache_read(output, index, "local")  # beside it, in its tile
    *outer, channel = schedule.get_loops(copy)[-len(sums.shape) :]
    vector, lane = schedule.split(channel, [None, lanes])
    vectorize_tile(schedule, [*outer, vector], lane)


def load_inputs_by_vectors(
    schedule: Schedule, conv: SBlockRV, channel: LoopRV, tile: Sequence[LoopRV], passes: int = 1
) -> LoopRV | None:
    """A vector of each point's inputs into a register, and their products one by one, all those of a weight together.

    channel: the loop over inputs; returns that over vectors of them, of so many passes at least. None, and nothing is
    done, where they are no whole vectors.
    """
    row, column, vector, lane = tile
    most = extent(schedule, channel) // passes
    steps = max((n for n in (4, 2) if n <= most and extent(schedule, channel) % n == 0), default=1)
    if steps == 1 or len(schedule.get(conv).reads[0].source.shape) == 3:
        return None
    channel, element = schedule.split(channel, [None, steps])
    schedule.reorder(channel, element, vector, row, column, lane)
    schedule.unroll(element)
    inputs = schedule.cache_read(conv, 0, "global", [conv])  # small ones are on the stack, and promoted
    schedule.compute_at(inputs, channel, preserve_unit_loops=True)
    *points, loaded = schedule.get_loops(inputs)[-4:]
    vectorize_tile(schedule, points, loaded)
    return channel


def share_between_threads(
    schedule: Schedule,
    conv: SBlockRV,
    loops: TileLoops,
    choices: Choices,
    beside: Sequence[SBlockRV] = (),
    lanes: int = 16,
) -> None:
    """Choose the loop that threads share, and pad the rows at the loop that keeps them in cache, lanes at a time.

    beside: further blocks that a band's rows are needed for.
    """
    padding = schedule.get_producers(conv)
    if not padding and not beside and loops.whole:
        outweigh = int(_weights_outweigh_input(schedule, conv))  # each thread then reads its own share of them, once
        if choices.take(schedule, "channels_outside", (0, 1), outweigh):
            schedule.reorder(loops.c_outer, loops.band)
            schedule.parallel(schedule.fuse(loops.n, loops.c_outer, loops.band))
        else:
            schedule.parallel(schedule.fuse(loops.n, loops.band, loops.c_outer))
        return
    parallel = schedule.fuse(loops.n, loops.band)
    for block in beside:
        schedule.compute_at(block, parallel, preserve_unit_loops=True)
    for pad in padding:
        copy_rows(schedule, pad, parallel, lanes)
    schedule.parallel(parallel)


def copy_rows(schedule: Schedule, pad: SBlockRV, band: LoopRV, lanes: int = 16) -> None:
    """Copy the padded rows that a band needs, in the order in which they lie, at its loop, lanes at a time."""
    schedule.compute_at(pad, band, preserve_unit_loops=True)
    channel = schedule.get_loops(pad)[-1]
    schedule.vectorize(schedule.split(channel, [None, max(divisors(extent(schedule, channel), lanes))])[1])


def inline_epilogue(schedule: Schedule, conv: SBlockRV) -> tuple[SBlockRV, SBlockRV]:
    """Leave two blocks, the convolution and the one that stores the result; returns (output, convolution)."""
    while True:
        consumers = schedule.get_consumers(conv)
        if not consumers:  # nothing was fused behind it: store by a copy out of the registers
            return schedule.cache_write(conv, 0, "local"), conv
        if not schedule.get_consumers(consumers[0]):
            return consumers[0], conv
        schedule.compute_inline(consumers[0])


def vectorize_tile(schedule: Schedule, unrolled: Sequence[LoopRV], lane: LoopRV) -> None:
    """Before decompose_reduction, so that the initialisation has the same shape and stays in the same registers."""
    schedule.vectorize(lane)
    for loop in unrolled:
        schedule.unroll(loop)


def take_tile(schedule: Schedule, tiles: Sequence[RegisterTile], choices: Choices) -> RegisterTile:
    """One of the tiles; by default the first."""
    by_shape = {(tile.rows, tile.columns, tile.vectors): tile for tile in tiles}
    return by_shape[choices.take(schedule, "tile", list(by_shape), next(iter(by_shape)))]


def take_band(schedule: Schedule, tiles: int, rows: int, halo: int, choices: Choices) -> int:
    """How many tiles of that many rows make a band; see tiles_per_band."""
    return choices.take(schedule, "tiles_per_band", divisors(tiles, tiles), tiles_per_band(tiles, rows, halo))


def tiles_per_band(tiles: int, rows: int, halo: int) -> int:
    """How many tiles of that many rows make a band.

    There should be many bands for the threads to share; but a band copies `halo` rows that its neighbour copies too, so
    it should itself have as many, as long as four bands are left: of a prime number of tiles each is a band.
    """
    wanted = max(tiles // MANY_TASKS, min(-(-halo // rows), tiles // 4), 1)
    few_enough = [n for n in divisors(tiles, tiles) if n <= max(1, tiles // 4)]
    return min((n for n in few_enough if n >= wanted), default=max(few_enough))


def _weights_outweigh_input(schedule: Schedule, conv: SBlockRV) -> bool:
    data, weight = (prod(int(n) for n in read.source.shape) for read in schedule.get(conv).reads)
    return weight > data


def extent(schedule: Schedule, loop: LoopRV) -> int:
    return int(schedule.get(loop).extent)


def output_shape(schedule: Schedule, block: SBlockRV) -> tuple[int, ...]:
    return tuple(int(n) for n in schedule.get(block).writes[0].source.shape)


def divisors(number: int, limit: int) -> list[int]:
    """Up to limit, ascending."""
    return [n for n in range(1, min(number, limit) + 1) if number % n == 0]
