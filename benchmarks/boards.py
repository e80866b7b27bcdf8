"""Bundles run on virtual boards: how far their keypoints are from LiteRT's there, and what memory they take.

    python -m benchmarks.boards [--images 20] [--write]

On the people of coco/val2017, the largest of each picture. LiteRT gets the same crops, made and decoded by the float64
reference; there is no LiteRT for 32-bit ARM and for musl, so that of the virtual Raspberry Pi 4 judges them. No time is
taken, so it does not matter what else runs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.measuring import ROOT, Benchmark, arguments, run
from benchmarks.report import markdown_table
from tvmpose import gate
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.cards import Card, load_card
from tvmpose.codegen.toolchain import build_program, toolchain_for
from tvmpose.compile import compile_model, resolve
from tvmpose.devices.virtual import VirtualBoard, virtual_board
from tvmpose.errors import SetupError
from tvmpose.modelspec import TensorSpec
from tvmpose.pose import reference
from tvmpose.targets import load_target

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "boards.json"
EXAMPLE = ROOT / "examples" / "c" / "pose.c"
CARD, FILE = "blazepose-lite", "pose_landmark_lite.tflite"
SMALL_CARD, SMALL_FILE = "movenet-lightning-coral", "movenet_single_pose_lightning_ptq.tflite"
JUDGES = {
    "raspberry-pi-4": "raspberry-pi-4",
    "raspberry-pi-5": "raspberry-pi-5",
    "raspberry-pi-4-32bit": "raspberry-pi-4",
    "musl-arm64": "raspberry-pi-4",
}
"""By target: the board whose LiteRT judges."""

HEADER = ("target", "emulated as", "keypoints", "C, furthest", "Python, furthest", "LiteRT of")
LARGEST_PX, LARGEST_BUNDLE, LARGEST_RESIDENT = 0.1, 5e6, 40e6


@dataclass(frozen=True)
class Person:
    """A picture, uint8 BGR, and where in it somebody is: x, y, width, height."""

    picture: np.ndarray
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Row:
    """Furthest distances in pixels of the picture; python is None on a board without."""

    target: str
    cpu: str
    keypoints: int
    c: float
    python: float | None
    judge: str


@dataclass(frozen=True)
class Memory:
    """Of the process that runs a bundle and of one that does nothing, both with the emulator."""

    bundle_bytes: int
    resident_bytes: int
    idle_bytes: int


@dataclass(frozen=True)
class Measured:
    """All of it."""

    rows: list[Row]
    memory: Memory


def main(given: Sequence[str] | None = None) -> int:
    """Compile, run, print; write the table where asked to."""
    parser = arguments("boards", __doc__, list(JUDGES))
    parser.add_argument("--images", type=int, default=20, metavar="N")
    options = parser.parse_args(given)
    options.noisy = True
    if "TVMPOSE_DATA" not in os.environ:
        parser.error("TVMPOSE_DATA is not set")
    data = Path(os.environ["TVMPOSE_DATA"])

    def measure() -> Measured:
        found, model, card = people(data, options.images), data / "models" / FILE, load_card(CARD)
        judges = {JUDGES[target] for target in options.models}
        expected = {name: by_litert(virtual_board(name), model, card, found) for name in judges}
        rows = []
        for target in options.models:
            bundle = bundle_for(target, model, options.build / "boards")
            rows.append(row(target, bundle, found, expected[JUDGES[target]]))
        small = bundle_for("raspberry-pi-4", data / "models" / SMALL_FILE, options.build / "boards-memory")
        return Measured(rows, peak_memory(small))

    try:
        return run(Benchmark("boards", (DOCUMENT,), RESULT, measure, describe, numbers), options)
    except SetupError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code


def people(data: Path, count: int) -> list[Person]:
    """The largest annotated person of each of the first pictures."""
    table = json.loads((data / "coco" / "person_keypoints_val2017_dev100.json").read_text())
    largest: dict[int, Any] = {}
    for entry in table["annotations"]:
        if entry["num_keypoints"] and entry["area"] > largest.get(entry["image_id"], {"area": 0})["area"]:
            largest[entry["image_id"]] = entry
    names = {image["id"]: image["file_name"] for image in table["images"]}
    chosen = sorted(largest, key=lambda identity: names[identity])[:count]
    pictures = [cv2.imread(str(data / "coco" / "val2017" / names[identity])) for identity in chosen]
    return [
        Person(picture, tuple(largest[identity]["bbox"])) for picture, identity in zip(pictures, chosen, strict=True)
    ]


def bundle_for(target: str, model: Path, folder: Path) -> Path:
    """A bundle that was verified on the target's board, which is brought up first."""
    virtual_board(target)
    output = folder / target
    compile_model(resolve(str(model), card=None, target=load_target(target), output=output))
    return output


def row(target: str, bundle: Path, found: Sequence[Person], expected: np.ndarray) -> Row:
    """Everything about one target; expected: see by_litert."""
    board = virtual_board(target)
    has_python = (board.root / "usr" / "bin" / "python3").exists()
    by_c = furthest(by_example(board, bundle, found), expected)
    by_python = furthest(by_binding(board, bundle, found), expected) if has_python else None
    return Row(target, f"{board.emulator} -cpu {board.cpu}", expected[..., 0].size, by_c, by_python, JUDGES[target])


