"""What the outputs of a network for one person mean, in plain float64 NumPy: reference.py's part for each kind of head.

Functions return where keypoints are, float64 (K, 2) in pixels of the network's input, and their scores (K,). ``sides``:
the input's width and height.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tvmpose.cards.heads import CentreHead, Head, SimccHead

Float64: TypeAlias = NDArray[np.float64]


def activate(value: Float64, activation: str) -> Float64:
    return 1 / (1 + np.exp(-value)) if activation == "sigmoid" else value


def read_coordinates(
    head: Head, values: Float64, num_keypoints: int, sides: Float64, half_pixel: bool
) -> tuple[Float64, Float64 | None]:
    fields = list(head.fields)
    rows = values.reshape(-1)[: num_keypoints * len(fields)].reshape(num_keypoints, len(fields))
    place = rows[:, [fields.index("x"), fields.index("y")]]
    if head.unit == "normalized":
        place = place * sides
    if half_pixel:  # a continuous coordinate: the first pixel reaches from 0 to 1
        place = place - 0.5
    score = activate(rows[:, fields.index("score")], head.score_activation) if "score" in fields else None
    return place, score


def find_peaks(
    head: Head, values: Float64, num_keypoints: int, sides: Float64, half_pixel: bool
) -> tuple[Float64, Float64]:
    maps = _keypoint_maps(values, num_keypoints, sides)
    cells = np.array(maps.shape[:0:-1])  # width, height
    flat = maps.reshape(num_keypoints, -1)
    index = np.where(np.isnan(flat), -np.inf, flat).argmax(axis=1)
    peak = np.stack([index % cells[0], index // cells[0]], axis=1)
    place = peak.astype(np.float64)
    if head.refine == "quarter":
        place += 0.25 * np.array([_uphill(*item) for item in zip(maps, peak, strict=True)])
    elif head.refine == "dark":
        place += np.array([_parabola(*item) for item in zip(maps, peak, strict=True)])
    elif head.refine == "integral":
        place = np.array([_mean_place(heatmap, head.beta) for heatmap in maps])
    return to_pixels(place, sides / cells, half_pixel), activate(
        flat[np.arange(num_keypoints), index], head.score_activation
    )


def _keypoint_maps(values: Float64, num_keypoints: int, sides: Float64) -> Float64:
    """Return [num_keypoints, h, w] of a heatmap [1, h, w, k] or [1, k, h, w], whichever keeps the input's shape."""
    candidates = [m for m in (np.moveaxis(values[0], 2, 0), values[0]) if m.shape[0] == num_keypoints]
    return min(candidates, key=lambda m: abs(np.log(m.shape[1] * sides[0] / (m.shape[2] * sides[1]))))


def _uphill(heatmap: Float64, peak: NDArray[np.int64]) -> tuple[float, float]:
    """Direction (-1, 0 or 1 in x and y) of the higher neighbour of a peak; 0 on the edge of the map."""
    x, y = peak
    height, width = heatmap.shape
    across = heatmap[y, x + 1] - heatmap[y, x - 1] if 0 < x < width - 1 else 0.0
    along = heatmap[y + 1, x] - heatmap[y - 1, x] if 0 < y < height - 1 else 0.0
    return float(np.nan_to_num(np.sign(across))), float(np.nan_to_num(np.sign(along)))


