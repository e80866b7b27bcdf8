"""Bundles without a compiler: tests/runtime/c/fake_bundle.c behind a real manifest."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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
from tvmpose.modelspec import TensorSpec

TESTS = Path(__file__).parent
CSRC = TESTS.parent / "tvmpose" / "runtime" / "csrc"

FakeLibrary = Callable[..., Path]
FakeBundle = Callable[..., Path]


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


@pytest.fixture
def fake_manifest() -> Manifest:
    """What a compiler would say about fake_bundle.c."""
    spec = TensorSpec("x", (2, 3), "float32")
    return Manifest(
        name="fake",
        symbol="fake",
        tvmpose_version="0.0.0",
        libraries=(Library("libfake.so", "host", "x86_64-linux-gnu", "x86-64-v3", ("avx2", "fma")),),
        model=Model("fake.onnx", "0" * 64, "onnx", (spec, TensorSpec("q", (2, 3), "int8")), (spec,)),
        card="fake",
        keypoints=Keypoints(("left_eye", "right_eye", "nose"), ((0, 2), (1, 2))),
        memory=Memory(arena_bytes=4096, weight_bytes=1024, workspace_bytes=0),
        tools={"cc": "13"},
        verification=Verification("not verified"),
    )


@pytest.fixture
def fake_bundle(tmp_path: Path, fake_library: FakeLibrary, fake_manifest: Manifest) -> FakeBundle:
    """Writes a bundle: ``fake_bundle("MACRO=1", ..., name="folder", **changes_of_the_manifest)``."""

    def write(*macros: str, name: str = "bundle", **changes: object) -> Path:
        image = np.zeros((20, 30, 3), np.uint8)
        sample = keypoint_sample(image, (2, 4, 10, 8), np.array([(2, 4, 0), (7, 8, 0), (np.nan, np.nan, 0)]))
        folder = tmp_path / name
        contents = {"libfake.so": fake_library(*macros), SAMPLE: sample}
        write_bundle(folder, replace(fake_manifest, **changes), contents)
        return folder

    return write
