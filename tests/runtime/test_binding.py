"""The Python binding against a C library that reports what it was given."""

import ast
import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tvmpose import errors
from tvmpose.codegen.bundle import Keypoints, keypoint_sample, manifest_json, tensor_sample, write_bundle
from tvmpose.runtime import BundleError, MachineError, PoseError, TamperedError, UsageError, load
from tvmpose.runtime import pose as binding

CSRC = Path(binding.__file__).parent / "csrc"
STRUCTS = {
    "tvmpose_image": binding._Image,
    "tvmpose_box": binding._Box,
    "tvmpose_person": binding._Person,
    "tvmpose_result": binding._Result,
    "tvmpose_tensor_info": binding._TensorInfo,
    "tvmpose_info": binding._Info,
    "tvmpose_options": binding._Options,
    "tvmpose_api": binding._Api,
}


@pytest.fixture
def pose(fake_bundle):
    with load(fake_bundle()) as opened:
        yield opened


def test_structs__every_field__lies_where_the_c_compiler_puts_it(tmp_path):
    lines = []
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        for field, *_ in struct._fields_:
            lines.append(f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
    source = tmp_path / "layout.c"
    source.write_text('#include <stdio.h>\n#include "tvmpose.h"\nint main(void) {' + "\n".join(lines) + "}\n")
    subprocess.run(["cc", f"-I{CSRC}", source, "-o", tmp_path / "layout"], check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    layout = dict(line.split() for line in printed.splitlines())
    for name, struct in STRUCTS.items():
        assert ctypes.sizeof(struct) == int(layout[name]), name
        for field, *_ in struct._fields_:
            assert getattr(struct, field).offset == int(layout[f"{name}.{field}"]), f"{name}.{field}"


def test_header__enums_and_abi__are_the_binding_s():
    header = (CSRC / "tvmpose.h").read_text()
    assert f"#define TVMPOSE_ABI {binding.ABI} " in header
    for name, (value, _) in binding._FORMATS.items():
        assert f"TVMPOSE_{name.upper()} = {value}" in header
    statuses = [
        line for line in header.split("typedef enum tvmpose_status {")[1].split("}")[0].split(",") if "=" in line
    ]
    assert sorted(binding._ERRORS) == list(range(1, len(statuses)))


def test_pose__info__is_what_library_and_manifest_say(pose):
    assert pose.keypoint_names == ("left_eye", "right_eye", "nose")
    assert pose.skeleton == ((0, 2), (1, 2))
    assert pose.info.input_size == (192, 256)
    assert [(spec.name, spec.shape, spec.dtype) for spec in pose.info.inputs] == [
        ("x", (2, 3), np.float32),
        ("q", (2, 3), np.int8),
    ]


@pytest.mark.parametrize("format", ["rgb", "bgr", "rgba", "bgra"])
def test_call__packed_formats__red_green_blue_arrive_in_order(pose, format):
    colour = {"r": 10, "g": 20, "b": 30, "a": 40}
    frame = np.broadcast_to(np.array([colour[c] for c in format], np.uint8), (16, 24, len(format))).copy()
    (person,) = pose(frame, format=format)
    np.testing.assert_allclose(person.keypoints[:, 2] * 255, (10, 20, 30), atol=1e-4)
    assert person.box == (0, 0, 24, 16)


def test_call__no_format_given__is_bgr(pose):
    (person,) = pose(np.broadcast_to(np.array([30, 20, 10], np.uint8), (4, 4, 3)))
    np.testing.assert_allclose(person.keypoints[:, 2] * 255, (10, 20, 30), atol=1e-4)


def test_call__nv12__height_is_two_thirds_of_the_rows(pose):
    frame = np.full((24, 32), 50, np.uint8)
    frame[16:, 0::2], frame[16:, 1::2] = 60, 70
    (person,) = pose(frame, format="nv12")
    assert person.box == (0, 0, 32, 16)
    np.testing.assert_allclose(person.keypoints[:, 2] * 255, (50, 60, 70), atol=1e-4)


def _views():
    """Ways in which a frame can lie in memory."""
    return st.sampled_from(
        [
            lambda a: a,
            lambda a: a[3:, 5:],
            lambda a: a[:-2, :-3],
            lambda a: a[::-1],
            lambda a: a[:, ::-1],
            lambda a: a[::2],
            lambda a: a[:, ::2],
            lambda a: a[..., ::-1],
            lambda a: a[:1],
            lambda a: a[:, :1],
            lambda a: a.transpose(1, 0, 2),
            lambda a: np.asfortranarray(a),
            lambda a: np.broadcast_to(a[:1], a.shape),
        ]
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=_views(), second=_views(), seed=st.integers(0, 2**32 - 1))
def test_call__any_memory_layout__sees_the_pixel_that_numpy_sees(pose, first, second, seed):
    frame = second(first(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)))
    assume(frame.size)
    height, width = frame.shape[:2]
    (person,) = pose(frame, format="rgb")
    np.testing.assert_allclose(person.keypoints[:, 2] * 255, frame[min(height // 2, height - 1), width // 2], atol=1e-4)


def test_call__cropped_frame__is_not_copied():
    crop = np.zeros((40, 60, 3), np.uint8)[5:20, 7:30]
    assert binding._rows(crop) is crop


def test_call__boxes__one_person_each_in_order(pose):
    boxes = [(1, 2, 10, 8), (3, 4, 6, 6)]
    people = pose(np.zeros((20, 20, 3), np.uint8), boxes)
    assert [person.box for person in people] == boxes
    np.testing.assert_array_equal(people[0].keypoints[:, :2], [(1, 2), (6, 6), (11, 10)])


def test_call__angles__turn_each_box_clockwise(pose):
    boxes = [(1, 2, 10, 8), (4, 4, 6, 6)]
    upright, turned = pose(np.zeros((20, 20, 3), np.uint8), boxes, angles=[0, np.pi / 2])
    np.testing.assert_allclose(upright.keypoints[:, :2], [(1, 2), (6, 6), (11, 10)])
    np.testing.assert_allclose(turned.keypoints[:, :2], [(10, 4), (7, 7), (4, 10)], atol=1e-5)  # top left to top right
    assert turned.box == (4, 4, 6, 6)


@pytest.mark.parametrize("angles", [[1], [1, 2, 3], [[1], [2]], ["a", "b"], 1.0])
def test_call__angles_that_are_not_one_a_box__is_a_usage_error(pose, angles):
    with pytest.raises(UsageError, match="angles"):
        pose(np.zeros((20, 20, 3), np.uint8), [(1, 2, 10, 8), (4, 4, 6, 6)], angles=angles)
    with pytest.raises(UsageError, match="no boxes"):
        pose(np.zeros((20, 20, 3), np.uint8), angles=[1])


def test_call__no_boxes_but_an_empty_list__finds_nobody(pose):
    assert pose(np.zeros((20, 20, 3), np.uint8), []) == []
    assert pose(np.zeros((20, 20, 3), np.uint8), np.empty((0, 4))) == []


def test_call__results__outlive_the_next_frame_and_the_handle(pose):
    frame = np.zeros((20, 20, 3), np.uint8)
    (person,) = pose(frame, [(0, 0, 4, 4)])
    kept = person.keypoints.copy()
    pose(frame, [(8, 8, 8, 8)])
    pose.close()
    np.testing.assert_array_equal(person.keypoints, kept)
    assert person.keypoints.flags.writeable and person.keypoints.dtype == np.float32


@pytest.mark.parametrize(
    ("frame", "format", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), "bgr", "float32"),
        ([[1]], "bgr", "list"),
        (np.zeros((4, 4, 4), np.uint8), "bgr", "(H, W, 3)"),
        (np.zeros((4, 4, 3), np.uint8), "rgba", "(H, W, 4)"),
        (np.zeros((4, 4), np.uint8), "bgr", "(4, 4)"),
        (np.zeros((4, 4), np.uint8), "nv12", "even"),
        (np.zeros((6, 3), np.uint8), "nv12", "even"),
        (np.zeros((4, 4, 3), np.uint8), "nv12", "(H * 3 / 2, W)"),
        (np.zeros((4, 4, 3), np.uint8), "yuyv", "yuyv"),
        (np.zeros((0, 4, 3), np.uint8), "bgr", "4 x 0"),
        (np.zeros((1, 40000, 3), np.uint8), "bgr", "40000"),
    ],
)
def test_call__impossible_frame__says_what_is_wrong(pose, frame, format, says):
    with pytest.raises(UsageError) as caught:
        pose(frame, format=format)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "boxes",
    [
        [(0, 0, float("nan"), 1)],
        [(0, 0, float("inf"), 1)],
        [(0, 0, 1e300, 1)],
        [(0, 0, 0, 1)],
        [(50, 0, 5, 5)],
        (0, 0, 5, 5),
        [(0, 0, 5)],
        [(0, 0, 5), (1, 2, 3, 4)],
        "people",
        [(1, 1, 2, 2)] * 17,
    ],
)
def test_call__impossible_boxes__is_a_usage_error(pose, boxes):
    with pytest.raises(UsageError):
        pose(np.zeros((20, 20, 3), np.uint8), boxes)


def test_run_tensors__by_name_or_in_order__same_answer(pose):
    x, q = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[1, 2, 3], [4, 5, 6]], np.int8)
    for inputs in ({"q": q, "x": x}, [x, q], [np.asfortranarray(x), q]):
        (twice,) = pose.run_tensors(inputs)
        np.testing.assert_array_equal(twice, 2 * x + q)


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [np.zeros((2, 3), np.float32)],
        [np.zeros((2, 3), np.float64), np.zeros((2, 3), np.int8)],
        [np.zeros((3, 2), np.float32), np.zeros((2, 3), np.int8)],
        {"x": np.zeros((2, 3), np.float32), "y": np.zeros((2, 3), np.int8)},
    ],
)
def test_run_tensors__what_does_not_fit__is_refused(pose, inputs):
    with pytest.raises(UsageError):
        pose.run_tensors(inputs)


