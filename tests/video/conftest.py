"""A short video that says which of its frames is which."""

from pathlib import Path

import cv2
import numpy as np
import pytest

FRAMES, RATE, SIZE = 20, 25, (96, 64)  # width, height


def write_clip(path: Path) -> Path:
    """Of grey frames, each 12 levels brighter than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, SIZE)
    for number in range(FRAMES):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 12 * number, np.uint8))
    writer.release()
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.avi")
