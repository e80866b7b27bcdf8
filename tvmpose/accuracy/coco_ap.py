"""Average precision as the COCO keypoint challenge defines it, by pycocotools."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np

from tvmpose.accuracy.dataset import Dataset
from tvmpose.extras import require
from tvmpose.pose.coco_json import PERSON_CATEGORY
from tvmpose.pose.similarity import sigmas


@dataclass(frozen=True)
class Detection:
    """keypoints: (K, 2 or more), x and y first, in pixels of the picture; ``score`` ranks it among the others."""

    image_id: int
    keypoints: np.ndarray
    score: float


@dataclass(frozen=True)
class AveragePrecision:
    """0 to 1; over OKS thresholds 0.5 to 0.95, at two of them, and the average recall."""

    ap: float
    ap50: float
    ap75: float
    ar: float


def average_precision(detections: Sequence[Detection], dataset: Dataset, columns: Sequence[int]) -> AveragePrecision:
    """columns: which of the data set's keypoints those of the detections are; the others do not count.

    Detections of more than 20 people in one picture are cut to the surest 20, as COCO does.
    """
    results = [_result(each) for each in detections]
    return judge(_restricted(dataset, columns), results, sigmas([dataset.names[column] for column in columns]))


def judge(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: np.ndarray | None = None
) -> AveragePrecision:
    """Of results against a table, both in COCO's form; pycocotools writes into the table. sigmas: None: COCO's own."""
    coco, cocoeval = require("pycocotools.coco", "eval"), require("pycocotools.cocoeval", "eval")
    if not results:
        return AveragePrecision(0.0, 0.0, 0.0, 0.0)
    with redirect_stdout(StringIO()):
        table = coco.COCO()
        table.dataset = truth
        table.createIndex()
        evaluation = cocoeval.COCOeval(table, table.loadRes(list(results)), "keypoints")
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75, _, _, ar, *_ = (float(number) for number in evaluation.stats)
    return AveragePrecision(ap, ap50, ap75, ar)


def _restricted(dataset: Dataset, columns: Sequence[int]) -> Mapping[str, Any]:
    """The annotations with some of the keypoints only. pycocotools writes into what it gets."""
    table = copy.deepcopy(dict(dataset.table))
    if list(columns) == list(range(len(dataset.names))):
        return table
    for entry in table["annotations"]:
        kept = np.reshape(entry["keypoints"], (-1, 3))[list(columns)]
        entry["keypoints"], entry["num_keypoints"] = kept.reshape(-1).tolist(), int((kept[:, 2] > 0).sum())
    return table


def _result(detection: Detection) -> dict[str, Any]:
    joints = np.ones((len(detection.keypoints), 3))
    joints[:, :2] = detection.keypoints[:, :2]
    return {
        "image_id": detection.image_id,
        "category_id": PERSON_CATEGORY,
        "score": detection.score,
        "keypoints": joints.reshape(-1).tolist(),
    }
