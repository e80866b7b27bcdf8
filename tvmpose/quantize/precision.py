"""Average precision over the people that a model is calibrated on: what a budget in AP is held against."""

import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from tvmpose.errors import InputError
from tvmpose.extras import require
from tvmpose.quantize.pictures import Sample

PERSON = 1  # COCO's category


class Precision:
    """Of keypoints that are found in samples of annotated people; nobody else in their pictures counts."""

    def __init__(self, annotations: Path, names: Sequence[str], samples: Sequence[Sample]) -> None:
        """names: of the model's keypoints. Raises InputError where they are not those that are annotated."""
        table = json.loads(annotations.read_bytes())
        people = [dict(sample.person) for sample in samples if sample.person is not None]
        needed = {"id", "area", "keypoints", "num_keypoints", "category_id", "iscrowd"}
        if len(people) < len(samples) or any(needed - person.keys() for person in people):
            raise InputError(f"--boxes {annotations}: a budget in AP needs annotated keypoints, as COCO has them")
        categories = [entry for entry in table.get("categories", []) if entry["id"] == PERSON]
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
            entry = {"image_id": person["image_id"], "category_id": PERSON, "score": float(kept[:, 2].mean())}
            results.append({**entry, "keypoints": kept.reshape(-1).tolist()})
        return 100 * average_precision(self.truth, results)


def average_precision(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> float:
    """0 to 1, as COCO defines it for keypoints, of results in COCO's form."""
    coco, cocoeval = require("pycocotools.coco", "eval"), require("pycocotools.cocoeval", "eval")
    with redirect_stdout(StringIO()):
        table = coco.COCO()
        table.dataset = json.loads(json.dumps(truth))  # it is written into
        table.createIndex()
        evaluation = cocoeval.COCOeval(table, table.loadRes(list(results)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