def _parabola(heatmap: Float64, peak: NDArray[np.int64]) -> tuple[float, float]:
    """DARK: from a peak to the top of a parabola through the logarithms around it; 0 within a cell of the edge."""
    height, width = heatmap.shape
    x, y = peak
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return 0.0, 0.0
    steps = np.arange(11) - 5
    kernel = np.exp(-(steps**2) / (2 * 2.0**2))
    kernel /= kernel.sum()
    padded = np.pad(heatmap, 5)
    around = [[padded[y + j : y + j + 11, x + i : x + i + 11] for i in range(-2, 3)] for j in range(-2, 3)]
    logs = np.log(np.maximum([[kernel @ window @ kernel for window in line] for line in around], 1e-10))
    slope = np.array([logs[2, 3] - logs[2, 1], logs[3, 2] - logs[1, 2]]) / 2
    dxx, dyy = (logs[2, 4] - 2 * logs[2, 2] + logs[2, 0]) / 4, (logs[4, 2] - 2 * logs[2, 2] + logs[0, 2]) / 4
    dxy = (logs[3, 3] - logs[1, 3] - logs[3, 1] + logs[1, 1]) / 4
    hessian = np.array([[dxx, dxy], [dxy, dyy]])
    if np.linalg.det(hessian) == 0:
        return 0.0, 0.0
    across, along = -np.linalg.solve(hessian, slope)
    return float(across), float(along)


def _mean_place(heatmap: Float64, beta: float) -> tuple[float, float]:
    """The mean of all cells, weighted by the softmax of ``beta`` times the map."""
    weights = np.exp(beta * (heatmap - np.nanmax(heatmap)))
    y, x = np.indices(heatmap.shape)
    return float((weights * x).sum() / weights.sum()), float((weights * y).sum() / weights.sum())


def to_pixels(place: Float64, stride: Float64, half_pixel: bool) -> Float64:
    """Cells, ``stride`` pixels apart, to pixels of the input."""
    return (place + 0.5) * stride - 0.5 if half_pixel else place * stride


def find_bins(
    head: SimccHead, outputs: Sequence[NDArray[np.generic]], num_keypoints: int, sides: Float64, half_pixel: bool
) -> tuple[Float64, Float64]:
    """SimCC: the first of the highest bins of x and of y, and the lower of the two heights."""
    bins = [np.asarray(outputs[index], np.float64).reshape(num_keypoints, -1) for index in head.tensors]
    finite = [np.where(np.isnan(rows), -np.inf, rows) for rows in bins]
    place = np.stack([rows.argmax(axis=1) for rows in finite], axis=1)
    height = np.stack([rows[np.arange(num_keypoints), i] for rows, i in zip(bins, place.T, strict=True)])
    counts = np.array([rows.shape[1] for rows in bins])
    return to_pixels(place, sides / counts, half_pixel), activate(height.min(axis=0), head.score_activation)


def find_near_centre(
    head: CentreHead, outputs: Sequence[NDArray[np.generic]], num_keypoints: int, sides: Float64, half_pixel: bool
) -> tuple[Float64, Float64]:
    """MoveNet: see tvmpose.cards.heads.CentreHead; as the graphs that Google published compute it."""
    tensors = [np.asarray(outputs[index], np.float64)[0] for index in head.tensors]
    if [t.shape[2] for t in tensors] != [num_keypoints, 1, 2 * num_keypoints, 2 * num_keypoints]:
        tensors = [np.moveaxis(tensor, 0, 2) for tensor in tensors]
    maps, centres = (activate(tensor, head.score_activation) for tensor in tensors[:2])
    rows, columns = maps.shape[:2]
    middle = _nearest(centres[..., 0], ((rows - 1) / 2, (columns - 1) / 2))
    places, scores = [], []
    for k, guess in enumerate(tensors[2][middle].reshape(-1, 2) + middle):
        cell = _nearest(maps[..., k], guess)
        places.append((np.array(cell) + tensors[3][cell][2 * k : 2 * k + 2])[::-1])
        scores.append(maps[cell][k])
    return to_pixels(np.array(places), sides / [columns, rows], half_pixel), np.array(scores)


def _nearest(heat: Float64, guess: Sequence[float] | Float64) -> tuple[int, int]:
    """The cell (row, column) with the most heat, divided by its distance from ``guess`` plus 1.8."""
    row, column = np.indices(heat.shape)
    best = int(np.argmax(heat / (np.hypot(row - guess[0], column - guess[1]) + 1.8)))
    return best // heat.shape[1], best % heat.shape[1]
