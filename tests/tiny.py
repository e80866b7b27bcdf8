"""A network small enough to compile in two seconds, with its card and a photo it is sure about."""

from dataclasses import dataclass, replace
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


def write_tiny_quantized(folder: Path) -> Tiny:
    """The same in QDQ form, tinyq.onnx: uint8 between the operators, int8 weights, float32 in and out."""
    tiny = write_tiny(folder)
    model = onnx.load(tiny.model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    constants: dict[str, np.ndarray] = {"zero": np.uint8(0), "middle": np.uint8(128), "none": np.int8(0)}
    nodes = []

    def through_bytes(name: str, scale: float, zero_point: str, result: str) -> None:
        constants[f"{name}_scale"] = np.float32(scale)
        quantization = [f"{name}_scale", zero_point]
        nodes.append(helper.make_node("QuantizeLinear", [name, *quantization], [f"{name}_bytes"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_bytes", *quantization], [result]))

    for name, weight in weights.items():
        constants[f"{name}_scale"] = np.float32(np.abs(weight).max() / 127)
        constants[f"{name}_bytes"] = np.round(weight / constants[f"{name}_scale"]).astype(np.int8)
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_bytes", f"{name}_scale", "none"], [name]))
    wide, relu, maps = model.graph.node
    through_bytes("image", 1 / 255, "zero", "pixels")
    wide.input[0] = "pixels"
    nodes += [wide, relu]
    through_bytes("relu", 0.021, "zero", "kept")
    maps.input[0], maps.output[0] = "kept", "sums"
    nodes.append(maps)
    through_bytes("sums", 0.031, "middle", "maps")
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    onnx.save(model, folder / "tinyq.onnx")
    return replace(tiny, model=folder / "tinyq.onnx")


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
