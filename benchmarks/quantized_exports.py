"""Quantized exports of two networks in our integer kernels against the runtimes that they come from.

    python -m benchmarks.quantized_exports [--card CARD] [--forms qdq qoperator pt2e qat] [--photos 64] [--write]

Each export twice: with the scales its tool chooses, and with powers of two, where float sums do not depend on their
order. End to end: photos in, heatmaps out, in steps of the heatmaps. Layer by layer: each kernel is fed what the source
runtime computed before it, so that a step of difference stays where it was made. Judges: ONNX Runtime without graph
optimizations, torch. Calibrated on coco/train2017, compared on coco/val2017.
"""

import argparse
import copy
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from torch.export import ExportedProgram

from benchmarks import quantize_models
from benchmarks.measuring import ROOT, Benchmark, arguments, run
from benchmarks.report import markdown_table
from tvmpose.baselines.judge import open_judge
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.cards import load_card
from tvmpose.codegen.library import compile_library
from tvmpose.compile import DEFAULT_ROUNDING
from tvmpose.frontend import onnx as from_onnx
from tvmpose.frontend import torch as from_torch
from tvmpose.frontend.source import Source
from tvmpose.kernels.requantize import Rounding
from tvmpose.qdq import output_steps
from tvmpose.runtime.pose import open_library
from tvmpose.targets import host_target

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tvmpose.modelspec import ModelSpec

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "quantized_exports.json"
# By card: the forms that its network is exported in.
NETWORKS = {quantize_models.CARD: tuple(quantize_models.FORMS), "litehrnet-18": ("qdq", "qoperator")}
COMPARED = 4  # photos
HEADER = (
    "network",
    "export",
    "scales",
    "end to end identical",
    "within a step",
    "worst",
    "layer by layer differ",
    "worst",
)


@dataclass(frozen=True)
class Apart:
    """How far two runs are apart, in steps."""

    values: int
    differing: int
    beyond_a_step: int
    worst: float

    @classmethod
    def of(cls, steps: Sequence[np.ndarray]) -> "Apart":
        every = np.concatenate([np.abs(each).ravel() for each in steps])
        return cls(every.size, int((every > 0.01).sum()), int((every > 1.01).sum()), float(every.max()))


@dataclass(frozen=True)
class Row:
    card: str
    form: str
    powers_of_two: bool
    whole: Apart
    layers: Apart


def end_to_end(path: Path, inputs: Sequence[np.ndarray]) -> Apart:
    """The heatmaps of an export, all of it in our kernels."""
    source = Source(path)
    module, spec = source.load()
    (step,) = output_steps(module["main"])
    assert step is not None
    judge = open_judge(path, source.format, threads=2, rounding=DEFAULT_ROUNDING[source.format])
    apart, found = [], computed(module, spec, source.format, [[tensor] for tensor in inputs])
    for (ours,), tensor in zip(found, inputs, strict=True):
        (theirs,) = judge.run([tensor])
        apart.append((ours.astype("float64") - theirs) / step)
    return Apart.of(apart)


def layer_by_layer(path: Path, tensor: np.ndarray) -> Apart:
    """Every integer tensor of an export, each from those that its source computed before it."""
    source = Source(path)
    judge = open_judge(path, source.format, threads=2, rounding=DEFAULT_ROUNDING[source.format])
    if source.format == "onnx":
        model = onnx.load(path)
        names = [node.output[0] for node in model.graph.node if makes_integers(node)]
        expected = judge.run([tensor], names)
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(fed_onnx(model, dict(zip(names, expected, strict=True))), Path(folder) / "fed.onnx")
            module, spec = from_onnx.load(Path(folder) / "fed.onnx")
    else:
        program = from_torch.read(path)
        names = [node.name for node in program.graph.nodes if node.name.startswith("quantize_per_tensor")]
        expected = judge.run([tensor], names)
        module, spec = from_torch.from_program(fed_program(program, names, [tensor, *expected]))
    (found,) = computed(module, spec, source.format, [[tensor, *expected]])
    pairs = zip(found[-len(names) :], expected, strict=True)
    return Apart.of([ours.astype("int32") - theirs.astype("int32") for ours, theirs in pairs])


def makes_integers(node: onnx.NodeProto) -> bool:
    return node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear")