def furthest(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.hypot(*np.moveaxis(found[..., :2] - expected[..., :2], -1, 0)).max())


def by_litert(board: VirtualBoard, model: Path, card: Card, found: Sequence[Person]) -> np.ndarray:
    """LiteRT on the board between the reference's warp and decode; (N, K, 3) in pixels of the pictures."""
    size, half = (card.input.width, card.input.height), card.crop.pixel_centers == "half"
    spec = TensorSpec("input", (1, size[1], size[0], 3), "float32")
    matrices = [
        reference.box_matrix(person.box, person.picture.shape[1::-1], size, card.crop.padding, half) for person in found
    ]
    inputs = [
        gate.network_input(card, spec, person.picture, matrix) for person, matrix in zip(found, matrices, strict=True)
    ]
    outputs = on_board(board, "litert", model, inputs)
    each = len(outputs) // len(found)
    count = len(card.keypoints.keypoints)
    return np.array(
        [
            reference.decode(
                card.head,
                outputs[i * each : (i + 1) * each],
                matrix,
                num_keypoints=count,
                input_size=size,
                half_pixel=half,
            )[0]
            for i, matrix in enumerate(matrices)
        ]
    )


def by_binding(board: VirtualBoard, bundle: Path, found: Sequence[Person]) -> np.ndarray:
    """The bundle's pose.py in the board's Python."""
    arrays = [array for person in found for array in (person.picture, np.array(person.box))]
    return np.array(on_board(board, "bundle", bundle, arrays))


def on_board(board: VirtualBoard, runtime: str, network: Path, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arrays.npz"
        np.savez(file, *arrays)
        program = ["python3", Path(__file__).with_name("on_board.py"), runtime, network.resolve(), file]
        subprocess.run(board.command(program), check=True, stderr=subprocess.DEVNULL)  # LiteRT's remarks
        with np.load(file) as table:
            return [table[name] for name in table.files]


def by_example(board: VirtualBoard, bundle: Path, found: Sequence[Person]) -> np.ndarray:
    """The C example, linked with the bundle's library and the target's own C library."""
    with tempfile.TemporaryDirectory() as folder:
        program, picture = Path(folder) / "pose", Path(folder) / "picture.ppm"
        linked(EXAMPLE, program, bundle, board.name)
        keypoints = []
        for person in found:
            cv2.imwrite(str(picture), person.picture)
            command = board.command([program, picture, *map(repr, map(float, person.box))])
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            keypoints.append([[float(value) for value in line.split()[2:]] for line in printed.splitlines()])
    return np.array(keypoints)


def linked(source: Path, program: Path, bundle: Path, target: str) -> None:
    """A C program of one file that calls the bundle's entry POSE."""
    (library,) = bundle.resolve().glob("lib*.so")
    name = library.stem.removeprefix("lib")
    flags = (f"-DPOSE={name}_tvmpose", f"-I{bundle.resolve()}", str(library), f"-Wl,-rpath,{library.parent}")
    build_program(source, program, toolchain_for(load_target(target)), flags)


def peak_memory(bundle: Path) -> Memory:
    """What the Raspberry Pi 4's Linux would have to find for a C program that runs the bundle, at most."""
    board = virtual_board("raspberry-pi-4")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak_memory"
        linked(Path(__file__).with_name("peak_memory.c"), program, bundle, board.name)
        working, idle = (
            int(subprocess.run(board.command([program, *extra]), check=True, capture_output=True, text=True).stdout)
            for extra in ([], ["-"])
        )
    return Memory(sum(file.stat().st_size for file in bundle.iterdir()), working * 1024, idle * 1024)


def numbers(measured: Measured) -> Mapping[str, Any]:
    return asdict(measured)


def describe(measured: Measured, machine: Machine, disturbance: Disturbance) -> str:
    """The table in Markdown, and what it says about memory."""
    table = markdown_table(HEADER, [_cells(row) for row in measured.rows])
    memory = measured.memory
    sizes = (memory.bundle_bytes, memory.resident_bytes, memory.idle_bytes)
    bundle, resident, idle = (f"{size / 1e6:.1f} MB" for size in sizes)
    limits = f"Aims: {LARGEST_PX} px; {LARGEST_BUNDLE / 1e6:.0f} MB, {LARGEST_RESIDENT / 1e6:.0f} MB resident."
    said = (
        f"MoveNet Lightning int8 ({SMALL_FILE}): bundle {bundle}; peak of the resident set of a C program on the "
        f"virtual raspberry-pi-4 {resident}, of which {idle} are the emulator's and the C library's."
    )
    return f"{table}\n\n{CARD}, the largest person of each picture; pixels of the picture. {said} {limits} {machine}"


def _cells(row: Row) -> tuple[str, ...]:
    python = "no Python" if row.python is None else f"{row.python:.4f} px"
    return row.target, f"`{row.cpu}`", str(row.keypoints), f"{row.c:.4f} px", python, row.judge


if __name__ == "__main__":
    sys.exit(main())
