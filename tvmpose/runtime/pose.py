"""Run a compiled pose network: camera pixels in, keypoints out. Needs NumPy and nothing else.

    import pose                                  # beside a bundle; as part of tvmpose: import tvmpose.runtime

    with pose.load("blazepose_lite") as network:
        for person in network(frame):            # uint8 (H, W, 3) in OpenCV's BGR order; format="rgb" for RGB
            print(person.score, person.keypoints)

Every bundle carries this file, so a copied folder is all a board needs. ``python pose.py --check`` runs the bundle's
own sample and compares, ``python pose.py --info`` says what the bundle is. docs/bundle.md specifies the folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import operator
import os
import platform
import re
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
SAMPLE = "sample.npz"
MAX_MANIFEST_BYTES = 1 << 20


class PoseError(Exception):
    """Base of all expected failures; the message is one line. ``exit_code`` is what a command line should return."""

    exit_code = 1


class UsageError(PoseError, ValueError):
    """A frame, box, tensor or option that the network cannot take."""

    exit_code = 3


class BundleError(PoseError):
    """A folder that is not a bundle, or one of a format this file does not know."""

    exit_code = 3


class TamperedError(BundleError):
    """A file that is not the one the manifest lists, or a self-check that came out differently."""

    exit_code = 5


class MachineError(BundleError):
    """This machine lacks something: the bundle's CPU or its features, memory, threads."""

    exit_code = 6


@dataclass(frozen=True)
class Person:
    """One person. Coordinates are pixels of the frame; (0, 0) is the centre of the first pixel."""

    score: float
    box: tuple[float, float, float, float]  # x, y, width, height: where was looked, or where a network found them
    keypoints: np.ndarray  # float32 (K, 3): x, y, score; the caller's own


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the network."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class Info:
    """What a library says about its network. ``keypoint_names`` is empty when it was compiled without a model card."""

    name: str
    version: str  # of the tvmpose that compiled it
    target: str
    keypoint_names: tuple[str, ...]
    input_size: tuple[int, int]  # width, height in pixels
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    arena_bytes: int
    weight_bytes: int
    step_names: tuple[str, ...]  # of a frame: crop, the network's kernels, decode


# --- The manifest ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Library:
    """One library of a bundle."""

    file: str
    target: str
    triple: str
    cpu_features: tuple[str, ...]  # that it needs, by LLVM's names
    verification: str


@dataclass(frozen=True)
class Manifest:
    """The part of manifest.json that running needs; unknown keys are left for newer readers."""

    name: str
    symbol: str
    libraries: tuple[Library, ...]  # the most demanding first
    files: Mapping[str, tuple[str, int]]  # file: (sha256, bytes)
    keypoint_names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    tolerance_px: float  # of the self-check: pixels of the sample image
    tolerance_relative: float  # without a model card: of each output's maximum


def read_manifest(bundle: str | Path) -> Manifest:
    """Reads and checks ``bundle``/manifest.json, but none of the files it lists.

    Raises BundleError: no bundle, no JSON, another format version, or a key that is missing or of the wrong type.
    """
    path = Path(bundle) / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes, so not a tvmpose manifest")
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{bundle}: not a bundle (no {MANIFEST})") from None
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise BundleError(f"{path}: not valid JSON") from None
    try:
        return _parse_manifest(table)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None


def _parse_manifest(table: Any) -> Manifest:
    version = _get(table, "format_version", int)
    if version != FORMAT_VERSION:
        raise BundleError(
            f"format_version is {version}, this pose.py reads {FORMAT_VERSION}: use the bundle's own pose.py"
        )
    files = {
        _file_name(name): (_get(entry, "sha256", str), _get(entry, "bytes", int))
        for name, entry in _get(table, "files", dict).items()
    }
    libraries = tuple(_parse_library(library) for library in _get(table, "libraries", list))
    unlisted = [library.file for library in libraries if library.file not in files]
    if unlisted or not libraries:
        raise BundleError(f"'files' lacks the library {unlisted[0]!r}" if unlisted else "'libraries' is empty")
    symbol = _get(table, "symbol", str)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", symbol):
        raise BundleError(f"'symbol' is {symbol!r}, not a C identifier")
    names, skeleton = _parse_keypoints(table.get("keypoints"))
    check = _get(table, "check", dict)
    return Manifest(
        name=_get(table, "name", str),
        symbol=symbol,
        libraries=libraries,
        files=files,
        keypoint_names=names,
        skeleton=skeleton,
        tolerance_px=_get(check, "tolerance_px", (int, float)),
        tolerance_relative=_get(check, "tolerance_relative", (int, float)),
    )