def test_threads__set_and_read__and_nonsense_refused(pose, fake_bundle):
    pose.threads = 3
    assert pose.threads == 3
    for count in (-1, 2**32 + 1, 1.5):
        with pytest.raises(UsageError):
            pose.threads = count
    with pytest.raises(UsageError):
        load(fake_bundle(name="other"), threads=-1)


def test_call__many_python_threads__take_turns(pose):
    frame, wrong = np.zeros((64, 64, 3), np.uint8), []

    def work(offset: int) -> None:
        for _ in range(200):
            (person,) = pose(frame, [(offset, offset, 8, 8)])
            if person.keypoints[0, 0] != offset:
                wrong.append(offset)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_close__twice__is_allowed_and_calls_afterwards_are_refused(pose):
    pose.reset()
    pose.close()
    pose.close()
    with pytest.raises(UsageError, match="closed"):
        pose(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_call__after_a_fork__is_refused_in_the_child(fake_bundle):
    program = (
        "import os, sys, numpy as np; from tvmpose.runtime import load, UsageError\n"
        "pose = load(sys.argv[1]); child = os.fork()\n"
        "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "try: pose(np.zeros((4, 4, 3), np.uint8))\n"
        "except UsageError as error: sys.exit(0 if 'fork' in str(error) else 1)\n"
        "sys.exit(2)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, fake_bundle()]).returncode == 0


def test_load__every_listed_file__is_hashed_before_anything_is_opened(fake_bundle, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: pytest.fail("opened an unverified library"))
    bundle = fake_bundle()
    for name in json.loads((bundle / "manifest.json").read_text())["files"]:
        whole = (bundle / name).read_bytes()
        for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
            (bundle / name).write_bytes(damaged)
            with pytest.raises(TamperedError, match=name) as caught:
                load(bundle)
            assert caught.value.exit_code == 5
        (bundle / name).unlink()
        with pytest.raises(TamperedError, match="not there"):
            load(bundle)
        (bundle / name).write_bytes(whole)


def _change(bundle: Path, **changes: object) -> None:
    table = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(table | changes))


LIBC = {"file": "libc.so.6", "target": "x", "triple": "x", "cpu_features": [], "verification": {"status": "none"}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format_version": 1}, "format_version is 1"),
        ({"format_version": True}, "format_version"),
        ({"symbol": "a b"}, "symbol"),
        ({"symbol": "other"}, "other_tvmpose"),
        ({"libraries": []}, "libraries"),
        ({"libraries": [LIBC]}, "libc.so.6"),
        ({"files": {"../up": {"sha256": "", "bytes": 1}}}, "../up"),
        ({"files": {"/etc/passwd": {"sha256": "", "bytes": 1}}}, "/etc/passwd"),
        ({"keypoints": {"names": ["a"], "edges": [[0, 1]]}}, "edges"),
        ({"keypoints": {"names": ["a"], "edges": []}}, "keypoints"),
        ({"keypoints": None}, "keypoints"),
    ],
)
def test_load__manifest_that_cannot_be__names_the_key(fake_bundle, changes, says):
    bundle = fake_bundle()
    _change(bundle, **changes)
    with pytest.raises(BundleError) as caught:
        load(bundle)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_load__unknown_keys_and_files__are_left_alone(fake_bundle):
    bundle = fake_bundle()
    _change(bundle, from_the_future={"a": 1})
    (bundle / "notes.txt").write_text("mine")
    load(bundle).close()


