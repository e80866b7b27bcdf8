"""A card's network in PyTorch as ncnn's NAME.param and NAME.bin, by pnnx.

python -m benchmarks.convert.torch_to_ncnn CARD OUT.param
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from tvmpose.cards import load_card, pull
from tvmpose.extras import require
from tvmpose.frontend.torch import load_net


def convert(card_name: str, output: Path) -> None:
    """Write both files, in float32. Raises SetupError where pnnx is not installed."""
    pnnx = require("pnnx", extra="bench")
    card = load_card(card_name)
    picture = torch.zeros(1, 3, card.input.height, card.input.width)
    files = {"ncnnparam": str(output.resolve()), "ncnnbin": str(output.resolve().with_suffix(".bin"))}
    with tempfile.TemporaryDirectory() as folder:  # pnnx leaves six files of its own beside its input
        pnnx.export(load_net(pull(card)), str(Path(folder) / "net.pt"), (picture,), fp16=False, **files)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.convert.torch_to_ncnn", description=__doc__.split("\n")[0]
    )
    parser.add_argument("card", metavar="CARD")
    parser.add_argument("output", type=Path, metavar="OUT.param")
    arguments = parser.parse_args()
    convert(arguments.card, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
