"""What fusing inverted residuals could gain at most: expand, depthwise and project, on whole pictures and on bands.

    python -m benchmarks.fusion_bound [--write]

A band is as few rows as keep all that the three kernels read and write in half of L2. Working through a picture in such
bands is what fusion would make of it, but for the rows that neighbouring bands would both have to compute, which are
left out here: no fused kernel gains more than this bound.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import ROOT, Benchmark, arguments, run
from benchmarks.report import markdown_table
from tvmpose.benchmark.machine import Disturbance, Machine, this_machine

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "fusion_bound.json"
HEADER = ("block", "rows", "of a band", "expand", "depthwise", "project", "whole", "in bands", "gain at most")


@dataclass(frozen=True)
class Block:
    """One inverted residual: size of its input, channels in, expanded and out, stride."""

    size: tuple[int, int]
    channels: tuple[int, int, int]
    stride: int

    def bytes(self, rows: int) -> int:
        """Of all that lies between the kernels, and goes in and out, for so many rows of the input."""
        width, (inputs, expanded, outputs) = self.size[1], self.channels
        small = rows // self.stride * (width // self.stride)
        return 4 * (rows * width * (inputs + expanded) + small * (expanded + outputs))


BLOCKS = {
    "movenet-thunder, first": Block((128, 128), (32, 192, 40), 2),
    "movenet-thunder, second": Block((64, 64), (40, 240, 40), 1),
    "movenet-lightning, first": Block((96, 96), (16, 96, 24), 2),
    "blazepose-full, first": Block((64, 64), (32, 96, 32), 1),
    "mobilenetv2-deconv, second": Block((64, 48), (24, 144, 24), 1),
}


@dataclass(frozen=True)
class Bound:
    """rows: of a band; milliseconds of the three kernels on the whole picture, and of all bands together."""

    rows: int
    whole: tuple[float, float, float]
    bands: float


def main(arguments_given: Sequence[str] | None = None) -> int:
    options = arguments("fusion_bound", __doc__, list(BLOCKS)).parse_args(arguments_given)
    return run(Benchmark("fusion bound", (DOCUMENT,), RESULT, lambda: measure(options), describe, numbers), options)


def measure(options: argparse.Namespace) -> dict[str, Bound]:
    """Every block that was asked for, on one thread."""
    bounds = {}
    for name in options.models:
        block = BLOCKS[name]
        rows = band_rows(block, this_machine().l2_bytes)
        whole, band = kernel_ms(block, block.size[0]), kernel_ms(block, rows)
        bounds[name] = Bound(rows, whole, sum(band) * block.size[0] / rows)
        print(name, bounds[name], flush=True)
    return bounds


def band_rows(block: Block, l2_bytes: int) -> int:
    """The most rows that divide the picture, and the stride them, whose tensors fill half of L2; at least four."""
    height = block.size[0]
    fitting = [n for n in range(4, height + 1, 2) if height % n == 0 and block.bytes(n) <= l2_bytes // 2]
    return max(fitting, default=4)


def kernel_ms(block: Block, rows: int, frames: int = 200) -> tuple[float, float, float]:
    """The best of so many frames for each of the three kernels, on a picture of so many rows."""
    from tvmpose.codegen.library import compile_library
    from tvmpose.frontend.module_spec import with_spec
    from tvmpose.runtime.pose import open_library
    from tvmpose.targets import host_target

    shape = (1, rows, block.size[1], block.channels[0])
    module, spec = with_spec(_module(block, shape), "torch", ["data"], ["result"])
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(module, spec, None, host_target(), "block", Path(folder))
        with open_library(library.path, "block", threads=1) as network:
            picture, times = np.random.default_rng(0).random(shape, "float32"), network.profile()
            best = np.full(times.shape, np.iinfo(np.int64).max)
            for _ in range(frames):
                before = times.astype("int64")
                network.run_tensors([picture])
                best = np.minimum(best, times.astype("int64") - before)
    expand, depthwise, project = (float(n) / 1e6 for n in best[1:-1])
    return expand, depthwise, project


def _module(block: Block, shape: Sequence[int]) -> Any:
    """1x1, 3x3 depthwise, 1x1, each with its bias, the first two with ReLU6."""
    from tvm import relax

    inputs, expanded, outputs = block.channels
    random, stride = np.random.default_rng(1), block.stride

    def channels(weight: tuple[int, ...], layout: str) -> int:
        return weight[2] if layout == "HWOI" else weight[3]

    def convolution(value: Any, weight: tuple[int, ...], layout: str, clip: bool, **attributes: Any) -> Any:
        constant = relax.const(random.standard_normal(weight, dtype="float32"))
        value = relax.op.nn.conv2d(value, constant, data_layout="NHWC", kernel_layout=layout, **attributes)
        value = relax.op.add(value, relax.const(random.standard_normal(channels(weight, layout), "float32")))
        return relax.op.clip(value, 0.0, 6.0) if clip else value

    data = relax.Var("data", relax.TensorType(tuple(shape), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [data]):
        with builder.dataflow():
            value = builder.emit(convolution(data, (1, 1, inputs, expanded), "HWIO", True))
            depthwise = {"strides": (stride, stride), "padding": (1, 1, 1, 1), "groups": expanded}
            value = builder.emit(convolution(value, (3, 3, expanded, 1), "HWOI", True, **depthwise))
            value = builder.emit_output(convolution(value, (1, 1, expanded, outputs), "HWIO", False))
        builder.emit_func_output(value)
    return builder.get()


def describe(bounds: Mapping[str, Bound], machine: Machine, disturbance: Disturbance) -> str:
    cells = [
        (
            name,
            str(BLOCKS[name].size[0]),
            str(bound.rows),
            *(f"{ms:.3f} ms" for ms in (*bound.whole, sum(bound.whole), bound.bands)),
            f"{1 - bound.bands / sum(bound.whole):.0%}",
        )
        for name, bound in bounds.items()
    ]
    notes = [f"{machine}. One thread, the best of 200 frames.", *(f"**{c}.**" for c in disturbance.complaints())]
    return f"{markdown_table(HEADER, cells)}\n\n" + "\n".join(notes)


def numbers(bounds: Mapping[str, Bound]) -> dict[str, Any]:
    return {"blocks": {name: {**asdict(BLOCKS[name]), **asdict(bound)} for name, bound in bounds.items()}}


if __name__ == "__main__":
    sys.exit(main())
