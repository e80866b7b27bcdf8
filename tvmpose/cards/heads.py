"""What a network's outputs mean: the [head] tables of model cards. One class for one person a box, others for many."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, TypeAlias, TypeVar

Activation: TypeAlias = Literal["none", "sigmoid"]
Unit: TypeAlias = Literal["pixels", "normalized"]
Field: TypeAlias = Literal["x", "y", "z", "score", "presence", "-"]


AHead = TypeVar("AHead", bound="ReadsOutputs")


class ReadsOutputs:
    """What all heads, dataclasses, share: fields ``tensor`` and ``..._tensor`` are indices of the network's outputs."""

    person_tensor: int | None = None  # of one score for the whole person
    person_activation: Activation = "none"
    finds_people = False

    def __post_init__(self) -> None:
        if min(self.tensors) < 0:
            raise ValueError("outputs count from 0")

    @classmethod
    def _tensor_fields(cls) -> list[str]:
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        return [name for name in names if name == "tensor" or name.endswith("_tensor")]

    @property
    def tensors(self) -> tuple[int, ...]:
        """The indices of the outputs that it needs, in the order of the decode kernel's arguments."""
        indices = (getattr(self, name) for name in self._tensor_fields())
        return tuple(index for index in indices if index is not None)

    @property
    def reads(self) -> tuple[int, ...]:
        """The same, each once, ascending."""
        return tuple(sorted(set(self.tensors)))

    def renumbered(self: AHead, kept: Sequence[int]) -> AHead:
        """The head of a network that returns only the outputs with these indices, in this order."""
        indices = {name: getattr(self, name) for name in self._tensor_fields()}
        new = {name: kept.index(index) for name, index in indices.items() if index is not None}
        return dataclasses.replace(self, **new)  # type: ignore[type-var]


@dataclass(frozen=True)
class Head(ReadsOutputs):
    """One person for each box. ``tensor`` and ``person_tensor`` are indices of the network's outputs.

    "coordinates": a tensor of rows of ``fields``, one row a keypoint ("-": of no use here; rows past the skeleton's
    are ignored), x and y in input pixels or as fractions of the input's sides.
    "heatmap": a map per keypoint, its peak the keypoint and the peak's height its score; ``refine`` "quarter" moves
    the peak a quarter cell towards the higher neighbour, "dark" to the top of a parabola through the logarithms of the
    blurred map (Zhang et al., arXiv:1910.06278), "integral" puts the keypoint at the mean of all places, weighted by
    the softmax of ``beta`` times the map (Sun et al., arXiv:1711.08229). ``person_tensor`` holds one score for the
    whole person. ``flip_shift``: a flip test moves the mirror image's heatmaps one cell to the right.
    """

    kind: Literal["coordinates", "heatmap"]
    tensor: int
    fields: tuple[Field, ...] = ()
    unit: Unit | None = None
    score_activation: Activation = "none"
    person_tensor: int | None = None
    person_activation: Activation = "none"
    refine: Literal["none", "quarter", "dark", "integral"] = "none"
    beta: float = 1.0
    flip_shift: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "coordinates":
            self._check_coordinates()
        elif self.fields or self.unit:
            raise ValueError("a heatmap head has neither fields nor unit")
        if self.flip_shift and self.kind != "heatmap":
            raise ValueError("flip_shift is for heatmaps")
        if self.beta != 1 and self.refine != "integral":
            raise ValueError('beta is for refine "integral"')

    def _check_coordinates(self) -> None:
        if self.refine != "none" or self.unit is None:
            raise ValueError("a coordinates head has a unit, and no refine")
        check_once(self.fields, "fields", ("x", "y", "score"))


@dataclass(frozen=True)
class SimccHead(ReadsOutputs):
    """One person for each box: each coordinate of a keypoint the highest of evenly spread bins (arXiv:2107.03332).

    ``tensor`` has bins of x, ``y_tensor`` of y, a row for each keypoint. The score is the lower of the two highest.
    """

    kind: Literal["simcc"]
    tensor: int
    y_tensor: int
    score_activation: Activation = "none"

    def __post_init__(self) -> None:
        super().__post_init__()


@dataclass(frozen=True)
class CentreHead(ReadsOutputs):
    """One person for each box, as MoveNet finds the one nearest to the middle. All tensors share one grid of cells.

    ``tensor``: a heatmap for each keypoint. ``centre_tensor``: one for the middles of people. ``regression_tensor``: at
    a middle, how many cells away each keypoint is, as y, x of the first keypoint, then of the next. ``offset_tensor``:
    in the same order, how far into a cell its keypoint lies. Heatmaps go through ``score_activation``, and a cell
    counts the less the farther it is from the picture's middle, or from where the regression says the keypoint is.
    """

    kind: Literal["centre"]
    tensor: int
    centre_tensor: int
    regression_tensor: int
    offset_tensor: int
    score_activation: Activation = "none"

    def __post_init__(self) -> None:
        super().__post_init__()


