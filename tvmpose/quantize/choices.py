"""What quantization decides: a JSON file beside the model, small enough to read, that `tvmpose compile` takes.

It holds no weights: they follow from the model's own and the choices.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tvmpose.errors import InputError
from tvmpose.qdq import Quantization, per_tensor

FORMAT_VERSION = 1
SUFFIX = ".quant.json"


@dataclass(frozen=True)
class Equalization:
    """Tensors whose channels are divided by factors (channels,), in the weights of the layers around them."""

    tensors: tuple[str, ...]
    factors: np.ndarray


@dataclass(frozen=True)
class Choices:
    """By the names of quantize.network.Network.

    bytes: what integer layers and movements read; wide: what others read of integer layers' and sums' results, in 16
    bits. A layer whose input is in bytes is integer. corrections: added to its bias.
    """

    source_sha256: str
    recipe: str
    bytes: Mapping[str, Quantization]
    wide: Mapping[str, Quantization] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    corrections: Mapping[str, np.ndarray] = field(default_factory=dict)
    equalizations: tuple[Equalization, ...] = ()
    pictures: int = 0
    least_error_weights: bool = False


def write_choices(choices: Choices, path: Path) -> None:
    table = {
        "format_version": FORMAT_VERSION,
        "source_sha256": choices.source_sha256,
        "recipe": choices.recipe,
        "pictures": choices.pictures,
        "least_error_weights": choices.least_error_weights,
        "float_layers": list(choices.float_layers),
        "bytes": _table(choices.bytes),
        "wide": _table(choices.wide),
        "corrections": {name: _numbers(values) for name, values in choices.corrections.items()},
        "equalizations": [
            {"tensors": list(stream.tensors), "factors": _numbers(stream.factors)} for stream in choices.equalizations
        ],
    }
    path.write_text(json.dumps(table, indent=1) + "\n")


def read_choices(path: Path) -> Choices:
    """Raises InputError for a file that is missing or not one of these."""
    try:
        table: dict[str, Any] = json.loads(path.read_bytes())
        if table["format_version"] != FORMAT_VERSION:
            raise InputError(f"{path}: is of version {table['format_version']}, not {FORMAT_VERSION}: quantize again")
        return Choices(
            source_sha256=str(table["source_sha256"]),
            recipe=str(table["recipe"]),
            pictures=int(table["pictures"]),
            least_error_weights=bool(table["least_error_weights"]),
            float_layers=tuple(table["float_layers"]),
            bytes=_quantizations(table["bytes"], "int8"),
            wide=_quantizations(table["wide"], "int16"),
            corrections={name: np.array(values, "float32") for name, values in table["corrections"].items()},
            equalizations=tuple(
                Equalization(tuple(stream["tensors"]), np.array(stream["factors"], "float32"))
                for stream in table["equalizations"]
            ),
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a file that `tvmpose quantize` wrote ({error})") from error


def _table(quantizations: Mapping[str, Quantization]) -> dict[str, list[float]]:
    """Scale and zero point of each."""
    return {name: [_number(q.scale), int(q.zero_point)] for name, q in quantizations.items()}


def _quantizations(table: Mapping[str, Any], dtype: str) -> dict[str, Quantization]:
    return {name: per_tensor(float(scale), int(zero_point), dtype) for name, (scale, zero_point) in table.items()}


def _number(value: np.ndarray) -> float:
    """The shortest decimal that is this float32."""
    return float(str(np.float32(value)))


def _numbers(values: np.ndarray) -> list[float]:
    return [_number(value) for value in values.reshape(-1)]
