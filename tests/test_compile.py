"""From a model file to a verified bundle, for every format and for a CPU that is not here."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from tests.conftest import CLEAR_PHOTOS, Compile, Compiled
from tests.tiny import Tiny
from tvmpose import gate
from tvmpose.cli.main import main
from tvmpose.codegen.bundle import MANIFEST, SAMPLE
from tvmpose.compile import Options, Report, compile_model, resolve
from tvmpose.errors import InputError, ModelError, SetupError
from tvmpose.frontend.source import Source
from tvmpose.runtime import load
from tvmpose.runtime.pose import MachineError
from tvmpose.runtime.pose import main as check_main
from tvmpose.targets import host_target, load_target, needed_features

CARRIED = ("pose.py", "smooth.py", "tvmpose.h", "tvmpose_smooth.h")  # by every bundle
MODELS = Path(__file__).parents[1] / "models"


def options(tiny: Tiny, output: Path, **changes: object) -> Options:
    settings = {"card": str(tiny.card), "target": host_target(), "output": output, "samples": tiny.samples}
    return resolve(str(tiny.model), **(settings | changes))


def files(report: Report) -> set[str]:
    return set(report.manifest.files)


# What is resolved before anything is done


@pytest.mark.parametrize(
    ("stem", "name"), [("tiny", "tiny"), ("my net-2", "my_net_2"), ("2nd", "pose_2nd"), ("größe", "gr__e")]
)
def test_resolve__file__is_named_after_it_in_c(tiny: Tiny, stem: str, name: str):
    model = tiny.model.rename(tiny.model.with_stem(stem))
    resolved = resolve(str(model), card=None, target=host_target(), output=None)
    assert (resolved.name, resolved.output, resolved.card) == (name, Path(name), None)


def test_resolve__file_with_nothing_to_name_it_by__refused(tiny: Tiny):
    model = tiny.model.rename(tiny.model.with_stem("---"))
    with pytest.raises(InputError, match="no name for a bundle"):
        resolve(str(model), card=None, target=host_target(), output=None)


def test_resolve__name_of_a_card__finds_its_own_net_and_input():
    resolved = resolve("mobilenetv2-deconv", card=None, target=host_target(), output=None)
    assert resolved.name == "mobilenetv2_deconv"
    assert (resolved.source.path.name, resolved.source.input_shape) == ("net.py", (1, 3, 256, 192))


def test_resolve__folder_of_a_net__takes_the_card_beside_it():
    resolved = resolve(str(MODELS / "litehrnet-18"), card=None, target=host_target(), output=None)
    assert resolved.card is not None and resolved.card.name == "litehrnet-18"
    assert (resolved.name, resolved.source.input_shape) == ("litehrnet_18", (1, 3, 256, 192))
    assert resolve(str(MODELS / "lstm-lifter"), card=None, target=host_target(), output=None).card is None


def test_resolve__known_file_under_another_name__card_by_its_hash(data: Path, tmp_path: Path):
    model = tmp_path / "renamed.tflite"
    model.symlink_to(data / "models" / "pose_landmark_lite.tflite")
    resolved = resolve(str(model), card=None, target=host_target(), output=None)
    assert resolved.card is not None and resolved.card.name == "blazepose-lite"
    assert resolved.name == "renamed"


# Against the source runtimes


def picture_input(source: Source, photo: Path) -> np.ndarray:
    (spec,) = source.judge().inputs
    return gate.plain_input(spec, cv2.imread(str(photo))) * np.array(4 if spec.dtype == "float32" else 1, spec.dtype)


@pytest.mark.parametrize(
    ("model", "card"),
    [
        ("movenet-lightning.onnx", "movenet-lightning"),
        pytest.param("edvardhua_cpm_192.tflite", "edvardhua-cpm", marks=pytest.mark.slow),
        pytest.param("mobilenetv2-deconv", None, marks=pytest.mark.slow),
        pytest.param("movenet-thunder.onnx", "movenet-thunder", marks=pytest.mark.slow),
    ],
)
def test_compile__real_model__raw_tensors_as_its_own_runtime_s(
    compiled: Compile, data: Path, photos: Path, model: str, card: str | None
):
    if model == "mobilenetv2-deconv":
        pytest.importorskip("torch", reason="torch is not installed")
    bundle = compiled(model, card)
    path = data / "models" / model
    source = resolve(str(path) if path.is_file() else model, card=card, target=host_target(), output=None).source
    tensor = picture_input(source, photos / CLEAR_PHOTOS[0])
    with load(bundle.bundle) as pose:
        found = pose.run_tensors([tensor])
    for ours, theirs in zip(found, source.judge().run([tensor]), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    verification = bundle.report.manifest.verification
    assert verification.status == "verified" and verification.joints
    # An integer input rounds: where a pixel lies between two grey levels, float32 and float64 may take either.
    limit = 0.1 if tensor.dtype.kind == "i" else 0.05
    assert verification.max_px is not None and verification.max_px <= limit


# What a bundle says and holds


def test_compile__verified__manifest_says_what_was_measured(tiny: Tiny, tmp_path: Path):
    report = compile_model(options(tiny, tmp_path / "bundle"))
    manifest = json.loads((tmp_path / "bundle" / MANIFEST).read_text())
    (library,) = manifest["libraries"]
    verification = library["verification"]
    assert (verification["status"], verification["samples"]) == ("verified", 1)
    assert verification["judge"].startswith("onnxruntime") and verification["max_px"] <= 0.05
    assert files(report) == {"libtiny.so", *CARRIED, SAMPLE}
    assert (manifest["card"], library["target"]) == ("tiny", "host")


def test_compile__no_verify__manifest_says_not_verified_and_no_judge_is_asked(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Source, "judge", None)
    report = compile_model(options(tiny, tmp_path / "bundle", card=None, verify=False, samples=None, static=True))
    assert report.manifest.verification.status == "not verified"
    assert files(report) == {"libtiny.so", "libtiny.a", *CARRIED}  # no sample: nothing is known of it
    with load(tmp_path / "bundle") as pose:
        assert pose.info.name == "tiny"


def test_compile__without_card__raw_tensors_are_verified(tiny: Tiny, tmp_path: Path):
    report = compile_model(options(tiny, tmp_path / "bundle", card=None))
    verification = report.manifest.verification
    assert (verification.status, verification.joints) == ("verified", 0)
    assert verification.tensors_max_relative is not None and verification.tensors_max_relative <= 1e-5
    with load(tmp_path / "bundle") as pose, pytest.raises(Exception, match="model card"):
        pose(np.zeros((8, 8, 3), np.uint8))


def test_compile__again_over_a_bundle__replaces_it(tiny: Tiny, tmp_path: Path):
    output = tmp_path / "bundle"
    compile_model(options(tiny, output, card=None, verify=False, static=True))
    compile_model(options(tiny, output, card=None, verify=False))
    assert sorted(path.name for path in output.iterdir()) == sorted(["libtiny.so", MANIFEST, *CARRIED])


@pytest.mark.parametrize("dump", ["file", "file/inside", "/proc/dump"])
def test_compile__dump_that_cannot_be_written__one_line_before_the_work(tiny: Tiny, tmp_path: Path, dump: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"--dump .*file|--dump /proc/dump"):
        compile_model(options(tiny, tmp_path / "bundle", dump=tmp_path / dump), lambda step, result: pytest.fail(step))


# A part of the model


def multiply_adds(report: Report) -> int:
    return sum(step.multiply_adds for step in report.manifest.steps)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "card", "outputs", "keypoints", "shapes"),
    [
        ("pose_landmark_lite.tflite", "blazepose-lite", "head", "nose,11-16", [(1, 7 * 5), (1, 1)]),
        ("edvardhua_cpm_192.tflite", "edvardhua-cpm", None, "0-3", [(1, 96, 96, 4)]),
        ("movenet-lightning.onnx", "movenet-lightning", "0", "5,9", [(1, 1, 2, 3)]),
        ("mobilenetv2-deconv", None, None, "9,10", [(1, 2, 64, 48)]),
    ],
)
def test_compile__part_of_a_real_model__the_whole_one_s_keypoints_for_less(
    compiled: Compile, photos: Path, model: str, card: str | None, outputs: str | None, keypoints: str, shapes: list
):
    if model == "mobilenetv2-deconv":
        pytest.importorskip("torch", reason="torch is not installed")
    whole, part = compiled(model, card), compiled(model, card, outputs=outputs, keypoints=keypoints)
    assert [output.shape for output in part.report.manifest.model.outputs] == shapes
    verification = part.report.manifest.verification
    assert verification.status == "verified" and verification.joints and verification.max_px <= 0.1
    with load(whole.bundle) as all_of_it, load(part.bundle) as network:
        kept = [all_of_it.keypoint_names.index(name) for name in network.keypoint_names]
        for name in CLEAR_PHOTOS:
            picture = cv2.imread(str(photos / name))
            (expected,), (found,) = all_of_it(picture), network(picture)
            np.testing.assert_allclose(found.keypoints, expected.keypoints[kept], rtol=0, atol=1e-4)
            if outputs == "head":  # BlazePose's person score is an output of its own, not the joints' mean
                assert found.score == expected.score
    if model == "movenet-lightning.onnx":  # its decoding is part of the graph, which needs all of them
        assert multiply_adds(part.report) == multiply_adds(whole.report)
    else:
        assert multiply_adds(part.report) < multiply_adds(whole.report)


@pytest.mark.slow
def test_compile__outputs_of_the_head__the_branches_of_the_others_are_gone(compiled: Compile, blazepose_lite: Compiled):
    """BlazePose's mask and heatmaps are over a fifth of its work."""
    part = compiled("pose_landmark_lite.tflite", "blazepose-lite", outputs="head", keypoints="nose,11-16")
    assert multiply_adds(part.report) < 0.8 * multiply_adds(blazepose_lite.report)
    assert part.report.library.weight_bytes < blazepose_lite.report.library.weight_bytes


