"""``tvmpose models``: the model cards, one a line."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvmpose.cards import Card

_HEADER = ("name", "task", "input", "skeleton", "source", "licence")


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser("models", help="list the models that have a card", description=__doc__)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table, then the names of the sample photos."""
    from tvmpose.cards import list_cards, list_samples

    rows = [_HEADER, *(_row(card) for card in list_cards())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\nsample photos: {', '.join(sample.name for sample in list_samples())}")
    return 0


def _row(card: "Card") -> tuple[str, ...]:
    size = f"{card.input.width}x{card.input.height}"
    return card.name, card.task, size, card.skeleton, str(card.source[0]), card.license
