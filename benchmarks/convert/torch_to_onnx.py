"""A card's network in PyTorch as .onnx, for ONNX Runtime and OpenVINO.

python -m benchmarks.convert.torch_to_onnx CARD OUT.onnx
"""

import sys
import warnings
from pathlib import Path

import torch
from torch import nn

from benchmarks.convert.card_network import network_and_picture, run

OPSET = 17


def convert(card_name: str, output: Path) -> None:
    """Write the file; the exporter folds batch norms into convolutions, and leaves those of deconvolutions."""
    export(*network_and_picture(card_name), output)


def export(net: nn.Module, picture: torch.Tensor, output: Path) -> None:
    """The same of any network, for an input of the picture's shape."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the new exporter needs onnxscript
        torch.onnx.export(net, (picture,), str(output), dynamo=False, opset_version=OPSET)


if __name__ == "__main__":
    sys.exit(run(convert, "torch_to_onnx", __doc__.split("\n")[0], ".onnx"))