def test_compile__keypoints__manifest_library_and_self_check_have_those_alone(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    report = compile_model(options(tiny, tmp_path / "part", keypoints="right_wrist,5-9"))
    names = ("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist")
    assert report.manifest.keypoints is not None
    assert report.manifest.keypoints.names == names  # in the card's order
    assert report.manifest.keypoints.edges == ((0, 1), (0, 2), (2, 4), (1, 3), (3, 5))  # none to the hips
    assert report.findings is not None and report.findings.joints == 6
    with load(tmp_path / "part") as pose:
        assert pose.keypoint_names == names and pose.skeleton == report.manifest.keypoints.edges
        assert [output.shape for output in pose.info.outputs] == [(1, 6, 24, 32)]
    assert check_main(["--check", str(tmp_path / "part")]) == 0
    assert capfd.readouterr().out.startswith("ok: 6 keypoints within ")


def test_compile__all_keypoints_named__as_without(tiny: Tiny, tmp_path: Path):
    whole = compile_model(options(tiny, tmp_path / "whole"))
    named = compile_model(options(tiny, tmp_path / "named", keypoints="0-16", outputs="maps"))
    assert (named.manifest.keypoints, named.manifest.model) == (whole.manifest.keypoints, whole.manifest.model)
    assert named.findings == whole.findings


def test_compile__outputs_without_a_card__raw_tensors_of_those(two_outputs: Path, tiny: Tiny, tmp_path: Path):
    """The tensor that is kept is verified; the convolution behind the other is not in the library."""
    resolved = resolve(
        str(two_outputs), card=None, target=host_target(), output=tmp_path / "b", samples=tiny.samples, outputs="relu"
    )
    report = compile_model(resolved)
    assert [output.name for output in report.manifest.model.outputs] == ["relu"]
    assert report.manifest.verification.status == "verified"
    assert sum(step.multiply_adds > 0 for step in report.manifest.steps) == 1


@pytest.fixture
def two_outputs(tiny: Tiny) -> Path:
    """tiny.onnx, which returns "relu" too."""
    model = onnx.load(tiny.model)
    shape = (1, 8, 24, 32)
    model.graph.output.append(onnx.helper.make_tensor_value_info("relu", onnx.TensorProto.FLOAT, shape))
    path = tiny.model.with_name("two.onnx")
    onnx.save(model, path)
    return path


def test_compile__first_photo_without_a_sure_joint__another_is_the_self_check_s(tiny: Tiny, tmp_path: Path):
    black = np.zeros((48, 72, 3), np.uint8)
    cv2.imwrite(str(tiny.samples / "a-black.png"), black)
    compile_model(options(tiny, tmp_path / "bundle"))
    with np.load(tmp_path / "bundle" / SAMPLE) as sample:
        assert sample["image"].any() and np.isfinite(sample["keypoints"]).any()


def test_compile__outputs_that_there_are_not__one_line_and_nothing_written(tiny: Tiny, tmp_path: Path):
    with pytest.raises(InputError, match="--outputs map: nothing is called so; did you mean maps") as caught:
        compile_model(options(tiny, tmp_path / "bundle", outputs="map"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_resolve__keypoints_of_a_model_without_card__refused(tiny: Tiny, tmp_path: Path):
    with pytest.raises(InputError, match="--keypoints: needs a card"):
        options(tiny, tmp_path / "bundle", card=None, keypoints="0")


# A device that is not this one

FOREIGN = 'title = "elsewhere"\ntriple = "x86_64-linux-gnu"\ncpu = "sapphirerapids"\n'


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A target of this architecture whose CPU has what this one lacks."""
    path = tmp_path / "elsewhere.toml"
    path.write_text(FOREIGN)
    if not host_target().triple.startswith("x86_64"):
        pytest.skip("this machine is no x86-64")
    if needed_features(load_target(str(path))) <= needed_features(host_target()):
        pytest.skip("this machine is a sapphirerapids")
    return path


def test_compile__cpu_that_is_not_here__verified_on_the_host_and_refused_at_run_time(
    tiny: Tiny, foreign: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    output = tmp_path / "bundle"
    report = compile_model(options(tiny, output, card=None, target=load_target(str(foreign))))
    assert report.manifest.verification.status == "host-equivalent only"
    assert files(report) == {"libtiny.so", *CARRIED, SAMPLE}
    with pytest.raises(MachineError, match=r"compiled for instructions that this CPU lacks: .*amx"):
        load(output)
    capfd.readouterr()
    assert main(["run", str(output), str(next(tiny.samples.iterdir()))]) == 6
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "amx" in err


# Wrong cards


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("width = 32", "width = 33"), r"\(24, 33\) pixels"),
        (("height = 24", "height = 32"), r"\(32, 32\) pixels"),
        (("tensor = 0", "tensor = 1"), "reads output 1, the model has 1 outputs"),
        (("tensor = 0", "tensor = 0\nperson_tensor = 7"), "reads output 7"),
        (("coco17", "ai-challenger14"), "14 heatmaps"),
    ],
)
def test_compile__card_of_another_model__says_what_does_not_fit(
    tiny: Tiny, tmp_path: Path, change: tuple[str, str], says: str
):
    tiny.card.write_text(tiny.card.read_text().replace(*change))
    with pytest.raises(ModelError, match=says) as caught:
        compile_model(options(tiny, tmp_path / "bundle"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()
