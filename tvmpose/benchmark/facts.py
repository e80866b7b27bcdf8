"""What measuring needs to know of a bundle: the part of manifest.json beyond what running needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvmpose.codegen.bundle import MANIFEST, Step
from tvmpose.errors import InputError, TvmposeError, translated
from tvmpose.modelspec import TensorSpec
from tvmpose.runtime.pose import MachineError, choose_library, read_manifest
from tvmpose.strict import build


@dataclass(frozen=True)
class Facts:
    """Of one bundle and the library of it that this machine runs; see docs/bundle.md."""

    name: str
    source_file: str
    source_sha256: str
    inputs: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]  # none: compiled by an older tvmpose
    arena_bytes: int
    weight_bytes: int
    triple: str
    cpu_features: tuple[str, ...]
    card: str | None = None
    target: str = ""  # of the same library: the name, and LLVM's name of the CPU
    cpu: str = ""
    finds_people: bool = False  # the network itself
    flip_test: bool = False

    @property
    def multiply_adds(self) -> int:
        return sum(step.multiply_adds for step in self.steps)

    @property
    def memory_bytes(self) -> int:
        """All that a frame goes through at most."""
        return self.arena_bytes + self.weight_bytes


def read_facts(bundle: Path) -> Facts:
    """Read them. Where this machine runs no library, those of the most demanding one.

    Raises InputError for what is no bundle, or one that lacks a key.
    """
    with translated():
        manifest = read_manifest(bundle)
        try:
            number = manifest.libraries.index(choose_library(bundle, manifest))
        except MachineError:
            number = 0
    table = json.loads((bundle / MANIFEST).read_bytes())
    try:
        return build(Facts, _facts(table, number), str(bundle / MANIFEST))
    except (KeyError, TypeError) as error:
        raise InputError(f"{bundle / MANIFEST}: lacks what measuring needs ({error}): compile it again") from error


def finds_people(bundle: Path) -> bool:
    """Whether a bundle's network finds people itself; what is no bundle does not."""
    try:
        return read_facts(bundle).finds_people
    except TvmposeError:
        return False


def _facts(table: Mapping[str, Any], number: int) -> dict[str, Any]:
    library, model = table["libraries"][number], table["model"]
    memory = library["memory"]
    return {
        "name": table["name"],
        **{key: table[key] for key in ("card",) if table[key] is not None},  # build knows TOML, which has no null
        **{key: model[key] for key in ("source_file", "source_sha256", "inputs")},
        "steps": library.get("steps", []),
        **{key: table.get(key, False) for key in ("finds_people", "flip_test")},
        **{key: memory[key] for key in ("arena_bytes", "weight_bytes")},
        **{key: library[key] for key in ("triple", "cpu_features", "target", "cpu")},
    }