def test_load__no_bundle__says_so(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BundleError, match="not a bundle"):
            load(path)
    (tmp_path / "manifest.json").write_bytes(b"[" * 100_000)
    with pytest.raises(BundleError, match="not valid JSON"):
        load(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(BundleError, match="larger than"):
        load(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    (),
    ("check",),
    ("files",),
    ("files", "pose.py"),
    ("libraries",),
    ("libraries", 0),
    ("libraries", 0, "verification"),
    ("libraries", 0, "cpu_features"),
    ("keypoints",),
    ("keypoints", "edges"),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), data=st.data())
def test_read_manifest__any_value_anywhere__is_read_or_refused_in_one_line(tmp_path, fake_manifest, path, data):
    table = json.loads(manifest_json(fake_manifest))
    table["files"] = {name: {"sha256": "", "bytes": 0} for name in ("libfake.so", "pose.py")}
    place = table
    for step in path:
        place = place[step]
    key = data.draw(st.sampled_from(range(len(place)) if isinstance(place, list) else sorted(place)))
    place[key] = data.draw(JSON)
    (tmp_path / "manifest.json").write_text(json.dumps(table))
    try:
        binding.read_manifest(tmp_path)
    except BundleError as error:
        assert "\n" not in str(error)


def test_load__library_of_another_abi__is_refused(fake_bundle):
    with pytest.raises(BundleError, match="has ABI 2"):
        load(fake_bundle("FAKE_ABI=2"))


