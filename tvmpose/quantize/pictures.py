"""Calibration pictures as a network sees them: whole, or the boxes of people in them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmpose.errors import InputError
from tvmpose.gate import network_input, plain_input, read_samples
from tvmpose.pose import reference

if TYPE_CHECKING:
    from tvmpose.cards.card import Card
    from tvmpose.modelspec import TensorSpec


@dataclass(frozen=True)
class Sample:
    """A network's input, and the way back to the picture; matrix is None without a card.

    person: the annotation that it is of, None for a whole picture.
    """

    tensor: np.ndarray
    matrix: np.ndarray | None
    person: Mapping[str, Any] | None = None


def read_calibration(
    folder: Path, boxes: Path | None, card: "Card | None", spec: "TensorSpec", limit: int | None = None
) -> list[Sample]:
    """boxes: COCO annotations, of whose people each is a sample; without, each picture is one.

    Raises InputError for a folder without pictures, and annotations that name none of them.
    """
    by_name = people(boxes) if boxes else {}
    samples: list[Sample] = []
    for name, picture in read_samples(folder, None):
        for person in by_name.get(name, []) if boxes else [None]:
            samples.append(_sample(card, spec, picture, person))
            if len(samples) == limit:
                return samples
    if not samples:
        raise InputError(f"--boxes {boxes}: has no person in any picture of {folder}")
    return samples


def people(annotations: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Annotated people, each with its "bbox" (x, y, width, height), by file name; no crowds, none without joints."""
    try:
        table = json.loads(annotations.read_bytes())
        names = {image["id"]: image["file_name"] for image in table["images"]}
        found: dict[str, list[Mapping[str, Any]]] = {}
        for entry in table["annotations"]:
            if not entry.get("iscrowd") and entry.get("num_keypoints", 1) and min(entry["bbox"][2:]) > 0:
                found.setdefault(names[entry["image_id"]], []).append(entry)
        return found
    except OSError as error:
        raise InputError(f"--boxes {annotations}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"--boxes {annotations}: not a COCO annotation file ({error})") from error


def _sample(card: "Card | None", spec: "TensorSpec", picture: np.ndarray, person: Mapping[str, Any] | None) -> Sample:
    if card is None:
        return Sample(plain_input(spec, picture), None, person)
    box = [float(side) for side in person["bbox"]] if person else None
    size, half = (card.input.width, card.input.height), card.crop.pixel_centers == "half"
    matrix = reference.box_matrix(box, (picture.shape[1], picture.shape[0]), size, card.crop.padding, half)
    return Sample(network_input(card, spec, picture, matrix), matrix, person)
