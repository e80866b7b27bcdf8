"""The picture that is measured with: noise, and a box in which someone could stand."""

from dataclasses import dataclass

import numpy as np

from tvmpose.errors import InputError


@dataclass(frozen=True)
class FrameSize:
    """In pixels; written as 1280x720."""

    width: int = 1280
    height: int = 720

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width, height: upright in the middle, five sixths of the height."""
        height = self.height * 5 / 6
        width = min(self.width, height * 2 / 3)
        return (self.width - width) / 2, (self.height - height) / 2, width, height

    def picture(self) -> np.ndarray:
        """uint8 (height, width, 3); the same every time."""
        return np.random.default_rng(0).integers(0, 256, (self.height, self.width, 3), np.uint8)


def parse_frame_size(text: str) -> FrameSize:
    """From 1280x720. Raises InputError for anything else."""
    width, _, height = text.partition("x")
    sides = [int(part) if part.isascii() and part.isdigit() else 0 for part in (width, height)]
    if not all(1 <= side <= 32767 for side in sides):
        raise InputError(f"{text!r} is not a frame's size in pixels, as 1280x720")
    return FrameSize(*sides)
