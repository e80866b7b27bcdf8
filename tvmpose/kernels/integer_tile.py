"""Which part of an integer convolution's output stays in registers."""

from tvmpose.kernels.convolution_schedule import RegisterTile, _divisors


def conv2d_tile(height: int, width: int, vectors: int, lanes: int, registers: int) -> RegisterTile:
    """The tile with most multiply-adds per load, counting the columns that a last tile has too many.

    Beside the accumulators a step holds its weight vectors and one broadcast input.
    """
    candidates = [
        RegisterTile(rows, columns, count, lanes)
        for count in _divisors(vectors, 6)
        for columns in range(1, min(width, 16) + 1)
        for rows in _divisors(height, 4)
        if rows * columns * count + count + 2 <= registers and (rows == 1 or width % columns == 0)
    ]

    def useful_multiply_adds_per_load(tile: RegisterTile) -> float:
        points = tile.rows * tile.columns
        useful = width / (-(-width // tile.columns) * tile.columns)
        # a tie goes to fewer rows
        return useful**2 * points * tile.vectors / (points + tile.vectors) - 0.01 * tile.rows

    return max(candidates, key=useful_multiply_adds_per_load)