def fed_onnx(model: onnx.ModelProto, tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The model with each of these tensors as an output, and read from an input of its own."""
    for node in model.graph.node:
        node.input[:] = [f"{name}/fed" if name in tensors else name for name in node.input]
    for name, array in tensors.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        model.graph.input.append(onnx.helper.make_tensor_value_info(f"{name}/fed", *kind))
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, *kind))
    return model


def fed_program(program: ExportedProgram, names: Sequence[str], inputs: Sequence[np.ndarray]) -> ExportedProgram:
    """The same of a program of torch's."""
    module = copy.deepcopy(program.module())
    nodes = {node.name: node for node in module.graph.nodes}
    (last,) = (node for node in module.graph.nodes if node.op == "placeholder")
    for name in names:
        with module.graph.inserting_after(last):
            last = module.graph.placeholder(f"{name}_fed")
        nodes[name].replace_all_uses_with(last)
    module.graph.set_codegen(torch.fx.graph.CodeGen())  # drops the calling convention of the original
    module.graph.output_node().args = (tuple(nodes[name] for name in names),)
    module.graph.eliminate_dead_code()
    module.recompile()
    return torch.export.export(module, tuple(map(torch.from_numpy, inputs)))


def computed(
    module: "IRModule", spec: "ModelSpec", source_format: str, inputs: Sequence[Sequence[np.ndarray]]
) -> list[list[np.ndarray]]:
    """What our library makes of each of the inputs, in the arithmetic of the format's runtime."""
    rounding = Rounding(DEFAULT_ROUNDING[source_format])
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(module, spec, None, host_target(), "net", Path(folder), rounding=rounding)
        with open_library(library.path, "net", threads=2) as network:
            return [[output.copy() for output in network.run_tensors(list(tensors))] for tensors in inputs]


def photos_of(folder: Path, count: int, card: str = quantize_models.CARD) -> list[np.ndarray]:
    """The network's inputs from the first photos of a folder."""
    return quantize_models.calibration_inputs(load_card(card), folder, count)


def main(given: Sequence[str] | None = None) -> int:
    """Quantize, compile, compare, print; write the table where asked to."""
    parser = arguments("quantized_exports", __doc__, [])
    parser.add_argument("--card", choices=list(NETWORKS), help="this network alone")
    parser.add_argument("--forms", nargs="+", choices=list(quantize_models.FORMS), default=list(quantize_models.FORMS))
    parser.add_argument("--photos", type=int, default=quantize_models.PHOTOS, help="to calibrate on")
    options = parser.parse_args(given)
    if "TVMPOSE_DATA" not in os.environ:
        parser.error("TVMPOSE_DATA is not set")
    coco = Path(os.environ["TVMPOSE_DATA"]) / "coco"
    name = "quantized exports"
    return run(Benchmark(name, (DOCUMENT,), RESULT, lambda: measure(options, coco), describe, numbers), options)


def measure(options: argparse.Namespace, coco: Path) -> list[Row]:
    """Every form, with either kind of scales."""
    rows = []
    for card in [options.card] if options.card else NETWORKS:
        inputs = photos_of(coco / "val2017", COMPARED, card)
        for form in (form for form in options.forms if form in NETWORKS[card]):
            for powers_of_two in (False, True):
                calibration = (coco / "train2017", options.photos, powers_of_two, card)
                file = quantize_models.quantize(options.build / "exports", [form], *calibration)[form]
                whole, layers = end_to_end(file, inputs), layer_by_layer(file, inputs[0])
                rows.append(Row(card, form, powers_of_two, whole, layers))
    return rows


def numbers(rows: Sequence[Row]) -> dict[str, Any]:
    return {"rows": [asdict(row) for row in rows]}


def describe(rows: Sequence[Row], machine: Machine, disturbance: Disturbance) -> str:
    """The table in Markdown. How busy the machine was makes no difference."""
    return "\n\n".join([markdown_table(HEADER, [_cells(row) for row in rows]), f"{machine}."])


def _cells(row: Row) -> tuple[str, ...]:
    whole, layers = row.whole, row.layers
    return (
        row.card,
        row.form,
        "powers of two" if row.powers_of_two else "as chosen",
        f"{1 - whole.differing / whole.values:.3%}",
        f"{1 - whole.beyond_a_step / whole.values:.3%}",
        f"{whole.worst:.0f}",
        f"{layers.differing} of {layers.values:,}",
        f"{layers.worst:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
