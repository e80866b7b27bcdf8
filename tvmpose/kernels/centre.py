"""MoveNet's decoding: the person nearest to the middle, and of each keypoint the peak nearest to where it should be."""

from collections.abc import Sequence

from tvm import tirx

from tvmpose.cards.heads import CentreHead
from tvmpose.errors import ModelError
from tvmpose.kernels.activation import activated
from tvmpose.kernels.keypoints import cell_to_pixel, write_keypoint, write_mean_score
from tvmpose.kernels.script import T

NEARNESS = 1.8  # cells that MoveNet adds to a distance before it divides by it


def centre_kernel(
    head: CentreHead,
    *,
    name: str,
    shapes: Sequence[Sequence[int]],
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel_centers: bool,
) -> tirx.PrimFunc:
    """Return the kernel of a CentreHead; arguments as decode_kernel's, the outputs in the order of ``head.tensors``.

    They may have their channels last or first, all of them alike. A cell's heat is divided by its distance in cells,
    from the middle of the grid or from where the regression points to, plus NEARNESS. Raises ModelError for other
    shapes.
    """
    depths = (num_keypoints, 1, 2 * num_keypoints, 2 * num_keypoints)
    channels_last, rows, columns = grid_layout(shapes, depths)
    maps, centres, regressions, offsets = (tuple(shape) for shape in shapes)
    width, height = input_size

    def at(tensor, row, column, channel):
        return tensor[0, row, column, channel] if channels_last else tensor[0, channel, row, column]

    def squared(value):
        return value * value

    @T.inline
    def find_near(tensor, channel, y, x, best, cell):
        """The cell with the most heat for its distance from (y, x)."""
        best[0] = T.float64(-1)
        cell[0] = 0
        for row in T.serial(rows):
            for column in T.serial(columns):
                distance: T.let = T.sqrt(
                    squared(T.Cast("float64", row) - y) + squared(T.Cast("float64", column) - x)
                ) + T.float64(NEARNESS)
                heat: T.let = T.Cast("float64", activated(at(tensor, row, column, channel), head.score_activation))
                if heat / distance > best[0]:
                    best[0] = heat / distance
                    cell[0] = row * columns + column

    @T.prim_func
    def decode(
        heatmaps: T.Buffer(maps, "float32"),
        centre: T.Buffer(centres, "float32"),
        regression: T.Buffer(regressions, "float32"),
        offset: T.Buffer(offsets, "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((num_keypoints * 3,), "float32"),
        person: T.Buffer((1,), "float32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        best = T.alloc_buffer((1,), "float64")
        middle = T.alloc_buffer((1,), "int32")
        cell = T.alloc_buffer((1,), "int32")
        find_near(centre, 0, T.float64((rows - 1) / 2), T.float64((columns - 1) / 2), best, middle)
        for k in T.serial(num_keypoints):
            from_row: T.let = middle[0] // columns
            from_column: T.let = middle[0] % columns
            y_guess: T.let = T.Cast("float64", at(regression, from_row, from_column, 2 * k)) + from_row
            x_guess: T.let = T.Cast("float64", at(regression, from_row, from_column, 2 * k + 1)) + from_column
            find_near(heatmaps, k, y_guess, x_guess, best, cell)
            row: T.let = cell[0] // columns
            column: T.let = cell[0] % columns
            y: T.let = T.Cast("float64", at(offset, row, column, 2 * k)) + row
            x: T.let = T.Cast("float64", at(offset, row, column, 2 * k + 1)) + column
            x_pixel: T.let = cell_to_pixel(x, width / columns, half_pixel_centers)
            y_pixel: T.let = cell_to_pixel(y, height / rows, half_pixel_centers)
            score: T.let = activated(at(heatmaps, row, column, k), head.score_activation)
            write_keypoint(keypoints, k, x_pixel, y_pixel, score, matrix)
        write_mean_score(keypoints, num_keypoints, person)

    return decode


def grid_layout(shapes: Sequence[Sequence[int]], depths: Sequence[int]) -> tuple[bool, int, int]:
    """Return (channels last?, rows, columns) of maps on one grid, with so many channels each. Raises ModelError."""
    for channels_last, channel, (row, column) in ((True, 3, (1, 2)), (False, 1, (2, 3))):
        if all(len(shape) == 4 and shape[0] == 1 for shape in shapes):
            sizes = {(shape[row], shape[column]) for shape in shapes}
            if len(sizes) == 1 and [shape[channel] for shape in shapes] == list(depths):
                return channels_last, *sizes.pop()
    listed = ", ".join(str(list(shape)) for shape in shapes)
    raise ModelError(f"outputs {listed} are not maps of {', '.join(map(str, depths))} channels on one grid")