@dataclass(frozen=True)
class Anchors:
    """The places that rows are relative to, in SSD's order: for each stride a grid of cells, row by row.

    A grid has ceil(side / stride) cells along each side of the input and ``per_cell`` rows for each cell, whose anchor
    is the cell's centre, (column + 0.5) * stride.
    """

    strides: tuple[int, ...]
    per_cell: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.strides or len(self.strides) != len(self.per_cell) or min(*self.strides, *self.per_cell) < 1:
            raise ValueError("anchors have as many strides as per_cell, all of them positive")

    def grids(self, input_size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """For each stride: its first row, columns of cells, rows for each cell, stride."""
        grids, first = [], 0
        for stride, count in zip(self.strides, self.per_cell, strict=True):
            columns, lines = ceil(input_size[0] / stride), ceil(input_size[1] / stride)
            grids.append((first, columns, count, stride))
            first += columns * lines * count
        return grids

    def count(self, input_size: tuple[int, int]) -> int:
        """Rows altogether, for an input of (width, height)."""
        return sum(
            ceil(input_size[0] / stride) * ceil(input_size[1] / stride) * count
            for stride, count in zip(self.strides, self.per_cell, strict=True)
        )


BOX_CENTRE = ("x", "y", "width", "height")
BOX_CORNERS = ("left", "top", "right", "bottom")
RowEntry: TypeAlias = Literal[
    "x", "y", "width", "height", "left", "top", "right", "bottom", "score", "keypoints", "-"
]  # fmt: skip


@dataclass(frozen=True)
class DetectionHead(ReadsOutputs):
    """The people in a picture: many rows, each a box with a score and keypoints, of which the best are kept.

    ``row`` lists what a row of output ``tensor`` holds: a box by its centre and size ("x", "y", "width", "height") or
    by its corners ("left", "top", "right", "bottom"), "keypoints" once, which stands for ``fields`` of each of them,
    "score" unless ``score_tensor`` has one for each row, and "-" for what is of no use. Rows may run along either of
    the two axes. With ``anchors``, x and y of box and keypoints are relative to each row's anchor. What scores at least
    ``threshold`` is taken in the order of its score; what overlaps it (intersection over union) by more than
    ``overlap`` is dropped, and with ``merge`` "average" joins it in a mean weighted by scores, as MediaPipe's does.
    """

    kind: Literal["detections"]
    tensor: int
    row: tuple[RowEntry, ...]
    fields: tuple[Field, ...]
    unit: Unit
    threshold: float
    overlap: float
    max_people: int
    merge: Literal["none", "average"] = "none"
    score_tensor: int | None = None
    score_activation: Activation = "none"
    keypoint_activation: Activation = "none"
    anchors: Anchors | None = None

    finds_people = True

    def __post_init__(self) -> None:
        super().__post_init__()
        box = BOX_CORNERS if "left" in self.row else BOX_CENTRE
        entries = (*box, "keypoints", *(() if self.score_tensor is not None else ("score",)))
        check_once(self.row, "row", entries)
        if unknown := [entry for entry in self.row if entry not in (*entries, "-")]:
            raise ValueError(f"row holds {unknown[0]!r} beside {', '.join(entries)}")
        check_once(self.fields, "fields", ("x", "y"))
        if not 0 < self.threshold <= 1 or not 0 <= self.overlap <= 1:
            raise ValueError("threshold must be above 0, and both it and overlap at most 1")
        check_most_people(self.max_people)
        if self.anchors and (self.unit != "pixels" or box is BOX_CORNERS):
            raise ValueError("rows relative to anchors are centres and sizes in pixels")

    def columns(self, num_keypoints: int) -> dict[str, int]:
        """Where each entry of a row begins; "end" is a row's length."""
        places, at = dict[str, int](), 0
        for entry in self.row:
            places[entry] = at
            at += len(self.fields) * num_keypoints if entry == "keypoints" else 1
        return places | {"end": at}


# PoseNet's tree of the joints of COCO: from the nose down, parent and child.
POSENET_TREE = (
    *((0, 1), (1, 3), (0, 2), (2, 4)),
    *((0, 5), (5, 7), (7, 9), (5, 11), (11, 13), (13, 15)),
    *((0, 6), (6, 8), (8, 10), (6, 12), (12, 14), (14, 16)),
)


@dataclass(frozen=True)
class PartsHead(ReadsOutputs):
    """The people in a picture, bottom up, as PoseNet finds them (Papandreou et al., PersonLab, arXiv:1803.08225).

    All tensors share one grid of cells, ``stride`` pixels apart. ``tensor``: a heatmap for each keypoint.
    ``offset_tensor``: how far from a cell its keypoint lies, in pixels, y of all of them, then x. ``forward_tensor``
    and ``backward_tensor``: from a joint to the next along each edge of the tree, down and up, in pixels, y of all
    edges, then x. A cell of at least ``threshold`` that is no lower than its neighbours is where a person begins, the
    highest first, unless one before has this joint within ``radius`` pixels. The tree is PoseNet's, of COCO's 17
    joints.
    """

    kind: Literal["parts"]
    tensor: int
    offset_tensor: int
    forward_tensor: int
    backward_tensor: int
    stride: int
    threshold: float
    radius: float
    max_people: int
    score_activation: Activation = "none"

    finds_people = True
    edges = POSENET_TREE

    def __post_init__(self) -> None:
        super().__post_init__()
        check_most_people(self.max_people)
        if self.stride < 1 or not self.radius >= 0 or not 0 < self.threshold <= 1:
            raise ValueError("stride and radius must be positive, and threshold above 0 and at most 1")


MOST_PEOPLE = 256
AnyHead: TypeAlias = Head | SimccHead | CentreHead | DetectionHead | PartsHead


def check_most_people(count: int) -> None:
    """Raise ValueError for more people than a result may hold, or none."""
    if not 1 <= count <= MOST_PEOPLE:
        raise ValueError(f"max_people must be 1 to {MOST_PEOPLE}, not {count}")


def check_once(given: Sequence[str], what: str, needed: Sequence[str]) -> None:
    """Raise ValueError where something that is needed does not stand there exactly once."""
    for entry in needed:
        if given.count(entry) != 1:
            raise ValueError(f"{what} must name {entry!r} once, not {list(given)}")
