"""A model card: all that a model file does not say about itself. The fields are those of models/*.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tvmpose.cards.source import Source
from tvmpose.pose.skeletons import SKELETONS, Skeleton

Activation: TypeAlias = Literal["none", "sigmoid"]


@dataclass(frozen=True)
class Input:
    """What the network wants to see: (pixel - mean) / std on 0..255 pixels, channels in the order of ``colour``."""

    width: int
    height: int
    colour: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"width and height must be positive, not {self.width} x {self.height}")
        if 0.0 in self.std:
            raise ValueError("std must not be zero")


@dataclass(frozen=True)
class Crop:
    """How a person's box becomes the network's input.

    The box is grown about its centre to the input's aspect ratio, then its sides are multiplied by ``padding``.
    ``pixel_centers``: "integer" puts the crop's edges on the centres of the corner pixels (a plain warpAffine),
    "half" on their outer edges. ``border``: what lies outside the image. ``downscale``: "point" samples bilinearly
    whatever the scale, "mean" averages what falls into an input pixel.
    """

    padding: float
    pixel_centers: Literal["integer", "half"]
    border: Literal["zero", "edge"]
    downscale: Literal["point", "mean"]

    def __post_init__(self) -> None:
        if not self.padding > 0:
            raise ValueError(f"padding must be positive, not {self.padding}")


@dataclass(frozen=True)
class Head:
    """What the outputs mean. ``tensor`` and ``person_tensor`` are indices of the network's outputs.

    "coordinates": a tensor of rows of ``fields``, one row a keypoint ("-": of no use here; rows past the skeleton's
    are ignored), x and y in input pixels or as fractions of the input's sides.
    "heatmap": a map per keypoint, its peak the keypoint and the peak's height its score; ``refine`` "quarter" moves
    the peak a quarter cell towards the higher neighbour. ``person_tensor`` holds one score for the whole person.
    """

    kind: Literal["coordinates", "heatmap"]
    tensor: int
    fields: tuple[Literal["x", "y", "z", "score", "presence", "-"], ...] = ()
    unit: Literal["pixels", "normalized"] | None = None
    score_activation: Activation = "none"
    person_tensor: int | None = None
    person_activation: Activation = "none"
    refine: Literal["none", "quarter"] = "none"

    def __post_init__(self) -> None:
        if self.kind == "coordinates":
            self._check_coordinates()
        elif self.fields or self.unit:
            raise ValueError("a heatmap head has neither fields nor unit")
        if self.tensor < 0 or (self.person_tensor or 0) < 0:
            raise ValueError("tensor and person_tensor count from 0")

    @property
    def reads(self) -> tuple[int, ...]:
        """The indices of the outputs that it needs, ascending."""
        both = {self.tensor} if self.person_tensor is None else {self.tensor, self.person_tensor}
        return tuple(sorted(both))

    def _check_coordinates(self) -> None:
        if self.refine != "none" or self.unit is None:
            raise ValueError("a coordinates head has a unit, and no refine")
        for field in ("x", "y", "score"):
            if self.fields.count(field) != 1:
                raise ValueError(f"fields must name {field!r} once, not {list(self.fields)}")


@dataclass(frozen=True)
class Accuracy:
    """Average precision (COCO keypoints, 0..1) of this very file in its own runtime, and what it was measured on."""

    dataset: str
    ap: float

    def __post_init__(self) -> None:
        if not 0 <= self.ap <= 1:
            raise ValueError(f"ap must be between 0 and 1, not {self.ap}")


@dataclass(frozen=True)
class Card:
    """One model. ``source`` lists places that hold the same file, the preferred one first."""

    name: str  # the card file's stem
    folder: Path  # where the card lies
    title: str
    task: Literal["single-person"]
    license: str  # SPDX
    skeleton: str
    source: tuple[Source, ...]
    input: Input
    crop: Crop
    head: Head
    accuracy: Accuracy | None = None
    kept: tuple[int, ...] | None = None  # of the skeleton's keypoints, chosen when compiling; None: all

    def __post_init__(self) -> None:
        if self.skeleton not in SKELETONS:
            raise ValueError(f"unknown skeleton {self.skeleton!r}; known: {', '.join(SKELETONS)}")
        kinds = {source.kind for source in self.source}
        if not self.source or ("torch" in kinds and len(self.source) > 1):
            raise ValueError("a card has at least one [[source]], and a torch source stands alone")

    @property
    def keypoints(self) -> Skeleton:
        """The skeleton itself, or what is kept of it."""
        whole = SKELETONS[self.skeleton]
        return whole if self.kept is None else whole.subset(self.kept)
