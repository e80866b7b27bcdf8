"""Bundles of two kinds: fake_bundle.c behind a real manifest, and real ones, compiled once a session."""

import fcntl
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import Tiny, write_tiny
from tvmpose.cards import Card
from tvmpose.codegen.bundle import (
    SAMPLE,
    Keypoints,
    Library,
    Manifest,
    Memory,
    Model,
    Verification,
    keypoint_sample,
    write_bundle,
)
from tvmpose.compile import Report, compile_model, resolve
from tvmpose.devices.virtual import VirtualBoard, virtual_board
from tvmpose.errors import SetupError
from tvmpose.modelspec import TensorSpec
from tvmpose.targets import load_target

TESTS = Path(__file__).parent
CSRC = TESTS.parent / "tvmpose" / "runtime" / "csrc"

FakeLibrary = Callable[..., Path]
FakeBundle = Callable[..., Path]

# Photos of data/coco/val2017 in which every model's source is sure of nearly all joints.
CLEAR_PHOTOS = ("000000000785.jpg", "000000005529.jpg", "000000013201.jpg")


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> FakeLibrary:
    """Builds fake_bundle.c with the given macros, once for each set of them."""
    built: dict[Sequence[str], Path] = {}

    def build(*macros: str) -> Path:
        if macros not in built:
            library = tmp_path_factory.mktemp("fake") / "libfake.so"
            command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", f"-I{CSRC}"]
            source = TESTS / "runtime" / "c" / "fake_bundle.c"
            subprocess.run([*command, *(f"-D{macro}" for macro in macros), source, "-o", library, "-lm"], check=True)
            built[macros] = library
        return built[macros]

    return build


@pytest.fixture(scope="session")
def fake_manifest() -> Manifest:
    """What a compiler would say about fake_bundle.c."""
    spec = TensorSpec("x", (2, 3), "float32")
    return Manifest(
        name="fake",
        symbol="fake",
        tvmpose_version="0.0.0",
        libraries=(
            Library(
                "libfake.so",
                "host",
                "x86_64-linux-gnu",
                "x86-64-v3",
                ("avx2", "fma"),
                Memory(arena_bytes=4096, weight_bytes=1024, workspace_bytes=0),
                Verification("not verified"),
            ),
        ),
        model=Model("fake.onnx", "0" * 64, "onnx", (spec, TensorSpec("q", (2, 3), "int8")), (spec,)),
        card="fake",
        keypoints=Keypoints(("left_eye", "right_eye", "nose"), ((0, 2), (1, 2))),
        tools={"cc": "13"},
    )


@pytest.fixture
def fake_bundle(tmp_path: Path, fake_library: FakeLibrary, fake_manifest: Manifest) -> FakeBundle:
    """Writes a bundle: ``fake_bundle("MACRO=1", ..., name="folder", **changes_of_the_manifest)``.

    library: in place of what is built.
    """

    def write(*macros: str, name: str = "bundle", library: bytes | None = None, **changes: object) -> Path:
        image = np.zeros((20, 30, 3), np.uint8)
        sample = keypoint_sample(image, (2, 4, 10, 8), np.array([(2, 4, 0), (7, 8, 0), (np.nan, np.nan, 0)]))
        folder = tmp_path / name
        manifest = replace(fake_manifest, **changes)
        contents = {entry.file: library or fake_library(*macros) for entry in manifest.libraries}
        write_bundle(folder, manifest, {**contents, SAMPLE: sample})
        return folder

    return write


@pytest.fixture(scope="session")
def data() -> Path:
    """The test data."""
    if "TVMPOSE_DATA" not in os.environ:
        pytest.skip("TVMPOSE_DATA is not set")
    return Path(os.environ["TVMPOSE_DATA"])


@pytest.fixture(scope="session")
def photos(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clear photos."""
    folder = tmp_path_factory.mktemp("photos")
    for name in CLEAR_PHOTOS:
        shutil.copy(data / "coco" / "val2017" / name, folder)
    return folder


@dataclass(frozen=True)
class Compiled:
    """A real bundle with what it was made of."""

    bundle: Path
    build: Path  # NAME.c, kernels.o, weights.o, libNAME.a
    card: Card | None
    report: Report

    @property
    def name(self) -> str:
        return self.report.manifest.name

    @property
    def library(self) -> Path:
        return self.bundle / f"lib{self.name}.so"


Compile = Callable[..., Compiled]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, the same in all of its processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def once(folder: Path, make: Callable[[Path], Compiled]) -> Compiled:
    """What ``make(folder)`` returns, in whichever process comes first."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "made.pickle"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.write_bytes(pickle.dumps(make(folder)))
    return pickle.loads(made.read_bytes())


@pytest.fixture(scope="session")
def compiled(data: Path, photos: Path, shared: Path) -> Compile:
    """``compiled(file of data/models or card name, card=None, ...)`` as resolve takes them, verified, once each."""

    def compile_once(
        model: str,
        card: str | None = None,
        target: str = "host",
        guard_bytes: int = 0,
        outputs: str | None = None,
        keypoints: str | None = None,
    ) -> Compiled:
        file = data / "models" / model

        def make(folder: Path) -> Compiled:
            options = resolve(
                str(file) if file.is_file() else model,
                card=card,
                target=load_target(target),
                output=folder / "bundle",
                samples=photos,
                dump=folder,
                guard_bytes=guard_bytes,
                static=True,
                outputs=outputs,
                keypoints=keypoints,
            )
            return Compiled(folder / "bundle", folder / "build", options.card, compile_model(options))

        asked = (model, card, target, guard_bytes, outputs, keypoints)
        return once(shared / "compiled" / re.sub(r"\W+", "-", "-".join(map(str, asked))), make)

    return compile_once


@pytest.fixture(scope="session")
def virtual() -> Callable[[str], VirtualBoard]:
    """``virtual(name of a target)``: its virtual board, brought up where it is not yet: for slow tests only."""

    def bring_up(name: str) -> VirtualBoard:
        try:
            return virtual_board(name)
        except SetupError as error:
            pytest.skip(str(error))

    return bring_up


@pytest.fixture(scope="session")
def blazepose_lite(compiled: Compile) -> Compiled:
    return compiled("pose_landmark_lite.tflite", "blazepose-lite")


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return write_tiny(tmp_path / "tiny")
