"""A network small enough to compile in two seconds, with its card and a photo it is sure about."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

JOINTS = 17
CARD = """\
title = "tiny"
task = "single-person"
license = "Apache-2.0"
skeleton = "coco17"

[[source]]
kind = "url"
url = "https://example.org/tiny.onnx"
file = "tiny.onnx"

[input]
width = 32
height = 24
colour = "rgb"
mean = [0, 0, 0]
std = [255, 255, 255]

[crop]
padding = 1.25
pixel_centers = "integer"
border = "zero"
downscale = "point"

[head]
kind = "heatmap"
tensor = 0
refine = "quarter"
"""


@dataclass(frozen=True)
class Tiny:
    """Files of one folder."""

    model: Path
    card: Path
    samples: Path  # a folder

    def arguments(self, output: Path) -> list[str]:
        """``tvmpose`` arguments that compile it."""
        files = {"--card": self.card, "--samples": self.samples, "-o": output}
        return ["compile", str(self.model), *(str(part) for pair in files.items() for part in pair)]


def write_tiny(folder: Path) -> Tiny:
    """tiny.onnx: convolution "wide", "relu" and convolution "maps" to a heatmap for each joint; seeded weights."""
    random = np.random.default_rng(3)
    weights = {
        "w0": random.uniform(-1, 1, (8, 3, 3, 3)),
        "w1": random.uniform(0, 1, (JOINTS, 8, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["wide"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["wide"], ["relu"]),
        helper.make_node("Conv", ["relu", "w1"], ["maps"]),
    ]
    values = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 24, 32))]
    results = [helper.make_tensor_value_info("maps", TensorProto.FLOAT, (1, JOINTS, 24, 32))]
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "tiny", values, results, constants)
    folder.mkdir(parents=True, exist_ok=True)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / "tiny.onnx")
    (folder / "tiny.toml").write_text(CARD)
    (folder / "photos").mkdir(exist_ok=True)
    photo = cv2.GaussianBlur(random.integers(0, 256, (48, 72, 3), np.uint8), (0, 0), 3)
    cv2.imwrite(str(folder / "photos" / "blobs.png"), cv2.normalize(photo, None, 0, 255, cv2.NORM_MINMAX))
    return Tiny(folder / "tiny.onnx", folder / "tiny.toml", folder / "photos")
