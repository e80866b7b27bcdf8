"""From a model file to a verified bundle, for every format and for a CPU that is not here."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import CLEAR_PHOTOS, Compile
from tests.tiny import Tiny
from tvmpose import gate
from tvmpose.cli.main import main
from tvmpose.codegen.bundle import MANIFEST, SAMPLE
from tvmpose.compile import Options, Report, _runs_here, compile_model, resolve
from tvmpose.errors import InputError, ModelError, SetupError
from tvmpose.frontend.source import Source
from tvmpose.runtime import load
from tvmpose.runtime.pose import MachineError
from tvmpose.targets import Target, host_target, load_target, needed_features


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
        ("edvardhua_cpm_192.tflite", "edvardhua-cpm"),
        ("mobilenetv2-deconv", None),
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
    verification = manifest["verification"]
    assert (verification["status"], verification["samples"]) == ("verified", 1)
    assert verification["judge"].startswith("onnxruntime") and verification["max_px"] <= 0.05
    assert files(report) == {"libtiny.so", "tvmpose.h", "pose.py", SAMPLE}
    assert (manifest["card"], manifest["libraries"][0]["target"]) == ("tiny", "host")


def test_compile__no_verify__manifest_says_not_verified_and_no_judge_is_asked(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Source, "judge", None)
    report = compile_model(options(tiny, tmp_path / "bundle", card=None, verify=False, samples=None, static=True))
    assert report.manifest.verification.status == "not verified"
    assert files(report) == {"libtiny.so", "libtiny.a", "tvmpose.h", "pose.py"}  # no sample: nothing is known of it
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
    assert sorted(path.name for path in output.iterdir()) == ["libtiny.so", MANIFEST, "pose.py", "tvmpose.h"]


@pytest.mark.parametrize("dump", ["file", "file/inside", "/proc/dump"])
def test_compile__dump_that_cannot_be_written__one_line_before_the_work(tiny: Tiny, tmp_path: Path, dump: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"--dump .*file|--dump /proc/dump"):
        compile_model(options(tiny, tmp_path / "bundle", dump=tmp_path / dump), lambda step, result: pytest.fail(step))


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
    assert files(report) == {"libtiny.so", "tvmpose.h", "pose.py", SAMPLE}
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


@pytest.mark.parametrize("triple", ["riscv64-linux-gnu", "x86_64-linux-musl", "aarch64-linux-gnu"])
def test_runs_here__foreign_architecture_or_c_library__not(triple: str):
    assert _runs_here(host_target())
    assert not _runs_here(Target("foreign", "a target without features to check", triple, "generic"))