def _parse_library(table: Any) -> Library:
    features = _get(table, "cpu_features", list)
    if not all(isinstance(feature, str) for feature in features):
        raise BundleError("'cpu_features' must be strings")
    status = _get(_get(table, "verification", dict), "status", str)
    file, target, triple = (_get(table, key, str) for key in ("file", "target", "triple"))
    return Library(file, target, triple, tuple(features), status)


def _parse_keypoints(table: Any) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    if table is None:
        return (), ()
    names = tuple(_get(table, "names", list))
    edges = tuple(tuple(edge) if isinstance(edge, list) else () for edge in _get(table, "edges", list))
    if not all(isinstance(name, str) for name in names):
        raise BundleError("'keypoints.names' must be strings")
    for edge in edges:
        if len(edge) != 2 or not all(type(end) is int and 0 <= end < len(names) for end in edge):
            raise BundleError(f"'keypoints.edges' must be pairs of indices below {len(names)}")
    return names, edges


def _get(table: Any, key: str, kind: Any) -> Any:
    value = table.get(key) if isinstance(table, dict) else None
    if value is None or not isinstance(value, kind) or isinstance(value, bool):
        raise BundleError(f"{key!r} is missing or of the wrong type")
    return value


def _file_name(name: str) -> str:
    """A name that stays inside the folder, on every system."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name):
        raise BundleError(f"{name!r} in 'files' is not a plain file name")
    return name


def verify_files(bundle: str | Path, manifest: Manifest) -> None:
    """Compares size and SHA-256 of every listed file. Raises TamperedError naming the first that differs.

    This finds damage and mixed-up versions; it is no defence against someone who can write the manifest too.
    """
    for name, (sha256, size) in manifest.files.items():
        path = Path(bundle) / name
        if not path.is_file():
            raise TamperedError(f"{path}: listed in {MANIFEST}, but not there")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror}") from None
        if len(content) != size:
            raise TamperedError(f"{path}: has {len(content)} bytes, {MANIFEST} says {size}; copy the bundle again")
        actual = hashlib.sha256(content).hexdigest()
        if actual != sha256:
            raise TamperedError(
                f"{path}: sha256 is {actual[:12]}..., {MANIFEST} says {sha256[:12]}...; copy the bundle again"
            )


# --- tvmpose.h, field by field ---------------------------------------------------------------------------------------

ABI = 1
_OK, _UNSUPPORTED_CPU = 0, 6
_ERRORS: Mapping[int, type[PoseError]] = {
    1: UsageError,  # INVALID_ARGUMENT
    2: UsageError,  # INVALID_IMAGE
    3: UsageError,  # INVALID_BOX
    4: UsageError,  # CAPACITY
    5: PoseError,  # BUSY
    _UNSUPPORTED_CPU: MachineError,
    7: MachineError,  # OUT_OF_MEMORY
    8: UsageError,  # UNSUPPORTED
    9: PoseError,  # INTERNAL
}
_FORMATS: Mapping[str, tuple[int, int]] = {  # the enum's value, bytes per pixel
    "rgb": (0, 3),
    "bgr": (1, 3),
    "rgba": (2, 4),
    "bgra": (3, 4),
    "nv12": (4, 1),
}
_MAX_SIDE = 32767
_INT32_MAX = 2**31 - 1
_DTYPE_KINDS: Mapping[int, str] = {0: "int", 1: "uint", 2: "float", 6: "bool"}


class _Image(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p),
        ("chroma", c_void_p),
        ("width", c_int32),
        ("height", c_int32),
        ("stride", c_int32),
        ("chroma_stride", c_int32),
        ("format", c_int32),
    ]


class _Box(ctypes.Structure):
    _fields_ = [("x", c_float), ("y", c_float), ("width", c_float), ("height", c_float)]


class _Person(ctypes.Structure):
    _fields_ = [("score", c_float), ("box", _Box), ("keypoints", c_void_p)]


class _Result(ctypes.Structure):
    _fields_ = [("num_people", c_int32), ("people", POINTER(_Person))]


class _TensorInfo(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("shape", POINTER(c_int64)),
        ("ndim", c_int32),
        ("dtype_code", c_uint8),
        ("dtype_bits", c_uint8),
        ("bytes", c_uint64),
    ]


class _Info(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("version", c_char_p),
        ("target", c_char_p),
        ("num_keypoints", c_int32),
        ("keypoint_names", POINTER(c_char_p)),
        ("input_width", c_int32),
        ("input_height", c_int32),
        ("num_inputs", c_int32),
        ("num_outputs", c_int32),
        ("inputs", POINTER(_TensorInfo)),
        ("outputs", POINTER(_TensorInfo)),
        ("arena_bytes", c_uint64),
        ("weight_bytes", c_uint64),
        ("num_steps", c_int32),
        ("step_names", POINTER(c_char_p)),
    ]


class _Options(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("threads", c_int32), ("max_people", c_int32)]


class _Api(ctypes.Structure):
    _fields_ = [
        ("abi", c_uint32),
        ("struct_size", c_uint32),
        ("info", ctypes.CFUNCTYPE(POINTER(_Info))),
        ("open", ctypes.CFUNCTYPE(c_int, POINTER(_Options), POINTER(c_void_p))),
        (
            "run_image",
            ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(_Image), c_void_p, c_int32, POINTER(_Result)),
        ),
        ("run_tensors", ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(c_void_p), POINTER(c_void_p))),
        ("set_threads", ctypes.CFUNCTYPE(c_int, c_void_p, c_int32)),
        ("threads", ctypes.CFUNCTYPE(c_int, c_void_p)),
        ("reset", ctypes.CFUNCTYPE(c_int, c_void_p)),
        ("last_error", ctypes.CFUNCTYPE(c_char_p, c_void_p)),
        ("close", ctypes.CFUNCTYPE(None, c_void_p)),
        ("profile", ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)),
        ("check_cpu", ctypes.CFUNCTYPE(c_int)),
        (
            "run_rotated",
            ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(_Image), c_void_p, c_void_p, c_int32, POINTER(_Result)),
        ),
    ]


def _load_api(library: Path, symbol: str) -> _Api:
    try:
        shared = ctypes.CDLL(str(library), mode=ctypes.RTLD_LOCAL)
    except OSError as error:
        raise MachineError(_foreign(library) or str(error)) from None
    try:
        function = shared[f"{symbol}_tvmpose"]
    except AttributeError:
        raise BundleError(f"{library}: exports no {symbol}_tvmpose") from None
    function.restype = POINTER(_Api)
    api = function().contents
    if api.abi != ABI or api.struct_size < ctypes.sizeof(_Api):
        raise BundleError(f"{library}: has ABI {api.abi}, this pose.py has {ABI}: use the bundle's own pose.py")
    return api


_MACHINES: Mapping[int, str] = {3: "x86", 40: "32-bit ARM", 62: "x86-64", 183: "64-bit ARM", 243: "RISC-V"}  # e_machine


def _foreign(library: Path) -> str:
    """Where the library is for another kind of CPU than this process: which; the loader's own words do not say."""
    try:
        ours, its = (_elf_machine(path) for path in (Path(sys.executable), library))
    except OSError:
        return ""
    if None in (ours, its) or ours == its:
        return ""
    there, here = (_MACHINES.get(number, f"machine {number}") for number in (its or 0, ours or 0))
    return f"{library} is for {there}, this is {here}: compile it for this machine (--target)"


