"""Flip test: the library against NumPy, heatmaps and SimCC, with and without the shift."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native import network, run_pipelined
from tests.tiny import Tiny
from tvmpose.accuracy.systems import open_system
from tvmpose.cards import load_card
from tvmpose.cli.main import main
from tvmpose.errors import InputError
from tvmpose.flip_test import FlipTestJudge, Mirrored, mirrored_outputs
from tvmpose.modelspec import ModelSpec, TensorSpec
from tvmpose.runtime import load
from tvmpose.targets import host_target

tvm = pytest.importorskip("tvm", reason="needs the compiler extra")

from tvm import relax  # noqa: E402

from tvmpose.passes.average_mirrored import average_mirrored  # noqa: E402

RNG = np.random.default_rng(3)


def spec_of(*shapes: tuple[int, ...]) -> ModelSpec:
    outputs = tuple(TensorSpec(f"o{i}", shape, "float32") for i, shape in enumerate(shapes))
    return ModelSpec("torch", (TensorSpec("x", (1, 3, 256, 192), "float32"),), outputs)


@given(seed=st.integers(0, 2**32 - 1), shift=st.booleans(), channels_last=st.booleans())
@settings(max_examples=20, deadline=None)
def test_mirrored__heatmaps__back_is_what_each_joint_says_of_the_mirrored_column(seed, shift, channels_last) -> None:
    rng = np.random.default_rng(seed)
    maps, order = rng.random((1, 5, 4, 6)), (0, 2, 1, 4, 3)
    how = Mirrored(0, 3, 2, order, shift) if channels_last else Mirrored(0, 1, 3, order, shift)
    given_maps = maps.transpose(0, 2, 3, 1) if channels_last else maps
    back = how.back(given_maps)
    back = back.transpose(0, 3, 1, 2) if channels_last else back
    for joint, row, column in np.ndindex(5, 4, 6):
        source = max(column - 1, 0) if shift else column
        assert back[0, joint, row, column] == maps[0, order[joint], row, 5 - source]
    if not shift:
        np.testing.assert_array_equal(how.back(how.back(given_maps)), given_maps)


@pytest.mark.parametrize("shift", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_average_mirrored__a_network_of_three_outputs__as_the_judge(shift: bool) -> None:
    weights, order = RNG.standard_normal((3, 3, 3, 5), "float32"), (0, 2, 1, 4, 3)
    bins = RNG.standard_normal((5, 5), "float32")

    def build(x: relax.Expr) -> list[relax.Expr]:
        layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
        maps = relax.op.nn.relu(relax.op.nn.conv2d(x, relax.const(weights), padding=1, **layouts))
        rows = relax.op.permute_dims(relax.op.mean(maps, 1), [0, 2, 1])  # bins of x
        return [maps, rows, relax.op.matmul(relax.op.mean(maps, [1, 2]), relax.const(bins))]

    x = RNG.standard_normal((1, 6, 8, 3), "float32")
    plain = network(build, x.shape)

    class Runner:
        name, inputs, outputs = "library", (), ()

        def run(self, inputs, tensors=None):
            return run_pipelined(plain, host_target(), *inputs)

    how = (Mirrored(0, 3, 2, order, shift), Mirrored(1, 1, 2, order))
    found = run_pipelined(average_mirrored(plain, 2, how), host_target(), x)
    expected = FlipTestJudge(Runner(), 2, how).run([x])
    for ours, judge in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, judge, atol=1e-5)
    assert np.abs(found[0] - Runner().run([x])[0]).max() > 0.1


def test_mirrored_outputs__card__pairs_by_their_names() -> None:
    (maps,) = mirrored_outputs(spec_of((1, 17, 64, 48)), load_card("hrnet-w32"))
    assert (maps.joints_axis, maps.width_axis, maps.shift) == (1, 3, False)
    assert maps.order == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    x, y = mirrored_outputs(spec_of((1, 17, 384), (1, 17, 512)), load_card("rtmpose-t"))
    assert (x.width_axis, y.width_axis, x.order) == (2, None, maps.order)


@pytest.mark.parametrize(("card", "says"), [(None, "needs a card"), ("blazepose-lite", "of kind coordinates")])
def test_mirrored_outputs__head_that_cannot_be__input_error(card: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        mirrored_outputs(spec_of((1, 195)), card and load_card(card))


def test_eval__flip_test__bundle_and_source_model_look_twice(tiny: Tiny, tmp_path: Path) -> None:
    assert main([*tiny.arguments(tmp_path / "flip"), "--flip-test"]) == 0
    picture = cv2.imread(str(next(tiny.samples.iterdir())))
    bundle = open_system(str(tmp_path / "flip"), None, 1)
    source, plain = (open_system(str(tiny.model), str(tiny.card), 1, flip_test=flip) for flip in (True, False))
    assert bundle.runtime.endswith(", flip test") and source.runtime.endswith(", flip test")
    assert not plain.runtime.endswith(", flip test")
    found, expected, other = (
        system.estimate(picture, (2, 3, picture.shape[1] - 4, picture.shape[0] - 6))
        for system in (bundle, source, plain)
    )
    np.testing.assert_allclose(found, expected, atol=1e-3 * max(picture.shape))
    assert np.abs(other - expected)[:, 2].max() > 1e-2


def test_compile__flip_test__verified_and_alike_for_a_picture_and_its_mirror_image(tiny: Tiny, tmp_path: Path) -> None:
    assert main([*tiny.arguments(tmp_path / "plain")]) == 0
    assert main([*tiny.arguments(tmp_path / "flip"), "--flip-test"]) == 0
    (left, right) = load_card(str(tiny.card)).keypoints.flip_pairs[0]
    x = RNG.random((1, 3, 24, 32), "float32")
    maps = {}
    for name in ("plain", "flip"):
        with load(tmp_path / name) as pose:
            maps[name] = [pose.run_tensors([np.ascontiguousarray(each)])[0].copy() for each in (x, x[..., ::-1])]
    straight, mirrored = maps["flip"]
    np.testing.assert_allclose(mirrored[0, left, :, ::-1], straight[0, right], atol=1e-5)
    straight, mirrored = maps["plain"]
    assert np.abs(mirrored[0, left, :, ::-1] - straight[0, right]).max() > 1e-2
