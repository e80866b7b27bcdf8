"""Convolutions by Winograd's minimal filtering: 2 x 2 outputs at once, with fewer products and some additions.

A 2x2 kernel takes 9 products in place of 16, a 3x3 kernel 16 in place of 36 (Lavin and Gray, arXiv:1509.09308). All
factors are 0, 1, -1 and 1/2, so next to no precision is lost. A transposed convolution is one small convolution per
output phase, each with its own transformed input.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from tvmpose.kernels.convolution import TEMPLATE, pad_picture

TILE = 2  # outputs of a tile, along rows and columns
FEWEST_CHANNELS = 32
MOST_WEIGHTS = 1 << 20  # of an output phase: they should stay in a cache while the picture passes by


@dataclass(frozen=True)
class Transform:
    """Two outputs of a filter along one axis: output @ ((weights @ kernel) * (inputs @ data))."""

    inputs: np.ndarray
    weights: np.ndarray
    output: np.ndarray

    @property
    def points(self) -> int:
        return len(self.inputs)


TRANSFORMS = {  # by the number of the kernel's taps
    2: Transform(
        inputs=np.array([[1, -1, 0], [0, 1, 0], [0, -1, 1]]),
        weights=np.array([[1, 0], [1, 1], [0, 1]]),
        output=np.array([[1, 1, 0], [0, 1, 1]]),
    ),
    3: Transform(
        inputs=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
        weights=np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
        output=np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
    ),
}


def transform_weights(packed: np.ndarray) -> np.ndarray:
    """(blocks, sy, sx, taps, taps, inputs, lanes), taps in the order of the inputs they meet -> points for taps."""
    transform = TRANSFORMS[packed.shape[3]].weights
    return np.einsum("ut,vs,bijtskl->bijuvkl", transform, transform, packed.astype("float64")).astype(packed.dtype)


def winograd_conv2d(
    data: te.Tensor, packed: te.Tensor, padding: tuple[int, int], start: tuple[int, int], size: tuple[int, int]
) -> te.Tensor:
    """data (1, H, W, I), packed by transform_weights -> (1, *size, blocks * lanes), size a whole number of tiles.

    padding: rows above and columns left of the picture. The kernel of output phase a starts (a + start) // stride rows
    below the padded picture's first one.
    """
    blocks, sy, sx, points, _, inputs, lanes = (int(n) for n in packed.shape)
    (transform,) = (t for t in TRANSFORMS.values() if t.points == points)
    tiles_y, tiles_x = size[0] // (sy * TILE), size[1] // (sx * TILE)
    reached = (  # rows and columns of the padded picture
        (count - 1) * TILE + (stride - 1 + first) // stride + points
        for count, stride, first in zip((tiles_y, tiles_x), (sy, sx), start, strict=True)
    )
    below, right = (max(0, n - int(data.shape[i + 1]) - padding[i]) for i, n in enumerate(reached))
    padded = pad_picture(data, (*padding, below, right))

    def transformed(a, b, ty, tx, u, v, k):
        top, left = ty * TILE + (a + start[0]) // sy, tx * TILE + (b + start[1]) // sx
        along_x = lambda r: combine(v, transform.inputs, lambda s: padded[0, top + r, left + s, k])  # noqa: E731
        return combine(u, transform.inputs, along_x)

    spread = te.compute((sy, sx, tiles_y, tiles_x, points, points, inputs), transformed, name="spread")
    ri = te.reduce_axis((0, inputs), "ri")
    products = te.compute(
        (sy, sx, tiles_y, tiles_x, points, points, blocks * lanes),
        lambda a, b, ty, tx, u, v, c: te.sum(
            spread[a, b, ty, tx, u, v, ri] * packed[c // lanes, a, b, u, v, ri, c % lanes], axis=[ri]
        ),
        name="conv",
        attrs={TEMPLATE: "winograd_conv2d"},
    )

    def gathered(a, b, ty, tx, p, q, c):
        along_x = lambda u: combine(q, transform.output, lambda v: products[a, b, ty, tx, u, v, c])  # noqa: E731
        return combine(p, transform.output, along_x)

    gather = te.compute((sy, sx, tiles_y, tiles_x, TILE, TILE, blocks * lanes), gathered, name="gather")

    def place(n, y, x, c):
        i, j = y // sy, x // sx
        return gather[y % sy, x % sx, i // TILE, j // TILE, i % TILE, j % TILE, c]

    return te.compute((1, *size, blocks * lanes), place, name="shuffle")


def combine(index: Expr, matrix: np.ndarray, term: Callable[[int], Expr]) -> Expr:
    """(matrix @ terms)[index], for an index that unrolling makes a constant."""
    sums = []
    for row in matrix:
        total = None
        for i, factor in enumerate(row):
            if factor == 0:
                continue
            value = term(i)
            if total is None:
                total = value if factor > 0 else -value
            else:
                total = total + value if factor > 0 else total - value
        sums.append(total)
    result = sums[-1]
    for i in reversed(range(len(sums) - 1)):
        result = tirx.Select(index == i, sums[i], result)
    return result


def pays(
    taps: tuple[int, int], channels: tuple[int, int], strides: tuple[int, int], size: tuple[int, int], lanes: int
) -> bool:
    """Whether fewer products outweigh the transforms: measured, from 32 channels on.

    taps: of an output phase; channels: in and out, the latter in whole vectors; strides: of a transposed convolution;
    size: the output's, in whole tiles.
    """
    if taps[0] != taps[1] or taps[0] not in TRANSFORMS or channels[1] % lanes:
        return False
    whole = all(n % (TILE * stride) == 0 for n, stride in zip(size, strides, strict=True))
    weights = TRANSFORMS[taps[0]].points ** 2 * channels[0] * channels[1]
    return whole and min(channels) >= FEWEST_CHANNELS and weights <= MOST_WEIGHTS
