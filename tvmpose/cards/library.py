"""Finding cards: by name among those that are shipped, by path, by the hash of a model file."""

import re
from pathlib import Path

from tvmpose import content
from tvmpose.cards.card import Card
from tvmpose.cards.source import TorchSource
from tvmpose.errors import InputError
from tvmpose.strict import build, read_toml
from tvmpose.suggest import did_you_mean

SAMPLES_FILE = "samples.toml"  # stands among the cards and is none
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def load_card(name_or_path: str | Path) -> Card:
    """The card of that name, or of that .toml file. Raises InputError for an unknown name or a faulty card."""
    if Path(name_or_path).suffix == ".toml":
        return _read(Path(name_or_path))
    paths = {path.stem: path for path in _shipped()}
    if name_or_path in paths:
        return _read(paths[str(name_or_path)])
    hint = did_you_mean(str(name_or_path), paths, "`tvmpose models` lists them")
    raise InputError(f"no model card is called {str(name_or_path)!r}; {hint}")


def list_cards() -> list[Card]:
    """Every card that is shipped, by name."""
    return [_read(path) for path in _shipped()]


def card_for_hash(sha256: str) -> Card | None:
    """The shipped card of the model file with this SHA-256 (lower-case hexadecimal), or None."""
    for card in list_cards():
        if any(not isinstance(s, TorchSource) and s.sha256 == sha256 for s in card.source):
            return card
    return None


def _shipped() -> list[Path]:
    cards = (path for path in content.folder("models").glob("*.toml") if path.name != SAMPLES_FILE)
    return sorted(cards, key=lambda path: path.stem)


def _read(path: Path) -> Card:
    if not _NAME.fullmatch(path.stem):  # it becomes part of file names and C identifiers
        raise InputError(f"{path.name}: a card's name has only a-z, 0-9 and '-'")
    return build(Card, read_toml(path), path.name, name=path.stem, folder=path.parent, kept=None)
