"""A card's network in PyTorch as .onnx, for ONNX Runtime and OpenVINO.

python -m benchmarks.convert.torch_to_onnx CARD OUT.onnx
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch

from tvmpose.cards import load_card, pull
from tvmpose.frontend.torch import load_net

OPSET = 17


def convert(card_name: str, output: Path) -> None:
    """Write the file; batch norms are folded by the exporter."""
    card = load_card(card_name)
    picture = torch.zeros(1, 3, card.input.height, card.input.width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the new exporter needs onnxscript
        torch.onnx.export(load_net(pull(card)), (picture,), str(output), dynamo=False, opset_version=OPSET)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.convert.torch_to_onnx", description=__doc__.split("\n")[0]
    )
    parser.add_argument("card", metavar="CARD")
    parser.add_argument("output", type=Path, metavar="OUT.onnx")
    arguments = parser.parse_args()
    convert(arguments.card, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
