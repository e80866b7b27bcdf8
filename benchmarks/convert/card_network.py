"""What every converter starts from, and its command line."""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tvmpose.cards import load_card, pull
from tvmpose.frontend.torch import load_net


def network_and_picture(card_name: str) -> tuple[nn.Module, torch.Tensor]:
    """A card's network in PyTorch, in eval mode, and an input of its size: zeros, 1 x 3 x height x width."""
    card = load_card(card_name)
    return load_net(pull(card)), torch.zeros(1, 3, card.input.height, card.input.width)


def run(convert: Callable[[str, Path], None], name: str, description: str, suffix: str) -> int:
    """``python -m benchmarks.convert.NAME CARD OUT.suffix``: the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.convert.{name}", description=description)
    parser.add_argument("card", metavar="CARD")
    parser.add_argument("output", type=Path, metavar=f"OUT{suffix}")
    arguments = parser.parse_args()
    convert(arguments.card, arguments.output)
    return 0
