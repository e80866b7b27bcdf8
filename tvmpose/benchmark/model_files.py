"""The model that a bundle was compiled from, in the format that each peer reads."""

from collections.abc import Sequence
from pathlib import Path

from tvmpose.baselines.peers import Peer
from tvmpose.benchmark.facts import Facts
from tvmpose.cards import load_card, pull, sha256_of
from tvmpose.errors import InputError, TvmposeError, VerifyError


def model_files(facts: Facts, given: Sequence[Path]) -> list[Path]:
    """The given files, and the bundle's source where they lack it and its card's pull brings that very file.

    A given file of the source's format has to be the source. One of another format counts as a conversion of it: that
    it computes the same is seen when it runs. Raises InputError or VerifyError for a given one.
    """
    suffix = Path(facts.source_file).suffix
    for path in given:
        if not path.is_file():
            raise InputError(f"--model {path}: no such file")
        if path.suffix == suffix and sha256_of(path) != facts.source_sha256:
            raise VerifyError(f"--model {path}: not the {facts.source_file} that {facts.name} was compiled from")
    if any(path.suffix == suffix for path in given) or facts.card is None:
        return list(given)
    try:
        pulled = pull(load_card(facts.card))
    except TvmposeError:  # no network, a card of the user's own or without a hash: the peers' lines ask for the file
        return list(given)
    return [*given, pulled] if sha256_of(pulled) == facts.source_sha256 else list(given)


def file_for(peer: Peer, files: Sequence[Path]) -> Path | None:
    """The file that this peer reads best, or None."""
    for suffix in peer.suffixes:
        for path in files:
            if path.suffix == suffix:
                return path
    return None
