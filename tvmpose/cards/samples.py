"""Photos to try a model on, by name: models/samples.toml."""

from dataclasses import dataclass
from pathlib import Path

from tvmpose import content
from tvmpose.cards.cache import obtain
from tvmpose.cards.library import SAMPLES_FILE
from tvmpose.cards.source import RemoteSource
from tvmpose.errors import InputError
from tvmpose.strict import build, read_toml


@dataclass(frozen=True)
class Sample:
    """A photo and the places that hold it, the preferred one first."""

    name: str
    title: str
    license: str
    source: tuple[RemoteSource, ...]


def list_samples() -> list[Sample]:
    """Every sample that is known."""
    tables = read_toml(content.folder("models") / SAMPLES_FILE)
    return [build(Sample, table, f"{SAMPLES_FILE}: {name}", name=name) for name, table in tables.items()]


def pull_sample(name: str, *, source_file: Path | None = None, trust: bool = False, cache: Path | None = None) -> Path:
    """The path of the sample's picture file; arguments and errors as for ``pull``."""
    samples = {sample.name: sample for sample in list_samples()}
    if name not in samples:
        raise InputError(f"no sample is called {name!r}; known: {', '.join(samples)}")
    return obtain(name, samples[name].source, source_file=source_file, trust=trust, cache=cache)
