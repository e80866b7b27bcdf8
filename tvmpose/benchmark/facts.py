"""What measuring needs to know of a bundle: the part of manifest.json beyond what running needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvmpose.codegen.bundle import MANIFEST, Step
from tvmpose.errors import InputError, translated
from tvmpose.modelspec import TensorSpec
from tvmpose.runtime.pose import read_manifest
from tvmpose.strict import build


@dataclass(frozen=True)
class Facts:
    """Of one bundle; see docs/bundle.md."""

    name: str
    source_file: str
    source_sha256: str
    inputs: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]  # none: compiled by an older tvmpose
    arena_bytes: int
    weight_bytes: int
    triple: str  # of the most demanding library
    cpu_features: tuple[str, ...]
    card: str | None = None
    target: str = ""  # of the same library: the name, and LLVM's name of the CPU
    cpu: str = ""

    @property
    def multiply_adds(self) -> int:
        return sum(step.multiply_adds for step in self.steps)

    @property
    def memory_bytes(self) -> int:
        """All that a frame goes through at most."""
        return self.arena_bytes + self.weight_bytes


def read_facts(bundle: Path) -> Facts:
    """Read them. Raises InputError for what is no bundle, or one that lacks a key."""
    with translated():
        read_manifest(bundle)
    table = json.loads((bundle / MANIFEST).read_bytes())
    try:
        return build(Facts, _facts(table), str(bundle / MANIFEST))
    except (KeyError, TypeError) as error:
        raise InputError(f"{bundle / MANIFEST}: lacks what measuring needs ({error}): compile it again") from error


def _facts(table: Mapping[str, Any]) -> dict[str, Any]:
    library, model, memory = table["libraries"][0], table["model"], table["memory"]
    return {
        "name": table["name"],
        **{key: table[key] for key in ("card",) if table[key] is not None},  # build knows TOML, which has no null
        **{key: model[key] for key in ("source_file", "source_sha256", "inputs")},
        "steps": table.get("steps", []),
        **{key: memory[key] for key in ("arena_bytes", "weight_bytes")},
        **{key: library[key] for key in ("triple", "cpu_features", "target", "cpu")},
    }
