"""Formats that weights are stored in where they hold every number exactly; a handle expands them to float32 at open."""

from enum import Enum

import numpy as np


class Compact(Enum):
    """By the names of model.h's constants, TVMPOSE_AS_..., the smallest first."""

    INT8 = "int8"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"

    def rounded(self, array: np.ndarray) -> np.ndarray:
        """float32: the nearest numbers that the format has, ties to even; as it is where one is out of its range."""
        nearest = self._nearest(array)
        return nearest if np.isfinite(nearest).all() else array

    def stored(self, array: np.ndarray) -> np.ndarray | None:
        """float32 numbers in this format, bfloat16 as uint16; None where it does not hold them all."""
        if self is Compact.INT8 and not (np.abs(array) <= 127).all():
            return None
        nearest = self._nearest(array)
        if not np.array_equal(nearest, array):
            return None
        return (nearest.view("uint32") >> 16).astype("uint16") if self is Compact.BFLOAT16 else array.astype(self.value)

    def _nearest(self, array: np.ndarray) -> np.ndarray:
        """Infinite where a number is out of the format's range."""
        if self is Compact.BFLOAT16:
            bits = np.ascontiguousarray(array, "float32").view("uint32")
            return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view("float32")
        with np.errstate(over="ignore"):
            return array.astype(self.value).astype("float32")


def compacted(array: np.ndarray) -> tuple[Compact, np.ndarray] | None:
    """The first format that holds float32 numbers exactly, and them in it."""
    for form in Compact:
        if (stored := form.stored(array)) is not None:
            return form, stored
    return None