def _elf_machine(path: Path) -> int | None:
    with path.open("rb") as file:
        head = file.read(20)
    return int.from_bytes(head[18:20], "little") if len(head) == 20 and head[:4] == b"\x7fELF" else None


def _read_info(api: _Api) -> Info:
    raw = api.info().contents
    return Info(
        name=raw.name.decode(),
        version=raw.version.decode(),
        target=raw.target.decode(),
        keypoint_names=tuple(raw.keypoint_names[i].decode() for i in range(raw.num_keypoints)),
        input_size=(raw.input_width, raw.input_height),
        inputs=tuple(_tensor_info(raw.inputs[i]) for i in range(raw.num_inputs)),
        outputs=tuple(_tensor_info(raw.outputs[i]) for i in range(raw.num_outputs)),
        arena_bytes=raw.arena_bytes,
        weight_bytes=raw.weight_bytes,
        step_names=tuple(raw.step_names[i].decode() for i in range(raw.num_steps)),
    )


def _tensor_info(raw: _TensorInfo) -> TensorInfo:
    kind = _DTYPE_KINDS[raw.dtype_code]
    dtype = np.dtype(kind if kind == "bool" else f"{kind}{raw.dtype_bits}")
    return TensorInfo(raw.name.decode(), tuple(raw.shape[: raw.ndim]), dtype)


