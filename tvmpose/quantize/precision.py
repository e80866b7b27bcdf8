"""Average precision over the people that a model is calibrated on: what a budget in AP is held against."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvmpose.accuracy.coco_ap import judge
from tvmpose.errors import InputError
from tvmpose.pose.coco_json import PERSON_CATEGORY
from tvmpose.quantize.pictures import Sample


class Precision:
    """Of keypoints that are found in samples of annotated people; nobody else in their pictures counts."""

    def __init__(self, annotations: Path, names: Sequence[str], samples: Sequence[Sample]) -> None:
        """names: of the model's keypoints. Raises InputError where they are not those that are annotated."""
        table = json.loads(annotations.read_bytes())
        people = [dict(sample.person) for sample in samples if sample.person is not None]
        needed = {"id", "area", "keypoints", "num_keypoints", "category_id", "iscrowd"}
        if len(people) < len(samples) or any(needed - person.keys() for person in people):
            raise InputError(f"--boxes {annotations}: a budget in AP needs annotated keypoints, as COCO has them")
        categories = [entry for entry in table.get("categories", []) if entry["id"] == PERSON_CATEGORY]
        annotated = categories[0].get("keypoints", []) if categories else []
        if not annotated or set(annotated) - set(names):
            raise InputError(f"--boxes {annotations}: a budget in AP needs the model's keypoints: {', '.join(names)}")
        self.people = people
        self.rows = [list(names).index(name) for name in annotated]
        pictures = {person["image_id"] for person in people}
        images = [image for image in table["images"] if image["id"] in pictures]
        self.truth = {"images": images, "annotations": people, "categories": categories}

    def points(self, found: Sequence[np.ndarray]) -> float:
        """0 to 100, of keypoints (K, 3) in pixels of the picture, x, y and score, one for each sample."""
        results = []
        for person, keypoints in zip(self.people, found, strict=True):
            kept = keypoints[self.rows].astype("float64")
            entry = {"image_id": person["image_id"], "category_id": PERSON_CATEGORY, "score": float(kept[:, 2].mean())}
            results.append({**entry, "keypoints": kept.reshape(-1).tolist()})
        return 100 * judge(copy.deepcopy(self.truth), results).ap
