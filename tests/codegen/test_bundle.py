"""Writing bundles: one format for writer and reader, and all or nothing on the disk."""

import errno
import hashlib
import io
import itertools
import json
import os
import re
import resource
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tvmpose.codegen.bundle import (
    FORMAT_VERSION,
    Verification,
    keypoint_sample,
    refuse_other_files,
    tensor_sample,
    write_bundle,
)
from tvmpose.errors import InputError, SetupError
from tvmpose.runtime import pose as binding

CARRIED = ("pose.py", "smooth.py", "tvmpose.h", "tvmpose_smooth.h")  # by every bundle

DOCS = Path(__file__).parents[2] / "docs" / "bundle.md"


@pytest.fixture
def contents(fake_library):
    return {"libfake.so": fake_library(), "sample.npz": b"sample"}


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_write_bundle__manifest__is_read_back_the_same_by_the_binding(tmp_path, fake_manifest, contents):
    written = write_bundle(tmp_path / "new" / "b", fake_manifest, contents)
    read = binding.read_manifest(tmp_path / "new" / "b")
    binding.verify_files(tmp_path / "new" / "b", read)
    assert binding.FORMAT_VERSION == FORMAT_VERSION
    assert (read.name, read.symbol) == (written.name, written.symbol)
    assert [asdict(library) for library in read.libraries] == [
        {
            **{key: getattr(library, key) for key in ("file", "target", "triple", "cpu_features")},
            "verification": library.verification.status,
        }
        for library in written.libraries
    ]
    assert read.files == {name: (entry.sha256, entry.bytes) for name, entry in written.files.items()}
    assert (read.keypoint_names, read.skeleton) == (written.keypoints.names, written.keypoints.edges)
    assert (read.tolerance_px, read.tolerance_relative) == (
        written.check.tolerance_px,
        written.check.tolerance_relative,
    )
    assert json.loads((tmp_path / "new" / "b" / "manifest.json").read_text()) == json.loads(json.dumps(asdict(written)))


