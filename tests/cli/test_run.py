"""``tvmpose run`` on a bundle that reports what it was given."""

import argparse
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tvmpose.cli import run as verb
from tvmpose.errors import InputError, SetupError, TvmposeError, VerifyError


def _run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    verb.add(parser.add_subparsers(required=True))
    args = parser.parse_args(["run", *map(str, arguments)])
    return args.run(args)


@pytest.fixture
def picture(tmp_path):
    """48 x 32 pixels, blue 10, green 20, red 30."""
    path = tmp_path / "000000000139.png"
    cv2.imwrite(str(path), np.broadcast_to(np.array([10, 20, 30], np.uint8), (32, 48, 3)))
    return path


def test_run__json_to_stdout__is_coco_and_nothing_else(fake_bundle, picture, capsys):
    assert _run(fake_bundle(), picture, "--box", "8,4,10,20", "--box", "1,2,4,6", "--json", "-") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["image_id"], first["file_name"], first["category_id"]) == (139, "000000000139.png", 1)
    assert (first["bbox"], second["bbox"]) == ([8, 4, 10, 20], [1, 2, 4, 6])
    joints = np.array(first["keypoints"]).reshape(-1, 3)
    np.testing.assert_array_equal(joints[:, :2], [(8, 4), (13, 14), (18, 24)])
    np.testing.assert_allclose(joints[:, 2] * 255, (30, 20, 10), atol=0.01)  # red, green, blue


def test_run__json_file_and_drawing__are_written_and_named_last(fake_bundle, picture, tmp_path, capsys):
    assert _run(fake_bundle(), picture, "--json", tmp_path / "out" / "r.json", "--draw", tmp_path / "o.png") == 0
    assert len(json.loads((tmp_path / "out" / "r.json").read_text())) == 1
    assert cv2.imread(str(tmp_path / "o.png")).shape == (32, 48, 3)
    assert capsys.readouterr().out.splitlines()[-2:] == [str(tmp_path / "out" / "r.json"), str(tmp_path / "o.png")]
    assert not list(tmp_path.rglob("*.tmp"))


def test_run__one_picture__lists_every_joint_and_the_timing(fake_bundle, picture, capsys):
    assert _run(fake_bundle(), picture, "--threads", 2, "--repeat", 3) == 0
    title, _, *joints, timing = capsys.readouterr().out.splitlines()
    assert title == "person 0, score 0.500, box 0.0 0.0 48.0 32.0"
    assert [line.split()[0] for line in joints] == ["left_eye", "right_eye", "nose"]
    assert "median of 3 more" in timing and timing.endswith("2 threads")


def test_run__several_pictures__a_line_a_person_and_a_folder_of_drawings(fake_bundle, picture, tmp_path, capsys):
    other = tmp_path / "other.jpg"
    cv2.imwrite(str(other), np.zeros((20, 20, 3), np.uint8))
    assert _run(fake_bundle(), picture, other, "--draw", tmp_path / "drawn") == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [picture.name, other.name]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [picture.name, other.name]


def test_run__more_boxes_than_the_default_capacity__are_all_used(fake_bundle, picture, capsys):
    assert _run(fake_bundle(), picture, *["--box=1,1,5,5"] * 20, "--json", "-") == 0
    assert len(json.loads(capsys.readouterr().out)) == 20


@pytest.mark.parametrize(
    "box",
    ["1,2,3", "1,2,3,4,5", "a,b,c,d", "", "nan,0,5,5", "0,0,inf,5", "0,0,0,5", "0,0,-1,5", "500,0,5,5", "0,0,1e99,5"],
)
def test_run__box_that_cannot_be__is_an_input_error(fake_bundle, picture, box):
    with pytest.raises(InputError) as caught:
        _run(fake_bundle(), picture, f"--box={box}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(50), None])
def test_run__picture_that_cannot_be_decoded__is_one_line_that_names_it(fake_bundle, tmp_path, content, capfd):
    path = tmp_path / "broken.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.jpg"):
        _run(fake_bundle(), path, "--json", tmp_path / "r.json")
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "r.json").exists()


def test_run__exif_orientation__coordinates_are_of_the_upright_picture(fake_bundle, tmp_path, capsys):
    _, jpeg = cv2.imencode(".jpg", np.zeros((32, 48, 3), np.uint8))
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)  # Orientation = 6
    segment = b"Exif\0\0" + tiff
    data = jpeg.tobytes()
    path = tmp_path / "phone.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:])
    _run(fake_bundle(), path, "--json", "-")
    assert json.loads(capsys.readouterr().out)[0]["bbox"] == [0, 0, 32, 48]


def _tampered(bundle):
    (bundle / "libfake.so").write_bytes(b"not the one")
    return bundle


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda fake, tmp: tmp / "nowhere", InputError, "not a bundle"),
        (lambda fake, tmp: tmp, InputError, "not a bundle"),
        (lambda fake, tmp: _tampered(fake()), VerifyError, "libfake.so"),
        (lambda fake, tmp: fake("FAKE_NEEDS=1"), SetupError, "avx9000"),
        (lambda fake, tmp: fake("FAKE_ABI=7"), InputError, "ABI 7"),
        (lambda fake, tmp: fake("FAKE_NO_CARD", card=None, keypoints=None), InputError, "model card"),
    ],
)
def test_run__bundle_that_cannot_run__has_its_kind_of_error(fake_bundle, picture, tmp_path, make, kind, says):
    with pytest.raises(TvmposeError) as caught:
        _run(make(fake_bundle, tmp_path), picture)
    assert type(caught.value) is kind
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["--draw", "overlay.xyz"], InputError),
        (["--draw", "overlay"], InputError),
        (["--draw", "SAME"], InputError),
        (["--draw", "/proc/overlay.png"], SetupError),
        (["--json", "/proc/r.json"], SetupError),
        (["--json", "000000000139.png/r.json"], SetupError),
        (["--json", "."], SetupError),
        (["--threads", "-1"], InputError),
        (["--threads", "99999999999"], InputError),
        (["--repeat", "-1"], InputError),
    ],
)
def test_run__option_that_cannot_be__is_one_line(fake_bundle, picture, tmp_path, monkeypatch, options, kind):
    monkeypatch.chdir(tmp_path)
    before = picture.read_bytes()
    with pytest.raises(kind) as caught:
        _run(fake_bundle(), picture, *(picture if option == "SAME" else option for option in options))
    assert "\n" not in str(caught.value)
    assert picture.read_bytes() == before


def test_run__opencv_is_missing__names_the_extra(fake_bundle, picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SetupError, match=r"tvmpose\[images\]"):
        _run(fake_bundle(), picture)


def test_add__help__needs_neither_numpy_nor_opencv():
    program = (
        "import argparse, sys\nfrom tvmpose.cli import run\nrun.add(argparse.ArgumentParser().add_subparsers())\n"
        "sys.exit(bool({'numpy', 'cv2', 'ctypes'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