# --- Running ---------------------------------------------------------------------------------------------------------


def load(path: str | Path, *, threads: int = 0, max_people: int = 0) -> Pose:
    """Opens the bundle in folder ``path`` after checking its format and every file's hash.

    ``threads`` counts the caller; 0 is as many as there are CPUs, up to 4. ``max_people`` is the most boxes in one
    call; 0 is 16. Raises BundleError, TamperedError, MachineError (no library for this CPU, no memory) or UsageError.
    """
    manifest = read_manifest(path)
    verify_files(path, manifest)
    library = Path(path).resolve() / choose_library(path, manifest).file
    pose = open_library(library, manifest.symbol, manifest.skeleton, threads, max_people)
    if pose.keypoint_names != manifest.keypoint_names:
        pose.close()
        raise BundleError(f"{library}: its keypoints are not those of {MANIFEST}")
    return pose


def choose_library(path: str | Path, manifest: Manifest) -> Library:
    """The first library of the bundle in folder ``path``, so the most demanding, that this machine runs.

    Raises MachineError where it runs none, saying what the last one needs, and BundleError.
    """
    for library in manifest.libraries:
        try:
            api = _load_api(Path(path).resolve() / library.file, manifest.symbol)
        except MachineError as error:
            reason = str(error)
            continue
        if api.check_cpu() == _OK:
            return library
        reason = api.last_error(None).decode(errors="replace")
    count, needs = len(manifest.libraries), ", ".join(library.cpu_features) or "nothing special"
    which = (
        f"its library {library.file}" if count == 1 else f"{library.file}, the least demanding of {count} libraries,"
    )
    refused = f"{path}: does not run on this {platform.machine()} machine"
    raise MachineError(f"{refused}: {which} for {library.triple} needs {needs}: {reason}")


def open_library(
    library: str | Path,
    symbol: str,
    skeleton: tuple[tuple[int, int], ...] = (),
    threads: int = 0,
    max_people: int = 0,
) -> Pose:
    """Opens a library by itself: no manifest, nothing is verified. load() is for bundles."""
    options = _Options(ctypes.sizeof(_Options), _int32(threads, "threads"), _int32(max_people, "max_people"))
    return Pose(Path(library), symbol, skeleton, options)


