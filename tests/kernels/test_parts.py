"""PoseNet's decode kernel against float64 NumPy."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tvmpose.cards.heads import PartsHead
from tvmpose.errors import ModelError
from tvmpose.pose.reference_people import FoundPerson, decode_all

tvm = pytest.importorskip("tvm", reason="needs the compiler extra")

from tvmpose.kernels.decoders import kernel_of  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"})
MATRIX = np.array([1.7, -0.3, 12.25, 0.2, 1.9, -40.5])
JOINTS, GRID = 17, (9, 7)
HEAD = PartsHead("parts", 0, 1, 2, 3, 16, 0.5, 20.0, 4, "sigmoid")
DEPTHS = (JOINTS, 2 * JOINTS, 32, 32)


@functools.cache
def compiled(shapes: tuple[tuple[int, ...], ...]) -> tvm.runtime.Module:
    options = {"num_keypoints": JOINTS, "input_size": (97, 129), "half_pixel_centers": False}
    return tvm.compile(tvm.IRModule({"decode": kernel_of(HEAD, name="decode", shapes=shapes, **options)}), TARGET).mod


def check(outputs: list[NDArray[np.float32]]) -> list[FoundPerson]:
    options = {"num_keypoints": JOINTS, "input_size": (97, 129), "half_pixel": False}
    expected = decode_all(HEAD, outputs, MATRIX, **options)
    most = HEAD.max_people
    keypoints, people, boxes = (tvm.runtime.empty((n,), "float32") for n in (most * JOINTS * 3, most, most * 4))
    count = tvm.runtime.empty((1,), "int32")
    kernel = compiled(tuple(tensor.shape for tensor in outputs))
    kernel["decode"](*(tvm.runtime.tensor(t) for t in (*outputs, MATRIX)), keypoints, people, boxes, count)
    assert count.numpy()[0] == len(expected)
    found = keypoints.numpy().reshape(most, JOINTS, 3)
    for i, judge in enumerate(expected):
        np.testing.assert_allclose(found[i], judge.keypoints, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(people.numpy()[i], judge.score, rtol=1e-5)
        np.testing.assert_allclose(boxes.numpy()[4 * i : 4 * i + 4], judge.box, rtol=1e-5, atol=1e-2)
    return expected


@pytest.mark.parametrize("channels_last", [False, True])
@given(seed=st.integers(0, 2**32 - 1), likely=st.floats(-8, 0))
@settings(max_examples=25, deadline=None)
def test_parts__random_tensors__as_reference(channels_last: bool, seed: int, likely: float) -> None:
    rng = np.random.default_rng(seed)
    heat = rng.normal(likely, 3, (1, *GRID, JOINTS))
    outputs = [heat, *(rng.normal(0, 12, (1, *GRID, depth)) for depth in DEPTHS[1:])]
    tensors = [tensor.astype(np.float32) for tensor in outputs]
    check(tensors if channels_last else [np.ascontiguousarray(t.transpose(0, 3, 1, 2)) for t in tensors])


def test_parts__two_people_drawn_into_the_tensors__both_found_joint_by_joint() -> None:
    rng = np.random.default_rng(0)
    heat = np.full((*GRID, JOINTS), -9.0)
    offsets, forward, backward = (np.zeros((*GRID, depth)) for depth in DEPTHS[1:])
    drawn = []
    for person in range(2):
        joints = np.stack([rng.integers(0, 9, JOINTS) * 16, rng.integers(0, 3, JOINTS) * 16 + person * 64], axis=1)
        drawn.append(joints)
        for k, (y, x) in enumerate(joints):
            heat[y // 16, x // 16, k] = 3 - person
        for edge, (parent, child) in enumerate(HEAD.edges):
            for tensor, source, target in ((forward, parent, child), (backward, child, parent)):
                y, x = joints[source] // 16
                tensor[y, x, [edge, edge + 16]] = joints[target] - joints[source]
    people = check([tensor[None].astype(np.float32) for tensor in (heat, offsets, forward, backward)])
    assert len(people) == 2
    for person, joints in zip(people, drawn, strict=True):
        places = MATRIX.reshape(2, 3) @ np.concatenate([joints[:, ::-1].T, np.ones((1, JOINTS))])
        np.testing.assert_allclose(person.keypoints[:, :2], places.T, atol=1e-6)


def test_parts__another_skeleton__model_error() -> None:
    shapes = [(1, *GRID, depth) for depth in (14, 28, 32, 32)]
    with pytest.raises(ModelError, match="a tree of 16 edges does not join 14 keypoints"):
        kernel_of(HEAD, name="d", shapes=shapes, num_keypoints=14, input_size=(97, 129), half_pixel_centers=False)
