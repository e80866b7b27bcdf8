"""mobilenetv2-deconv as quantizers leave it: ONNX QDQ and QOperator, and torchao's PT2E and QAT exports.

python -m benchmarks.quantize_models FOLDER [--forms qdq qoperator pt2e qat] [--photos 64] [--powers-of-two]

Calibrated on the photos of $TVMPOSE_DATA/coco/train2017, whole, in the order of their names. Activations are int8 or
uint8 per tensor, weights int8 per channel, for QAT per tensor; for QOperator 7 bits of them, without which ONNX Runtime
saturates sums where the CPU has no dot products of bytes.

With scales that are powers of two, and biases that are whole numbers of the sums' units, float32 holds every product
and every sum exactly: what a runtime computes in floats then does not depend on the order in which it adds.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import torch
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import fx, nn
from torchao.quantization.pt2e import (
    FusedMovingAvgObsFakeQuantize,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    ObserverBase,
    PerChannelMinMaxObserver,
    move_exported_model_to_eval,
)
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationSpec
from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

from benchmarks.convert import torch_to_onnx
from benchmarks.convert.card_network import network_and_picture
from tvmpose.cards import Card, load_card
from tvmpose.gate import read_samples
from tvmpose.pose import reference

CARD = "mobilenetv2-deconv"
PHOTOS = 64
QAT_RATE = 1e-5


def calibration_inputs(card: Card, folder: Path, count: int) -> list[np.ndarray]:
    """The network's inputs, float32[1, 3, height, width], of the first ``count`` photos of a folder."""
    size = (card.input.width, card.input.height)
    inputs = []
    for _, picture in read_samples(folder, None)[:count]:
        matrix = reference.box_matrix(None, (picture.shape[1], picture.shape[0]), size, card.crop.padding, False)
        pixels = reference.warp(
            picture,
            "bgr",
            matrix,
            input_size=size,
            colour=card.input.colour,
            mean=card.input.mean,
            std=card.input.std,
            border=card.crop.border,
            downscale=card.crop.downscale,
        )
        inputs.append(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype="float32"))
    return inputs


class Reader(CalibrationDataReader):
    """Hands ONNX Runtime one input after the other."""

    def __init__(self, name: str, inputs: Iterable[np.ndarray]) -> None:
        self.feeds = iter([{name: array} for array in inputs])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def quantize_onnx(form: QuantFormat, card: str, inputs: list[np.ndarray], output: Path, powers_of_two: bool) -> None:
    """A card's network, as quantize_file does."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"{card}.onnx"
        torch_to_onnx.convert(card, source)
        quantize_file(form, source, inputs, output, powers_of_two)


def quantize_file(form: QuantFormat, source: Path, inputs: list[np.ndarray], output: Path, powers_of_two: bool) -> None:
    """Min-max ranges, uint8 activations, int8 weights per channel."""
    overrides: dict[str, list[dict[str, Any]]] = {}
    for _ in range(1 + powers_of_two):  # the second time with the scales of the first, rounded up
        model = onnxslim.slim(str(source))  # folds batch norm into deconvolutions, which the exporter does not
        quantize_static(
            model,
            output,
            Reader(model.graph.input[0].name, inputs),
            quant_format=form,
            per_channel=True,
            reduce_range=form == QuantFormat.QOperator,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": overrides},
        )
        overrides = rounded_up(onnx.load(output), onnxslim.slim(str(source)))


def rounded_up(quantized: onnx.ModelProto, model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """ONNX Runtime's overrides that give each tensor but the biases the next power of two as its scale."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    axes = {n.input[1]: int(n.op_type == "ConvTranspose") for n in model.graph.node if n.op_type.startswith("Conv")}
    overrides = {}
    for name, zero_points in ((name.removesuffix("_zero_point"), array) for name, array in arrays.items()):
        if name in arrays or f"{name}_scale" not in arrays or zero_points.dtype == np.int32:
            continue
        scales = arrays[f"{name}_scale"].reshape(-1)
        powers = np.exp2(np.ceil(np.log2(scales))).astype("float32")
        moved = np.rint(zero_points.reshape(-1) * (scales / powers)).astype(zero_points.dtype)
        axis = {"axis": axes[name]} if name in axes else {}
        overrides[name] = [
            {"scale": np.array(power), "zero_point": np.array(zero), **axis}
            for power, zero in zip(powers, moved, strict=True)
        ]
    return overrides


class PerOutputChannel(XNNPACKQuantizer):
    """torchao's, which gives a deconvolution's weights a scale for each *input* channel, mended."""

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        annotated = super().annotate(model)
        for node in annotated.graph.nodes:
            if node.target is torch.ops.aten.conv_transpose2d.input:
                specs = node.meta["quantization_annotation"].input_qspec_map
                if specs[node.args[1]].qscheme == torch.per_channel_symmetric:
                    specs[node.args[1]] = replace(specs[node.args[1]], ch_axis=1)
        return annotated


class PowersOfTwo(ObserverBase):
    """What to derive from, before an observer of torchao's, for scales that are the next power of two."""

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        scale, zero_point = super().calculate_qparams()
        power = torch.exp2(torch.ceil(torch.log2(scale)))
        below = (self.quant_min - zero_point) * (scale / power)  # integers below zero
        affine = self.qscheme in (torch.per_tensor_affine, torch.per_channel_affine)
        return power, (self.quant_min - torch.round(below)).to(zero_point.dtype) if affine else zero_point