def test_write_bundle__files__are_the_listed_ones_with_their_hashes(tmp_path, fake_manifest, contents):
    written = write_bundle(tmp_path / "b", fake_manifest, contents)
    found = _snapshot(tmp_path / "b")
    assert set(found) == {"libfake.so", "sample.npz", *CARRIED, "manifest.json"}
    for name, entry in written.files.items():
        assert entry.sha256 == hashlib.sha256(found[name]).hexdigest()
        assert entry.bytes == len(found[name])
    assert found["pose.py"] == Path(binding.__file__).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_write_bundle__source_date_epoch__same_bytes_every_time(tmp_path, fake_manifest, contents, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    written = write_bundle(tmp_path / "a", fake_manifest, contents)
    write_bundle(tmp_path / "b", fake_manifest, contents)
    assert written.created == "2023-11-14T22:13:20Z"
    assert _snapshot(tmp_path / "a") == _snapshot(tmp_path / "b")


def test_samples__same_arrays__same_bytes_and_no_pickle():
    image, box, keypoints = np.zeros((4, 5, 3), np.uint8), (0.0, 1.0, 2.0, 3.0), np.ones((2, 3))
    assert keypoint_sample(image, box, keypoints) == keypoint_sample(image, box, keypoints)
    with np.load(io.BytesIO(keypoint_sample(image, box, keypoints))) as sample:
        assert sample["image"].shape == (4, 5, 3) and sample["keypoints"].dtype == np.float32
    with np.load(io.BytesIO(tensor_sample([image], [keypoints, image]))) as sample:
        assert set(sample) == {"input_0", "output_0", "output_1"}


def test_write_bundle__older_bundle__is_replaced(tmp_path, fake_manifest, contents):
    write_bundle(tmp_path / "b", fake_manifest, contents)
    (tmp_path / "b" / "__pycache__").mkdir()
    renamed = replace(fake_manifest, libraries=(replace(fake_manifest.libraries[0], file="libnew.so"),))
    write_bundle(tmp_path / "b", renamed, {"libnew.so": contents["libfake.so"]})
    assert set(_snapshot(tmp_path / "b")) == {"libnew.so", *CARRIED, "manifest.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_write_bundle__symlink_to_a_bundle__replaces_what_it_points_to(tmp_path, fake_manifest, contents):
    write_bundle(tmp_path / "real", fake_manifest, contents)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bundle(tmp_path / "link", replace(fake_manifest, name="second"), contents)
    assert binding.read_manifest(tmp_path / "real").name == "second"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("make", ["file", "foreign", "web app", "bundle with a note"])
def test_write_bundle__anything_but_a_bundle__is_left_alone(tmp_path, fake_manifest, contents, make):
    place = tmp_path / "b"
    if make == "file":
        place.write_text("mine")
    elif make == "bundle with a note":
        write_bundle(place, fake_manifest, contents)
        (place / "note.txt").write_text("mine")
    else:
        place.mkdir()
        (place / ("manifest.json" if make == "web app" else "thesis.tex")).write_text('{"short_name": "mine"}')
    before = place.read_bytes() if make == "file" else _snapshot(place)
    with pytest.raises(InputError) as caught:
        write_bundle(place, fake_manifest, contents)
    assert "\n" not in str(caught.value)
    assert before == (place.read_bytes() if make == "file" else _snapshot(place))


def test_refuse_other_files__nothing_or_an_empty_folder__is_fine(tmp_path, fake_manifest, contents):
    refuse_other_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty", fake_manifest, contents)
    binding.load(tmp_path / "empty").close()


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename"])
@pytest.mark.parametrize("nth", range(8))
def test_write_bundle__nth_system_call_fails__leaves_the_old_bundle_or_the_new(
    tmp_path, fake_manifest, contents, monkeypatch, call, nth, existing
):
    if existing:
        write_bundle(tmp_path / "b", fake_manifest, contents)
    before = _snapshot(tmp_path / "b") if existing else None
    real, calls = getattr(os, call), itertools.count()

    def fails_once(*args, **kwargs):
        if next(calls) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(os, call, fails_once)
    try:
        write_bundle(tmp_path / "b", replace(fake_manifest, name="second"), contents)
        written = True
    except SetupError as error:
        assert "No space left on device" in str(error)
        written = (tmp_path / "b").exists() and binding.read_manifest(tmp_path / "b").name == "second"
    if written:
        binding.load(tmp_path / "b").close()
    else:
        assert before == (_snapshot(tmp_path / "b") if (tmp_path / "b").exists() else None)
    assert [path.name for path in tmp_path.iterdir()] == ["b"] * (written or existing)


def test_write_bundle__disk_takes_no_more__is_a_setup_error_and_leaves_nothing(tmp_path, fake_manifest, contents):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SetupError, match="cannot write the bundle"):
            write_bundle(tmp_path / "b", fake_manifest, contents)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write to")
def test_write_bundle__read_only_place__is_a_setup_error(fake_manifest, contents):
    with pytest.raises(SetupError, match="/proc/"):
        write_bundle(Path("/proc/b"), fake_manifest, contents)


@pytest.mark.parametrize("name", ["../up.so", "a/b", ".hidden", "", "manifest.json", "a b"])
def test_write_bundle__name_that_the_binding_would_refuse__is_our_defect(tmp_path, fake_manifest, contents, name):
    with pytest.raises(ValueError):
        write_bundle(tmp_path / "b", fake_manifest, {**contents, name: b""})
    with pytest.raises(ValueError):
        unlisted = (*fake_manifest.libraries, replace(fake_manifest.libraries[0], file="libmissing.so"))
        write_bundle(tmp_path / "b", replace(fake_manifest, libraries=unlisted), contents)
    assert list(tmp_path.iterdir()) == []


def test_write_bundle__number_that_json_lacks__is_our_defect(tmp_path, fake_manifest, contents):
    unmeasured = Verification("verified", max_px=float("nan"))
    with pytest.raises(ValueError):
        libraries = (replace(fake_manifest.libraries[0], verification=unmeasured),)
        write_bundle(tmp_path / "b", replace(fake_manifest, libraries=libraries), contents)
    assert list(tmp_path.iterdir()) == []


def test_docs__every_key_of_the_manifest__is_specified(fake_manifest):
    specified = set(re.findall(r"`([a-z0-9_]+)`", DOCS.read_text()))
    assert set(asdict(fake_manifest)) <= specified
