"""The gate: what it measures, what it refuses, and that nothing is left behind then."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.sabotage import relu_becomes_tanh
from tests.tiny import JOINTS, Tiny
from tvmpose import gate
from tvmpose.cards import load_card
from tvmpose.cli.main import main
from tvmpose.errors import InputError, ModelError, VerifyError
from tvmpose.modelspec import TensorSpec

SPEC = TensorSpec("image", (1, 3, 24, 32), "float32")


class FixedJudge:
    """A source model with one answer: joint k's peak in cell (3 + k, 5), of the given height."""

    name = "fixed"

    def __init__(self, height: float = 0.9) -> None:
        self.maps = np.zeros((1, JOINTS, 24, 32), np.float32)
        self.maps[0, np.arange(JOINTS), 5, np.arange(JOINTS) + 3] = height

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return [self.maps]


class ShiftedPose:
    """A library whose keypoints are all ``shift`` pixels of the picture to the right of FixedJudge's."""

    def __init__(self, shift: float, joints: int = JOINTS) -> None:
        self.shift, self.joints = shift, joints

    def run_tensors(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return FixedJudge().run(inputs)

    def __call__(self, picture: np.ndarray, format: str) -> list[SimpleNamespace]:
        scale = picture.shape[1] / 32
        x, y = (np.arange(self.joints) + 3) * scale + self.shift, np.full(self.joints, 5 * scale)
        return [SimpleNamespace(keypoints=np.stack([x, y, np.ones(self.joints)], axis=1))]


PICTURES = [("a.png", np.zeros((48, 64, 3), np.uint8)), ("b.png", np.zeros((72, 96, 3), np.uint8))]


# What is measured


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_compare__keypoints_moved_in_the_picture__distance_in_input_pixels(tiny: Tiny, shift: float):
    found = gate.compare(ShiftedPose(shift), FixedJudge(), load_card(tiny.card), SPEC, PICTURES)
    assert (found.samples, found.joints) == (2, 2 * JOINTS)
    assert found.median_px == pytest.approx(shift * 5 / 12, abs=1e-6)
    assert found.max_px == pytest.approx(shift / 2, abs=1e-6)  # the first picture's scale is 2, the second's 3
    assert found.tensors_max_relative == 0


def test_compare__source_model_sure_of_nothing__asks_for_other_photos(tiny: Tiny):
    with pytest.raises(InputError, match=r"of no joint .* give --samples"):
        gate.compare(ShiftedPose(0), FixedJudge(height=0.2), load_card(tiny.card), SPEC, PICTURES)


def test_compare__kept_joints_that_no_photo_is_sure_of__names_them(tiny: Tiny):
    card = replace(load_card(tiny.card), kept=(15, 16))
    judge, pose = FixedJudge(height=0.2), ShiftedPose(0, joints=2)
    judge.maps = judge.maps[:, 15:]
    pose.run_tensors = judge.run
    with pytest.raises(InputError, match="--samples that show left_ankle, right_ankle"):
        gate.compare(pose, judge, card, SPEC, PICTURES)


def test_compare__one_output_not_a_number__is_not_lost_among_the_others(tiny: Tiny):
    pose = ShiftedPose(0)
    pose.run_tensors = lambda inputs: [np.full((1, JOINTS, 24, 32), np.nan, np.float32)]
    found = gate.compare(pose, FixedJudge(), load_card(tiny.card), SPEC, PICTURES)
    assert np.isnan(found.tensors_max_relative)


def test_compare__source_model_computes_no_number__says_so_and_not_that_ours_differs():
    judge = FixedJudge()
    judge.maps[0, 3, 5, 5:8] = np.inf, -np.inf, np.nan
    with pytest.raises(ModelError, match=r"output 0 has 3 of 13056 values .* in fixed, of a\.png.*--no-verify"):
        gate.compare(ShiftedPose(0), judge, None, SPEC, PICTURES)


def findings(max_px: float, relative: float) -> gate.Findings:
    return gate.Findings("fixed", 1, JOINTS, max_px, max_px, max_px, relative)


@pytest.mark.parametrize("max_px", [0.51, float("nan"), float("inf")])
def test_require_agreement__keypoints_beyond_the_limit__verify_error_with_the_clause(tiny: Tiny, max_px: float):
    with pytest.raises(VerifyError, match=r"input pixels \(limit 0\.5\); somewhere; --no-verify"):
        gate.require_agreement(findings(max_px, 0), load_card(tiny.card), iter(["somewhere"]))


@pytest.mark.parametrize("relative", [2e-3, float("nan")])
def test_require_agreement__tensors_beyond_the_limit_without_card__verify_error(relative: float):
    with pytest.raises(VerifyError, match="somewhere"):
        gate.require_agreement(findings(0, relative), None, iter(["somewhere"]))


def test_require_agreement__within_the_limits__does_not_look_for_the_tensor(tiny: Tiny):
    gate.require_agreement(findings(0.5, 9), load_card(tiny.card), iter(()))
    gate.require_agreement(findings(0, 1e-3), None, iter(()))


# Quantized models


@pytest.mark.parametrize("step", [1.0, 0.25, None])
def test_compare__quantized__share_of_values_within_a_step_of_the_worst_output(tiny: Tiny, step: float | None):
    """Of 200 values 3 are two steps off and 5 one step; the other output agrees, the range of both is 255 steps."""
    expected = np.linspace(0, 255, 200) * (1 if step is None else step)
    found = expected.copy()
    found[:3] += 2 * (step or 1)
    found[3:8] -= step or 1
    judge = SimpleNamespace(name="fixed", run=lambda inputs: [expected, expected])
    pose = SimpleNamespace(run_tensors=lambda inputs: [expected, found])
    measured = gate.compare(pose, judge, None, SPEC, PICTURES, [step, step])
    assert measured.tensors_within_step == pytest.approx(1 - 3 / 200)
    assert measured.tensors_max_steps == pytest.approx(2)


def test_compare__quantized_output_not_a_number__is_no_step():
    judge = SimpleNamespace(name="fixed", run=lambda inputs: [np.zeros(4)])
    pose = SimpleNamespace(run_tensors=lambda inputs: [np.array([0, 0, 0, np.nan])])
    assert gate.compare(pose, judge, None, SPEC, PICTURES, [1.0]).tensors_within_step == 0.75


@pytest.mark.parametrize("shape", [(48, 72, 3), (30, 17, 3), (24, 32, 3)])
def test_at_network_size__any_picture__the_bytes_that_the_network_sees_of_it(tiny: Tiny, shape: tuple[int, int, int]):
    """And seen once more they are the same: no pixel of it lies between two."""
    card, spec = load_card(tiny.card), TensorSpec("bytes", (1, 24, 32, 3), "uint8")
    card = replace(card, input=replace(card.input, std=(1, 1, 1)))
    judge = SimpleNamespace(run=lambda inputs: [FixedJudge().maps])
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    small = gate.at_network_size(card, picture)
    assert (small.shape, small.dtype) == ((24, 32, 3), np.uint8) and small.std() > 20
    whole = gate.expect(judge, card, spec, picture).input
    np.testing.assert_array_equal(small[None, :, :, ::-1], whole)
    np.testing.assert_array_equal(gate.expect(judge, card, spec, small).input, whole)


def quantized(median: float = 0, p95: float = 0, within: float = 1) -> gate.Findings:
    return gate.Findings("fixed", 1, JOINTS, median, p95, 99.0, 9.0, tensors_max_steps=99, tensors_within_step=within)


def test_require_agreement__quantized_but_for_a_few__agrees_and_does_not_look_for_the_tensor(tiny: Tiny):
    gate.require_agreement(quantized(0.5, 8, within=0), load_card(tiny.card), iter(()))
    gate.require_agreement(quantized(9, 99, within=0.99), None, iter(()))


@pytest.mark.parametrize(
    ("found", "card", "says"),
    [
        (quantized(median=0.51), True, r"half of its keypoints differ by 0\.51 input pixels \(limit 0\.5\); somewhere"),
        (quantized(p95=8.1), True, r"by 8\.10 input pixels at p95 \(limit 8\); somewhere"),
        (quantized(median=float("nan")), True, "somewhere"),
        (quantized(p95=float("nan")), True, "somewhere"),
        (
            quantized(within=0.98),
            False,
            r"2\.0% of an output's values are more than a step off \(limit 1%\); somewhere",
        ),
        (quantized(within=float("nan")), False, "somewhere"),
    ],
)
def test_require_agreement__quantized_beyond_a_limit__verify_error(
    tiny: Tiny, found: gate.Findings, card: bool, says: str
):
    with pytest.raises(VerifyError, match=says):
        gate.require_agreement(found, load_card(tiny.card) if card else None, iter(["somewhere"]))


@pytest.mark.parametrize(("shape", "dtype"), [((1, 24, 32, 3), "int32"), ((1, 3, 24, 32), "float32")])
def test_plain_input__red_picture__in_the_layout_and_range_of_the_input(shape: tuple[int, ...], dtype: str):
    red = np.zeros((9, 7, 3), np.uint8)
    red[..., 2] = 255
    tensor = gate.plain_input(TensorSpec("x", shape, dtype), red)
    assert (tensor.shape, tensor.dtype.name) == (shape, dtype)
    channels_last = tensor[0] if shape[3] == 3 else tensor[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(channels_last, np.broadcast_to([255 if dtype == "int32" else 1, 0, 0], (24, 32, 3)))


def test_plain_input__input_that_is_no_picture__refused():
    with pytest.raises(InputError, match="is no picture: give --card, or --no-verify"):
        gate.plain_input(TensorSpec("x", (1, 10), "int32"), PICTURES[0][1])


def test_plain_input__floats_that_are_no_picture__the_same_noise_every_time():
    first, second = (gate.plain_input(TensorSpec("x", (1, 16, 34), "float32"), PICTURES[0][1]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first.shape, first.dtype.name) == ((1, 16, 34), "float32") and first.std() > 0.9


# The samples


def test_read_samples__folder__its_pictures_by_name_and_nothing_else(tmp_path: Path):
    for name in ("b.PNG", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 5, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    assert [name for name, _ in gate.read_samples(tmp_path, None)] == ["a.jpg", "b.PNG"]


def test_read_samples__empty_missing_or_corrupt__named(tmp_path: Path):
    with pytest.raises(InputError, match="holds no pictures"):
        gate.read_samples(tmp_path, None)
    with pytest.raises(InputError, match="not a folder"):
        gate.read_samples(tmp_path / "nowhere", None)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))
    with pytest.raises(InputError, match=r"broken\.jpg cannot be decoded"):
        gate.read_samples(tmp_path, None)


# A compiler with a defect


def test_compile__wrong_activation__exit_5_the_tensor_s_name_and_nothing_left(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    relu_becomes_tanh(monkeypatch)
    output = tmp_path / "out" / "bundle"
    assert main(tiny.arguments(output)) == 5
    error = capfd.readouterr().err
    assert error.startswith("tvmpose: error: the library disagrees with onnxruntime") and error.count("\n") == 1
    assert "the first tensor that diverges is relu (1, 8, 24, 32)" in error
    assert not output.parent.exists()


def test_compile__wrong_activation_over_an_old_bundle__the_old_one_stays(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "bundle"
    arguments = [part for part in tiny.arguments(output) if part not in ("--card", str(tiny.card))]
    assert main(arguments) == 0
    before = {path: path.read_bytes() for path in output.iterdir()}
    relu_becomes_tanh(monkeypatch)
    assert main(arguments) == 5
    assert {path: path.read_bytes() for path in output.iterdir()} == before
    assert main([*arguments, "--no-verify"]) == 0
    assert '"not verified"' in (output / "manifest.json").read_text()


@pytest.mark.slow
def test_compile__wrong_operator_in_a_real_model__names_its_first_tensor(
    data: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """One row of the TFLite frontend's table computes another operator; blazepose lite is known by its hash."""
    from tvmpose.frontend.tflite_operators import OPERATORS

    monkeypatch.setitem(OPERATORS, "ADD", OPERATORS["SUB"])
    model, output = data / "models" / "pose_landmark_lite.tflite", tmp_path / "bundle"
    assert main(["compile", str(model), "--samples", str(photos), "-o", str(output)]) == 5
    error = capfd.readouterr().err
    relu_of_the_first_add = r"the first tensor that diverges is model_1/model/re_lu_57/Relu6 \(1, 128, 128, 8\)"
    assert error.count("\n") == 1 and re.search(relu_of_the_first_add, error)
    assert not output.exists()


# Lowered precisions


def lowered(median: float = 0, p95: float = 0, similarity: float | None = 1, relative: float = 9) -> gate.Findings:
    return gate.Findings("fixed", 1, JOINTS, median, p95, 99.0, relative, similarity=similarity)


@pytest.mark.parametrize("precision", gate.LOSSES)
def test_require_accuracy__at_the_limits__accepted(tiny: Tiny, precision: str):
    limit = gate.LOSSES[precision]
    gate.require_accuracy(lowered(limit.median_px, limit.p95_px, 0.9), load_card(tiny.card), precision)
    gate.require_accuracy(lowered(9, 99, None, relative=0.25), None, precision)


@pytest.mark.parametrize(
    ("found", "precision", "says"),
    [
        (lowered(0.51), "float16", r"half of its keypoints differ by 0\.51 input pixels \(limit 0\.5\), OKS 1\.000"),
        (lowered(2.1), "bfloat16", r"by 2\.10 input pixels \(limit 2\)"),
        (lowered(2.1), "int8", r"a smaller --budget or another --recipe helps"),
        (lowered(similarity=0.89), "float16", r"OKS 0\.890 \(limit 0\.9\); another --precision helps"),
        (lowered(similarity=None), "int8", r"OKS 0\.000"),
        (lowered(0, 3.23, 0.95), "float16", r"by 3\.23 input pixels at p95 \(limit 2\); another --precision"),
        (lowered(0, 8.1), "bfloat16", r"by 8\.10 input pixels at p95 \(limit 8\)"),
        (lowered(float("nan")), "float16", "--accept-accuracy-loss keeps it"),
        (lowered(p95=float("nan")), "float16", "--accept-accuracy-loss keeps it"),
    ],
)
def test_require_accuracy__beyond_a_limit__one_line(tiny: Tiny, found: gate.Findings, precision: str, says: str):
    with pytest.raises(VerifyError, match=says) as raised:
        gate.require_accuracy(found, load_card(tiny.card), precision)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("relative", [0.26, float("nan")])
def test_require_accuracy__tensors_beyond_the_limit_without_card__one_line(relative: float):
    with pytest.raises(VerifyError, match=r"its outputs differ by .* of their maximum \(limit 0\.25\)"):
        gate.require_accuracy(lowered(relative=relative), None, "float16")


def test_compare__one_joint_of_seventeen_on_another_peak__seen_in_p95_alone(tiny: Tiny):
    """What OKS, 0.95 then, and the median let pass."""
    pose, card = ShiftedPose(0), load_card(tiny.card)
    found_by = pose.__call__

    class OneAstray(ShiftedPose):
        def __call__(self, picture: np.ndarray, format: str) -> list[SimpleNamespace]:
            (person,) = found_by(picture, format)
            person.keypoints[4, 0] += 16 * picture.shape[1] / 32
            return [person]

    found = gate.compare(OneAstray(0), FixedJudge(), card, SPEC, PICTURES)
    assert (found.median_px, found.similarity) == (0, pytest.approx(16 / 17, abs=1e-3))
    assert found.max_px == pytest.approx(16)
    with pytest.raises(VerifyError, match=r"input pixels at p95 \(limit 2\)"):
        gate.require_accuracy(found, card, "float16")