def with_powers_of_two(spec: QuantizationSpec, training: bool) -> QuantizationSpec:
    """The specification with such an observer."""
    per_channel = spec.qscheme == torch.per_channel_symmetric
    base = MovingAverageMinMaxObserver if training else PerChannelMinMaxObserver if per_channel else MinMaxObserver
    observer = type(base.__name__, (PowersOfTwo, base), {})  # torchao tells by the name whether it is per channel
    build = FusedMovingAvgObsFakeQuantize.with_args(observer=observer) if training else observer.with_args()
    return replace(spec, observer_or_fake_quant_ctr=build)


def quantizer(training: bool, powers_of_two: bool) -> XNNPACKQuantizer:
    """In training per tensor: where a deconvolution is fused with its batch norm, the mended axis would be lost."""
    config = get_symmetric_quantization_config(is_per_channel=not training, is_qat=training)
    if powers_of_two:
        activation, weight = (with_powers_of_two(spec, training) for spec in (config.input_activation, config.weight))
        config = replace(config, input_activation=activation, output_activation=activation, weight=weight)
    return PerOutputChannel().set_global(config)


def save_converted(prepared: fx.GraphModule, example: torch.Tensor, output: Path, powers_of_two: bool) -> None:
    """The program with its ranges as they are now."""
    move_exported_model_to_eval(prepared)
    converted = convert_pt2e(prepared)
    if powers_of_two:
        round_biases(converted)
    torch.export.save(torch.export.export(converted, (example,)), output)


def round_biases(module: fx.GraphModule) -> None:
    """Each bias to the nearest whole number of the units of what it is added to."""
    for node in module.graph.nodes:
        if node.target in (torch.ops.aten.conv2d.default, torch.ops.aten.conv_transpose2d.input):
            data, weight, bias = node.args[:3]
            scales = [
                getattr(module, a.target) if isinstance(a, fx.Node) else a for a in (data.args[1], weight.args[1])
            ]
            unit = torch.as_tensor(scales[0]) * torch.as_tensor(scales[1])
            owner, _, name = bias.target.rpartition(".")
            parameter = getattr(module.get_submodule(owner), name)
            parameter.data = torch.round(parameter.data / unit) * unit


def quantize_after_training(card: str, inputs: list[np.ndarray], output: Path, powers_of_two: bool) -> None:
    """PT2E: ranges from what observers see."""
    tensors = [torch.from_numpy(array) for array in inputs]
    net, _ = network_and_picture(card)
    exported = torch.export.export(net, (tensors[0],)).module()
    prepared = prepare_pt2e(exported, quantizer(training=False, powers_of_two=powers_of_two))
    with torch.no_grad():
        for tensor in tensors:
            prepared(tensor)
    save_converted(prepared, tensors[0], output, powers_of_two)


def quantize_in_training(card: str, inputs: list[np.ndarray], output: Path, powers_of_two: bool) -> None:
    """QAT: one epoch towards the heatmaps of the float network."""
    torch.manual_seed(0)
    tensors = [torch.from_numpy(array) for array in inputs]
    (teacher, _), (net, _) = network_and_picture(card), network_and_picture(card)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    exported = torch.export.export(net.train(), (tensors[0],)).module()
    prepared = prepare_qat_pt2e(exported, quantizer(training=True, powers_of_two=powers_of_two))
    optimizer = torch.optim.Adam(prepared.parameters(), QAT_RATE)
    for tensor in tensors:
        with torch.no_grad():
            wanted = teacher(tensor)
        optimizer.zero_grad()
        nn.functional.mse_loss(prepared(tensor), wanted).backward()
        optimizer.step()
    save_converted(prepared, tensors[0], output, powers_of_two)


Form = tuple[str, Callable[[str, list[np.ndarray], Path, bool], None]]
FORMS: dict[str, Form] = {
    "qdq": (".onnx", partial(quantize_onnx, QuantFormat.QDQ)),
    "qoperator": (".onnx", partial(quantize_onnx, QuantFormat.QOperator)),
    "pt2e": (".pt2", quantize_after_training),
    "qat": (".pt2", quantize_in_training),
}


def quantize(
    folder: Path,
    forms: Iterable[str],
    photos: Path,
    count: int = PHOTOS,
    powers_of_two: bool = False,
    card: str = CARD,
) -> dict[str, Path]:
    """Write the forms of a card's network into ``folder``; the files by form."""
    inputs = calibration_inputs(load_card(card), photos, count)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for form in forms:
        suffix, build = FORMS[form]
        files[form] = folder / f"{card}-{form}{'-powers-of-two' * powers_of_two}{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the quantizers' own, about their next versions
            build(card, inputs, files[form], powers_of_two)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantize_models", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--photos", type=int, default=PHOTOS, help="how many to calibrate on (default: %(default)s)")
    parser.add_argument("--powers-of-two", action="store_true", help="scales that leave nothing to the order of sums")
    arguments = parser.parse_args()
    if "TVMPOSE_DATA" not in os.environ:
        parser.error("TVMPOSE_DATA is not set")
    photos = Path(os.environ["TVMPOSE_DATA"]) / "coco" / "train2017"
    made = quantize(arguments.folder, arguments.forms, photos, arguments.photos, arguments.powers_of_two)
    for file in made.values():
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
