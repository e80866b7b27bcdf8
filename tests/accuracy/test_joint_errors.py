"""PCK, PCKh and errors by joint, counted one joint at a time."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.accuracy.conftest import NAMES
from tvmpose.accuracy.dataset import Dataset
from tvmpose.accuracy.joint_errors import head_length, joint_errors


def everyone(dataset: Dataset):
    return [person for picture in dataset.pictures for person in picture.people]


def test_joint_errors__noise__as_counted_joint_by_joint(dataset: Dataset):
    people, random = everyone(dataset), np.random.default_rng(5)
    people[0] = replace(people[0], head_size=20.0)
    columns = [16, 0, 5, 6]
    found = [person.keypoints[columns] + random.normal(0, 12, (4, 3)) for person in people]
    right, measured, heads, nose = [], [], [], []
    for person, joints in zip(people, found, strict=True):
        for i, column in enumerate(columns):
            x, y, visibility = person.keypoints[column]
            if not visibility:
                continue
            distance = math.hypot(joints[i][0] - x, joints[i][1] - y)
            right.append(distance <= 0.2 * max(person.box[2], person.box[3]))
            head = person.head_size or head_length(person, NAMES)
            if not math.isnan(head):
                measured.append(distance <= 0.5 * head)
                heads.append(head)
            if column == 0:
                nose.append(100 * distance / max(person.box[2], person.box[3]))
    errors = joint_errors(people, found, NAMES, columns)
    assert 0 < errors.pck < 1
    assert errors.pck == pytest.approx(np.mean(right))
    assert errors.pckh == pytest.approx(np.mean(measured))
    assert [joint.name for joint in errors.by_joint] == ["right_ankle", "nose", "left_shoulder", "right_shoulder"]
    assert (errors.by_joint[1].labelled, errors.by_joint[1].mean) == (len(nose), pytest.approx(np.mean(nose)))


def test_head_length__nose_and_shoulders__from_the_nose_to_their_middle(dataset: Dataset):
    person = everyone(dataset)[0]
    joints = person.keypoints.copy()
    joints[[0, 5, 6]] = [(50, 20, 2), (40, 50, 2), (60, 50, 1)]
    assert head_length(replace(person, keypoints=joints), NAMES) == 30
    joints[5, 2] = 0
    assert math.isnan(head_length(replace(person, keypoints=joints), NAMES))
    assert math.isnan(head_length(person, ("left_hip",)))