class Pose:
    """An opened network; make one with load(). Close it, use it in a ``with``, or leave it to the garbage collector.

    Calls from several threads take turns. For frames in parallel load the bundle once per thread; after a fork load
    it again in the child.
    """

    def __init__(self, library: Path, symbol: str, skeleton: tuple[tuple[int, int], ...], options: _Options) -> None:
        self._api = api = _load_api(library, symbol)
        self.info = _read_info(api)
        self.skeleton = skeleton  # pairs of indices into keypoint_names
        handle = c_void_p()
        status = api.open(ctypes.byref(options), ctypes.byref(handle))
        if status != _OK:
            raise _error(status, api.last_error(None))
        self._handle = handle
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, _close, api, handle, self._pid)
        self._close.atexit = False  # a daemon thread may still be inside; the process frees all of it anyway

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """In the order of Person.keypoints."""
        return self.info.keypoint_names

    @property
    def threads(self) -> int:
        """How many threads work on a frame, the caller's among them; may be set between frames, 0 for the default."""
        with self._turn():
            return self._api.threads(self._handle)

    @threads.setter
    def threads(self, count: int) -> None:
        with self._turn():
            self._check(self._api.set_threads(self._handle, _int32(count, "threads")))

    def __call__(
        self,
        frame: np.ndarray,
        boxes: Sequence[Sequence[float]] | np.ndarray | None = None,
        *,
        angles: Sequence[float] | np.ndarray | None = None,
        format: str = "bgr",
    ) -> list[Person]:
        """Finds the keypoints of one person in each box, or of one in the whole frame when ``boxes`` is None.

        A network that finds people itself returns all that there are, those with the best scores first.

        ``frame``: uint8 (H, W, 3) for format "bgr" (OpenCV's order, the default) and "rgb", (H, W, 4) for "bgra" and
        "rgba", (H * 3 / 2, W) for "nv12" with even H and W. Rows may be any distance apart, so a crop by slicing costs
        nothing; a view with gaps between pixels or backward rows is copied. ``boxes``: (N, 4), x, y, width, height in
        pixels; no rows, no people. ``angles``: (N,), radians by which each box is turned about its centre, clockwise as
        one sees the picture; keypoints are in the frame as ever. Raises UsageError for what cannot be used.
        """
        pixels, image = _image(frame, format)
        regions = _boxes(boxes)
        turns = None if angles is None else _angles(angles, regions)
        if regions is not None and len(regions) == 0:
            return []
        result = _Result()
        address, count = (None, 0) if regions is None else (regions.ctypes.data, len(regions))
        view, out = ctypes.byref(image), ctypes.byref(result)
        with self._turn():
            if turns is None:
                self._check(self._api.run_image(self._handle, view, address, count, out))
            else:
                self._check(self._api.run_rotated(self._handle, view, address, turns.ctypes.data, count, out))
            people = [_person(result.people[i], len(self.info.keypoint_names)) for i in range(result.num_people)]
        del pixels  # kept until here: image points into it
        return people

    def run_tensors(self, inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs the bare network. ``inputs``: by name, or in the order of info.inputs; shapes and dtypes must be equal.

        Returns the outputs in the order of info.outputs. Raises UsageError for a tensor that does not fit.
        """
        arrays = [_fitting(array, spec) for array, spec in zip(self._ordered(inputs), self.info.inputs, strict=True)]
        outputs = [np.empty(spec.shape, spec.dtype) for spec in self.info.outputs]
        with self._turn():
            self._check(self._api.run_tensors(self._handle, _addresses(arrays), _addresses(outputs)))
        return outputs

    def reset(self) -> None:
        """Forgets what was carried from frame to frame, as before the first frame of another video."""
        with self._turn():
            self._check(self._api.reset(self._handle))

    def close(self) -> None:
        """Frees memory and threads, after the call that another thread may be in. Closing twice is allowed."""
        if os.getpid() == self._pid:
            with self._lock:
                self._close()

    def __enter__(self) -> Pose:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def profile(self) -> np.ndarray:
        """From now on every call adds the nanoseconds of each step to the array that this returns (uint64).

        Its entries are those of info.step_names.
        """
        times = np.zeros(len(self.info.step_names), np.uint64)
        with self._turn():
            self._check(self._api.profile(self._handle, times.ctypes.data))
        self._times = times  # the library writes into it
        return times

    def _ordered(self, inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray]) -> list[np.ndarray]:
        names = [spec.name for spec in self.info.inputs]
        if isinstance(inputs, Mapping):
            if set(inputs) != set(names):
                raise UsageError(f"inputs are named {sorted(inputs)}, the network has {names}")
            return [inputs[name] for name in names]
        if len(inputs) != len(names):
            raise UsageError(f"got {len(inputs)} inputs, the network has {len(names)}: {names}")
        return list(inputs)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One caller at a time, until its results are copied: they live in the handle."""
        if os.getpid() != self._pid:  # the worker threads stayed in the parent; waiting for them would never end
            raise UsageError(f"{self.info.name}: loaded before a fork; call load() in this process")
        with self._lock:
            if not self._close.alive:
                raise UsageError(f"{self.info.name}: already closed")
            yield

    def _check(self, status: int) -> None:
        if status != _OK:
            raise _error(status, self._api.last_error(self._handle))


def _close(api: _Api, handle: c_void_p, pid: int) -> None:
    if os.getpid() == pid:
        api.close(handle)


def _error(status: int, message: bytes) -> PoseError:
    return _ERRORS.get(status, PoseError)(message.decode(errors="replace"))


def _image(frame: np.ndarray, format: str) -> tuple[np.ndarray, _Image]:
    """The pixels to keep alive during the call, and tvmpose.h's view of them."""
    if format not in _FORMATS:
        raise UsageError(f"format is {format!r}, must be one of {', '.join(_FORMATS)}")
    value, channels = _FORMATS[format]
    expected = "(H * 3 / 2, W)" if format == "nv12" else f"(H, W, {channels})"
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        raise UsageError(f"frame is {getattr(frame, 'dtype', type(frame).__name__)}, must be a uint8 array {expected}")
    if frame.ndim != (2 if format == "nv12" else 3) or frame.shape[2:] not in ((), (channels,)):
        raise UsageError(f"frame has shape {frame.shape}, format {format!r} needs {expected}")
    height, width = frame.shape[:2]
    if format == "nv12":
        if height % 3 or width % 2:
            raise UsageError(f"frame has shape {frame.shape}, format 'nv12' needs {expected}, H and W even")
        height = height // 3 * 2
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise UsageError(f"frame has {width} x {height} pixels, each must be in 1..{_MAX_SIDE}")
    pixels = _rows(frame)
    return pixels, _Image(pixels.ctypes.data, None, width, height, pixels.strides[0], 0, value)


def _rows(frame: np.ndarray) -> np.ndarray:
    """The frame itself where its rows are gap-free and run forward, else a copy. NumPy leaves one row's stride open."""
    walkable = frame[0].flags.c_contiguous and frame[0].nbytes <= frame.strides[0] <= _INT32_MAX
    return frame if walkable else frame.copy(order="C")


def _boxes(boxes: Sequence[Sequence[float]] | np.ndarray | None) -> np.ndarray | None:
    if boxes is None:
        return None
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which the library refuses
            array = np.ascontiguousarray(boxes, np.float32)
    except (TypeError, ValueError):
        raise UsageError("boxes must be numbers of shape (N, 4): x, y, width, height") from None
    if array.size and (array.ndim != 2 or array.shape[1] != 4):
        raise UsageError(f"boxes have shape {array.shape}, must be (N, 4): x, y, width, height")
    return array.reshape(-1, 4)


def _angles(angles: Sequence[float] | np.ndarray, boxes: np.ndarray | None) -> np.ndarray:
    try:
        array = np.ascontiguousarray(angles, np.float32)
    except (TypeError, ValueError):
        raise UsageError("angles must be numbers, one for each box, in radians") from None
    if boxes is None or array.shape != (len(boxes),):
        count = "no boxes" if boxes is None else f"{len(boxes)} boxes"
        raise UsageError(f"angles have shape {array.shape}, must be one for each box; there are {count}")
    return array


def _person(raw: _Person, num_keypoints: int) -> Person:
    keypoints = np.frombuffer(bytearray(ctypes.string_at(raw.keypoints, num_keypoints * 12)), np.float32)
    box = raw.box
    return Person(raw.score, (box.x, box.y, box.width, box.height), keypoints.reshape(num_keypoints, 3))


def _fitting(array: np.ndarray, spec: TensorInfo) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != spec.shape or array.dtype != spec.dtype:
        raise UsageError(
            f"input {spec.name!r} is {array.dtype} {array.shape}, the network needs {spec.dtype} {spec.shape}"
        )
    return np.ascontiguousarray(array)


def _addresses(arrays: Sequence[np.ndarray]) -> ctypes.Array[c_void_p]:
    return (c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def _int32(value: int, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = _INT32_MAX + 1
    if abs(number) > _INT32_MAX:  # ctypes would wrap it silently
        raise UsageError(f"{name} is {value!r}, must be a small whole number")
    return number


# --- python pose.py --------------------------------------------------------------------------------------------------


def check(path: str | Path) -> str:
    """Runs the bundle's sample, compares with what is expected and returns a line saying how close it came.

    Raises TamperedError where a keypoint (without a model card: a tensor) differs by more than the manifest's
    tolerance, BundleError where there is no sample.
    """
    manifest = read_manifest(path)
    if SAMPLE not in manifest.files:
        raise BundleError(f"{path}: has no {SAMPLE} to check with")
    with load(path) as pose, np.load(Path(path) / SAMPLE, allow_pickle=False) as sample:
        if pose.keypoint_names:
            return _check_keypoints(pose, sample, manifest.tolerance_px)
        return _check_tensors(pose, sample, manifest.tolerance_relative)


def _check_keypoints(pose: Pose, sample: Mapping[str, np.ndarray], tolerance: float) -> str:
    boxes = sample["box"].reshape(1, 4) if "box" in sample else None
    found = [person.keypoints for person in pose(sample["image"], boxes, format="rgb")]
    people = sample["keypoints"].reshape(-1, len(pose.keypoint_names), 3)
    counted = np.isfinite(people[..., :2]).all(axis=2)  # NaN marks a joint too uncertain to compare
    if not counted.any():
        raise BundleError(f"{SAMPLE} has no joint to compare")
    distance = max(
        _distance(found, person[sure, :2], sure) for person, sure in zip(people, counted, strict=True) if sure.any()
    )
    if not distance <= tolerance:  # so that NaN fails
        raise TamperedError(f"a keypoint of {SAMPLE} is off by {distance:.3f} px, more than {tolerance:g} px")
    return f"{counted.sum()} keypoints within {distance:.4f} px of the expected ones, {tolerance:g} px allowed"


def _distance(found: Sequence[np.ndarray], joints: np.ndarray, sure: np.ndarray) -> float:
    """How far the joint that is furthest off is, of the person who comes nearest; infinite where there is nobody."""
    return min((float(np.linalg.norm(person[sure, :2] - joints, axis=1).max()) for person in found), default=np.inf)


def _check_tensors(pose: Pose, sample: Mapping[str, np.ndarray], tolerance: float) -> str:
    outputs = pose.run_tensors([sample[f"input_{i}"] for i in range(len(pose.info.inputs))])
    worst = 0.0
    for i, (output, spec) in enumerate(zip(outputs, pose.info.outputs, strict=True)):
        expected = sample[f"output_{i}"].astype(np.float64)
        difference = float(np.abs(output - expected).max() / max(np.abs(expected).max(), 1e-30))
        if not difference <= tolerance:
            raise TamperedError(f"output {spec.name!r} of {SAMPLE} is off by {difference:.2g} of its maximum")
        worst = max(worst, difference)
    return f"{len(outputs)} tensors within {worst:.2g} of their maximum, {tolerance:g} allowed"


def describe(path: str | Path) -> str:
    """What ``--info`` prints: a line a fact."""
    with load(path) as pose:
        info, threads = pose.info, pose.threads
    library = choose_library(path, read_manifest(path))
    lines = [
        ("name", info.name),
        ("tvmpose", info.version),
        ("target", info.target),
        ("library", library.file),
        *(("input", f"{spec.name}  {spec.dtype}  {spec.shape}") for spec in info.inputs),
        *(("output", f"{spec.name}  {spec.dtype}  {spec.shape}") for spec in info.outputs),
        ("keypoints", " ".join(info.keypoint_names) or "none: compiled without a model card"),
        ("memory", f"arena {info.arena_bytes / 2**20:.2f} MiB, weights {info.weight_bytes / 2**20:.2f} MiB"),
        ("threads", str(threads)),
        ("accuracy", library.verification),
    ]
    return "\n".join(f"{key:<10} {value}" for key, value in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of a bundle's pose.py; returns the exit code, that of the exception where there was one."""
    import argparse  # here, because only this needs it and importing should be quick

    parser = argparse.ArgumentParser(prog="pose.py", description="Check or describe a compiled pose bundle.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="run the bundle's sample and compare its keypoints")
    action.add_argument("--info", action="store_true", help="say what the bundle is")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(__file__).parent, help="default: this folder")
    args = parser.parse_args(argv)
    try:
        print(f"ok: {check(args.bundle)}" if args.check else describe(args.bundle))
    except PoseError as error:
        print(f"FAILED: {error}" if args.check else f"pose.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