def test_load__cpu_that_lacks_a_feature__names_it(fake_bundle):
    with pytest.raises(MachineError, match="avx9000") as caught:
        load(fake_bundle("FAKE_NEEDS=1"))
    assert caught.value.exit_code == 6


def test_load__library_of_another_architecture__is_a_machine_error(fake_bundle):
    bundle = fake_bundle()
    content = bytearray((bundle / "libfake.so").read_bytes())
    content[18:20] = (0x2A).to_bytes(2, "little")  # e_machine: SuperH, which no one has
    _replace_file(bundle, "libfake.so", bytes(content))
    with pytest.raises(
        MachineError, match=r"x86_64-linux-gnu needs avx2, fma: .* is for machine 42, this is"
    ) as caught:
        load(bundle)
    assert "\n" not in str(caught.value) and "--target" in str(caught.value)


def test_load__several_levels__takes_the_first_that_runs(fake_bundle, fake_library, fake_manifest, tmp_path):
    (basic,) = fake_manifest.libraries
    levels = (replace(basic, file="libfake_v9.so", cpu="x86-64-v9"), basic)
    contents = {"libfake_v9.so": fake_library("FAKE_NEEDS=1"), "libfake.so": fake_library()}
    write_bundle(tmp_path / "levels", replace(fake_manifest, libraries=levels), contents)
    load(tmp_path / "levels").close()


