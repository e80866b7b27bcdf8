"""A model card: all that a model file does not say about itself. The fields are those of models/*.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tvmpose.cards.heads import AnyHead
from tvmpose.cards.source import Source
from tvmpose.pose.skeletons import SKELETONS, Skeleton


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
    task: Literal["single-person", "multi-person"]
    license: str  # SPDX
    skeleton: str
    source: tuple[Source, ...]
    input: Input
    crop: Crop
    head: AnyHead
    accuracy: Accuracy | None = None
    kept: tuple[int, ...] | None = None  # of the skeleton's keypoints, chosen when compiling; None: all

    def __post_init__(self) -> None:
        if self.skeleton not in SKELETONS:
            raise ValueError(f"unknown skeleton {self.skeleton!r}; known: {', '.join(SKELETONS)}")
        kinds = {source.kind for source in self.source}
        if not self.source or ("torch" in kinds and len(self.source) > 1):
            raise ValueError("a card has at least one [[source]], and a torch source stands alone")
        if (self.task == "multi-person") != self.head.finds_people:
            raise ValueError(f"a head of kind {self.head.kind} is not for task {self.task!r}")

    @property
    def keypoints(self) -> Skeleton:
        """The skeleton itself, or what is kept of it."""
        whole = SKELETONS[self.skeleton]
        return whole if self.kept is None else whole.subset(self.kept)
