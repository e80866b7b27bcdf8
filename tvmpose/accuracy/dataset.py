"""Annotated people in pictures: a file in the form of COCO's keypoint annotations, and the folder of its pictures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvmpose.errors import InputError
from tvmpose.extras import require
from tvmpose.pose.coco_json import PERSON_CATEGORY


@dataclass(frozen=True)
class AnnotatedPerson:
    """keypoints: float64 (K, 3), x, y, visibility (0: not labelled, 1: hidden, 2: seen), in the data set's order."""

    image_id: int
    box: tuple[float, float, float, float]  # x, y, width, height
    keypoints: np.ndarray
    head_size: float | None  # pixels, where the file has such a key, as conversions of MPII do


@dataclass(frozen=True)
class AnnotatedPicture:
    """One picture and the people in it that count: no crowds, and at least one labelled joint."""

    image_id: int
    file_name: str
    people: tuple[AnnotatedPerson, ...]


@dataclass(frozen=True)
class Dataset:
    """``table`` is the whole file."""

    folder: Path
    names: tuple[str, ...]  # of the keypoints
    pictures: tuple[AnnotatedPicture, ...]
    table: Mapping[str, Any]

    def read(self) -> Iterator[tuple[AnnotatedPicture, np.ndarray]]:
        """Each picture as uint8 (H, W, 3) BGR. Raises InputError for one that is missing or cannot be decoded."""
        cv2 = require("cv2", "images")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our one line says it
        for picture in self.pictures:
            # As annotated: COCO's annotations are of the stored pixels, whatever the EXIF data says.
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imread(str(self.folder / picture.file_name), flags)
            if pixels is None:
                raise InputError(f"--images {self.folder}: has no {picture.file_name} that can be decoded")
            yield picture, pixels


def read_dataset(annotations: Path, folder: Path) -> Dataset:
    """Raises InputError for a file that cannot be read, is no keypoint annotations, or has nobody in it."""
    try:
        table = json.loads(annotations.read_bytes())
        (names,) = (tuple(c["keypoints"]) for c in table["categories"] if c["id"] == PERSON_CATEGORY)
        people = [_person(entry, len(names)) for entry in table["annotations"] if _counts(entry)]
        pictures = tuple(
            AnnotatedPicture(
                image["id"], image["file_name"], tuple(person for person in people if person.image_id == image["id"])
            )
            for image in table["images"]
        )
    except OSError as error:
        raise InputError(f"--annotations {annotations}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"--annotations {annotations}: not COCO keypoint annotations ({error})") from error
    if not people:
        raise InputError(f"--annotations {annotations}: has nobody with a labelled joint")
    return Dataset(folder, names, pictures, table)


def _counts(entry: Mapping[str, Any]) -> bool:
    return not entry.get("iscrowd") and entry["category_id"] == PERSON_CATEGORY and bool(entry["num_keypoints"])


def _person(entry: Mapping[str, Any], num_keypoints: int) -> AnnotatedPerson:
    keypoints = np.array(entry["keypoints"], "float64").reshape(num_keypoints, 3)
    x, y, width, height = (float(side) for side in entry["bbox"])
    head = entry.get("head_size")
    return AnnotatedPerson(entry["image_id"], (x, y, width, height), keypoints, None if head is None else float(head))


def common_keypoints(names: Sequence[str], dataset: Dataset) -> tuple[list[int], list[int]]:
    """Of the keypoints that a network and the data set share: where each is in the network's, and in the data set's.

    Raises InputError where they share none.
    """
    shared = [name for name in dataset.names if name in names]
    if not shared:
        raise InputError(f"no keypoint of the network is annotated: {', '.join(names)}; {', '.join(dataset.names)}")
    return [list(names).index(name) for name in shared], [dataset.names.index(name) for name in shared]
