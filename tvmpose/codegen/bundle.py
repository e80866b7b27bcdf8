"""Writes a bundle: the folder that goes onto a device. docs/bundle.md specifies it.

The reader is tvmpose/runtime/pose.py, which travels inside every bundle and so cannot share these classes; a test
takes one manifest through both.
"""

import hashlib
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib.resources import files as package_files
from pathlib import Path
from typing import Literal

import numpy as np

from tvmpose.errors import InputError, SetupError
from tvmpose.modelspec import TensorSpec
from tvmpose.quantize.request import Quantized

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
SAMPLE = "sample.npz"
RUNTIME_FILES = ("pose.py", "smooth.py", "csrc/tvmpose.h", "csrc/tvmpose_smooth.h")  # that every bundle carries

Status = Literal["verified", "emulated", "host-equivalent only", "not verified"]
"""What the gate ran: the very library, here; that on an emulated CPU; the network compiled for the host; nothing."""

Content = bytes | Path
"""A file's bytes, or where to copy them from."""


@dataclass(frozen=True)
class Model:
    """The source that was compiled."""

    source_file: str
    source_sha256: str
    format: str  # "tflite", "onnx" or "torch"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Keypoints:
    """Joint names in the order of the output, and the skeleton's limbs as pairs of indices into them."""

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Memory:
    """What an open handle needs: the arena and a workspace for each thread; the weights are mapped from the file."""

    arena_bytes: int
    weight_bytes: int
    workspace_bytes: int


@dataclass(frozen=True)
class Step:
    """One kernel call of the network: what it has to do, so that a profile can tell how close it comes to a limit."""

    name: str
    multiply_adds: int  # as compiled, with the channels that fill up a vector
    bytes: int  # of all arguments, each counted once


@dataclass(frozen=True)
class Check:
    """How far ``pose.py --check`` may be off: pixels of the sample image; without a card a share of each maximum."""

    tolerance_px: float = 0.1
    tolerance_relative: float = 1e-3


@dataclass(frozen=True)
class Verification:
    """What the gate found when it compared the library with the source model; None: not measured."""

    status: Status
    judge: str | None = None  # name and version of the source runtime
    samples: int | None = None
    joints: int | None = None
    median_px: float | None = None  # in input scale, as are all of these
    p95_px: float | None = None
    max_px: float | None = None
    tensors_max_relative: float | None = None
    tensors_max_steps: float | None = None  # of a quantized model, as is the next
    tensors_within_step: float | None = None
    similarity: float | None = None  # object keypoint similarity (OKS)


@dataclass(frozen=True)
class Library:
    """One shared library. A bundle lists the most demanding one first: a loader takes the first that the CPU runs."""

    file: str
    target: str  # the name of the target description it was compiled for, NAME:LEVEL where that has levels
    triple: str
    cpu: str
    cpu_features: tuple[str, ...]  # LLVM's names of those its kernels need
    memory: Memory
    verification: Verification
    steps: tuple[Step, ...] = ()  # between warp and decode, in order


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """manifest.json. write_bundle fills in ``created``, ``files`` and ``format_version``."""

    name: str
    symbol: str  # the libraries export SYMBOL_tvmpose
    tvmpose_version: str
    libraries: tuple[Library, ...]
    model: Model
    card: str | None
    keypoints: Keypoints | None
    tools: Mapping[str, str]  # what built it: name and version
    rounding: str | None = None  # of a quantized model: a Rounding's name
    precision: str = "source"  # as the model has it; else what we made of it: int8, or float16 or bfloat16 weights
    quantized: Quantized | None = None  # by us, from a float model
    finds_people: bool = False  # the network itself does, in the whole picture; else it is told where they are
    flip_test: bool = False  # the mean with the mirror image, see flip_test.py
    check: Check = Check()
    created: str = ""  # UTC, ISO 8601
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def verification(self) -> Verification:
        """Of the most demanding library, as are the steps."""
        return self.libraries[0].verification

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.libraries[0].steps


def keypoint_sample(image: np.ndarray, box: tuple[float, float, float, float] | None, keypoints: np.ndarray) -> bytes:
    """sample.npz for a bundle with a card: uint8 RGB (H, W, 3), x y width height, and the expected float32 (K, 3), or
    (P, K, 3) of a network that finds people itself.

    Without a box the whole image is looked at. A joint whose x is NaN is not compared: for those that the source model
    itself is unsure of.
    """
    arrays = {"image": image, "keypoints": keypoints.astype(np.float32)}
    return _npz(arrays if box is None else arrays | {"box": np.array(box, np.float32)})


def tensor_sample(inputs: list[np.ndarray], outputs: list[np.ndarray]) -> bytes:
    """sample.npz for a bundle without a card: the network's inputs and expected outputs, in order."""
    arrays = {f"input_{i}": array for i, array in enumerate(inputs)}
    return _npz(arrays | {f"output_{i}": array for i, array in enumerate(outputs)})