def test_call__compiled_without_a_card__points_to_run_tensors(fake_bundle):
    with load(fake_bundle("FAKE_NO_CARD", card=None, keypoints=None)) as pose:
        assert pose.keypoint_names == ()
        with pytest.raises(UsageError, match="run_tensors"):
            pose(np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def tiny(tmp_path, fake_manifest):
    """The runtime itself, with its thread pool, around a network that finds the brightest red, green and blue."""
    library = tmp_path / "libtiny.so"
    source = Path(__file__).parent / "c" / "tiny_model.c"
    flags = ["-std=gnu11", "-O1", "-fPIC", "-shared", "-pthread", f"-I{CSRC}"]
    subprocess.run(["cc", *flags, source, "-o", library, "-lm"], check=True)
    libraries = (replace(fake_manifest.libraries[0], file=library.name),)
    keypoints = Keypoints(("red", "green", "blue"), ((0, 1),))
    manifest = replace(fake_manifest, symbol="tiny", libraries=libraries, keypoints=keypoints)
    write_bundle(tmp_path / "tiny", manifest, {library.name: library})
    return tmp_path / "tiny"


@pytest.mark.parametrize("format", ["rgb", "bgr", "rgba", "bgra"])
def test_runtime__brightest_pixels__come_back_where_they_were_put(tiny, format):
    spots = {"r": (2, 1), "g": (5, 4), "b": (7, 0)}
    frame = np.zeros((6, 8, len(format)), np.uint8)
    for channel, (x, y) in spots.items():
        frame[y, x, format.index(channel)] = 200
    with load(tiny, threads=2) as pose:
        (person,) = pose(frame, format=format)
        np.testing.assert_allclose(person.keypoints[:, :2], list(spots.values()), atol=1e-4)
        (mirrored,) = pose(frame[:, ::-1], format=format)
        np.testing.assert_allclose(mirrored.keypoints[:, 0], [7 - x for x, _ in spots.values()], atol=1e-4)


def test_runtime__frames_since_reset__are_counted_anew(tiny):
    with load(tiny, threads=2) as pose:
        zeros = [np.zeros(spec.shape, spec.dtype) for spec in pose.info.inputs]
        assert [pose.run_tensors(zeros)[1].item() for _ in range(3)] == [1, 2, 3]
        pose.reset()
        assert pose.run_tensors(zeros)[1].item() == 1


def test_runtime__several_handles_dropped_without_close__end_quietly(tiny):
    program = (
        "import sys, numpy as np; from tvmpose.runtime import load\n"
        "poses = [load(sys.argv[1], threads=2) for _ in range(4)]\n"
        "del poses[:2]; print(len([p(np.zeros((6, 8, 3), np.uint8)) for p in poses]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tiny], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def _replace_file(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    _change(bundle, files=files | {name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}})


def _pose_py(bundle: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The bundle's own copy, from elsewhere, with tvmpose out of reach."""
    command = [sys.executable, "-I", bundle / "pose.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/")


def test_pose_py__check_of_a_copied_folder__says_ok(fake_bundle, tmp_path):
    shutil.copytree(fake_bundle(), tmp_path / "copied")
    done = _pose_py(tmp_path / "copied", "--check")
    assert (done.returncode, done.stdout) == (
        0,
        "ok: 2 keypoints within 0.0000 px of the expected ones, 0.1 px allowed\n",
    )
    assert "left_eye" in _pose_py(tmp_path / "copied", "--info").stdout


@pytest.mark.parametrize("expected", [(7, 8.2, 0), (np.nan, np.nan, 0)])
def test_pose_py__check_that_differs_or_compares_nothing__fails(fake_bundle, expected):
    bundle = fake_bundle()
    keypoints = np.array([(np.nan, np.nan, 0), expected, (np.nan, np.nan, 0)])
    _replace_file(bundle, "sample.npz", keypoint_sample(np.zeros((20, 30, 3), np.uint8), (2, 4, 10, 8), keypoints))
    done = _pose_py(bundle, "--check")
    assert done.returncode in (3, 5) and done.stderr.startswith("FAILED: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("wrong", [0, 1])
def test_pose_py__check_without_a_card__compares_tensors(fake_bundle, wrong):
    bundle = fake_bundle("FAKE_NO_CARD", card=None, keypoints=None)
    x, q = np.ones((2, 3), np.float32), np.ones((2, 3), np.int8)
    _replace_file(bundle, "sample.npz", tensor_sample([x, q], [3 * x + wrong]))
    assert _pose_py(bundle, "--check").returncode == (5 if wrong else 0)


def test_errors__every_kind__has_an_exit_code_of_the_command_line():
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    for kind in (PoseError, UsageError, BundleError, TamperedError, MachineError):
        assert kind.exit_code in codes


def test_import__tvmpose_runtime__pulls_in_nothing_but_numpy_and_the_standard_library():
    program = (
        "import sys, tvmpose.runtime\n"
        "roots = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(root for root in roots if not root.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert set(ast.literal_eval(done.stdout)) <= {"numpy", "tvmpose", "sitecustomize", "usercustomize"}
