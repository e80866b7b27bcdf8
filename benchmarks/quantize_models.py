"""mobilenetv2-deconv as quantizers leave it: ONNX QDQ and QOperator, and torchao's PT2E and QAT exports.

python -m benchmarks.quantize_models FOLDER [--forms qdq qoperator pt2e qat] [--photos 64]

Calibrated on the photos of $TVMPOSE_DATA/coco/train2017, whole, in the order of their names. Activations are int8 or
uint8 per tensor, weights int8 per channel, for QAT per tensor.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxslim
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import fx, nn
from torchao.quantization.pt2e import move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e
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


def quantize_onnx(form: QuantFormat, inputs: list[np.ndarray], output: Path) -> None:
    """Min-max ranges, uint8 activations, int8 weights per channel."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"{CARD}.onnx"
        torch_to_onnx.convert(CARD, source)
        model = onnxslim.slim(str(source))  # folds batch norm into deconvolutions, which the exporter does not
        quantize_static(
            model,
            output,
            Reader(model.graph.input[0].name, inputs),
            quant_format=form,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


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


def quantizer(training: bool) -> XNNPACKQuantizer:
    """In training per tensor: where a deconvolution is fused with its batch norm, the mended axis would be lost."""
    return PerOutputChannel().set_global(
        get_symmetric_quantization_config(is_per_channel=not training, is_qat=training)
    )


def save_converted(prepared: fx.GraphModule, example: torch.Tensor, output: Path) -> None:
    """The program with its ranges as they are now."""
    move_exported_model_to_eval(prepared)
    torch.export.save(torch.export.export(convert_pt2e(prepared), (example,)), output)


def quantize_after_training(inputs: list[np.ndarray], output: Path) -> None:
    """PT2E: ranges from what observers see."""
    tensors = [torch.from_numpy(array) for array in inputs]
    net, _ = network_and_picture(CARD)
    prepared = prepare_pt2e(torch.export.export(net, (tensors[0],)).module(), quantizer(training=False))
    with torch.no_grad():
        for tensor in tensors:
            prepared(tensor)
    save_converted(prepared, tensors[0], output)


def quantize_in_training(inputs: list[np.ndarray], output: Path) -> None:
    """QAT: one epoch towards the heatmaps of the float network."""
    torch.manual_seed(0)
    tensors = [torch.from_numpy(array) for array in inputs]
    (teacher, _), (net, _) = network_and_picture(CARD), network_and_picture(CARD)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    exported = torch.export.export(net.train(), (tensors[0],)).module()
    prepared = prepare_qat_pt2e(exported, quantizer(training=True))
    optimizer = torch.optim.Adam(prepared.parameters(), QAT_RATE)
    for tensor in tensors:
        with torch.no_grad():
            wanted = teacher(tensor)
        optimizer.zero_grad()
        nn.functional.mse_loss(prepared(tensor), wanted).backward()
        optimizer.step()
    save_converted(prepared, tensors[0], output)


Form = tuple[str, Callable[[list[np.ndarray], Path], None]]
FORMS: dict[str, Form] = {
    "qdq": (".onnx", lambda inputs, output: quantize_onnx(QuantFormat.QDQ, inputs, output)),
    "qoperator": (".onnx", lambda inputs, output: quantize_onnx(QuantFormat.QOperator, inputs, output)),
    "pt2e": (".pt2", quantize_after_training),
    "qat": (".pt2", quantize_in_training),
}


def quantize(folder: Path, forms: Iterable[str], photos: Path, count: int = PHOTOS) -> dict[str, Path]:
    """Write the forms into ``folder``; the files by form."""
    inputs = calibration_inputs(load_card(CARD), photos, count)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for form in forms:
        suffix, build = FORMS[form]
        files[form] = folder / f"{CARD}-{form}{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the quantizers' own, about their next versions
            build(inputs, files[form])
    return files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantize_models", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--photos", type=int, default=PHOTOS, help="how many to calibrate on (default: %(default)s)")
    arguments = parser.parse_args()
    if "TVMPOSE_DATA" not in os.environ:
        parser.error("TVMPOSE_DATA is not set")
    photos = Path(os.environ["TVMPOSE_DATA"]) / "coco" / "train2017"
    for file in quantize(arguments.folder, arguments.forms, photos, arguments.photos).values():
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