def write_bundle(destination: Path, manifest: Manifest, contents: Mapping[str, Content]) -> Manifest:
    """Writes the bundle folder ``destination`` all at once, replacing the bundle that may be there.

    ``contents`` are the libraries and the sample by file name; the rest is added here: RUNTIME_FILES,
    manifest.json, and for C, where there are several libraries, what chooses among them.
    Returns the manifest as written. With SOURCE_DATE_EPOCH set, the same input gives the same bytes. Raises InputError
    where ``destination`` holds anything but a bundle, SetupError where it cannot be written; nothing is left then.
    """
    destination = destination.resolve()
    contents = {**contents, **{Path(name).name: _packaged(name) for name in RUNTIME_FILES}}
    if len(manifest.libraries) > 1:
        contents["tvmpose_load.h"] = _packaged("csrc/tvmpose_load.h")
        contents[f"{manifest.symbol}_libraries.h"] = _libraries_header(manifest).encode()
    _check_names(manifest, contents)
    refuse_other_files(destination)
    with _disk_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_sibling(destination) as folder:
            entries = {name: _write(folder / name, content) for name, content in sorted(contents.items())}
            manifest = replace(manifest, created=_now(), files=entries)
            _write(folder / MANIFEST, manifest_json(manifest).encode())
            _sync(folder)
            _swap(folder, destination)
    return manifest


def refuse_other_files(destination: Path) -> None:
    """Raises InputError if replacing ``destination`` by a bundle would lose something that is not an old bundle's.

    Worth calling before a long compilation too.
    """
    with _disk_errors(destination):
        existing = next(folder for folder in (destination, *destination.parents) if folder.exists())
        if existing.is_dir() and not os.access(existing, os.W_OK):  # false on a read-only file system for root too
            raise SetupError(f"cannot write the bundle {destination}: {existing}: Read-only or not permitted")
        if not destination.exists():
            return
        if not destination.is_dir():
            raise InputError(f"{destination} is a file; give the bundle another name with -o")
        foreign = sorted({path.name for path in destination.iterdir()} - _old_files(destination) - {"__pycache__"})
        foreign = [name for name in foreign if not _is_kept_program(name)]
    if foreign:
        raise InputError(f"{destination} holds {foreign[0]!r}, not part of a bundle: move it or choose another -o")


def _is_kept_program(name: str) -> bool:
    """Of a GPU's driver, which a library keeps beside itself (runtime/csrc/program_cache.c)."""
    return re.fullmatch(r"lib\w.*\.so\.[0-9a-f]{16}\.clbin", name) is not None


def manifest_json(manifest: Manifest) -> str:
    """The text of manifest.json, the format's version first."""
    table = asdict(manifest)
    ordered = {"format_version": table.pop("format_version"), **table}
    return json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _libraries_header(manifest: Manifest) -> str:
    """What tvmpose_load.h takes."""
    rows = "".join(f'    "{library.file}", /* {library.target} */\n' for library in manifest.libraries)
    note = f"/* {manifest.name}: its libraries, the most demanding first, for tvmpose_load.h. Generated by tvmpose. */"
    return f"{note}\nstatic const char *const {manifest.symbol}_libraries[] = {{\n{rows}    0}};\n"


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _packaged(name: str) -> bytes:
    """A file of the runtime, which is copied and never imported: it belongs to the device."""
    return (package_files("tvmpose") / "runtime" / name).read_bytes()


def _check_names(manifest: Manifest, contents: Mapping[str, Content]) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", manifest.symbol):
        raise ValueError(f"symbol {manifest.symbol!r} is not a C identifier")
    for name in contents:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name) or name == MANIFEST:
            raise ValueError(f"{name!r} cannot be a file of a bundle")
    for library in manifest.libraries:
        if library.file not in contents:
            raise ValueError(f"library {library.file!r} has no content")


def _old_files(destination: Path) -> set[str]:
    """The names that an older bundle in this folder accounts for."""
    try:
        table = json.loads((destination / MANIFEST).read_bytes())
        return {MANIFEST, *table["files"]} if "format_version" in table else set()
    except (OSError, ValueError, TypeError, KeyError):
        return set()


@contextmanager
def _disk_errors(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(f"cannot write the bundle {destination}: {error.strerror or error}") from error


@contextmanager
def _temporary_sibling(destination: Path) -> Iterator[Path]:
    """A new folder on the same file system, removed again unless it was renamed."""
    folder = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, content: Content) -> FileEntry:
    data = content if isinstance(content, bytes) else content.read_bytes()
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(hashlib.sha256(data).hexdigest(), len(data))


def _swap(folder: Path, destination: Path) -> None:
    """Renames ``folder`` to ``destination``. POSIX cannot exchange two folders: for a moment there is neither."""
    old = folder.with_suffix(".old")
    if destination.exists():
        destination.rename(old)
    try:
        folder.rename(destination)
    except BaseException:  # an interrupt too
        if old.exists():
            old.rename(destination)
        raise
    try:
        _sync(destination.parent)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
