"""Damaged models by the thousand: each is refused in one line or compiled to what its source runtime computes.

    python -m tests.faults.mutations [--count 1000] [--first 0] [--format tflite,onnx,pt2]

A mutation is known by its format and number, so that a failure can be had again: --first N --count 1. Each runs the
command itself, in a child of a process that has loaded everything once.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tests.tiny import write_tiny
from tvmpose.cli import main as command_line

LIMIT_SECONDS = 60.0  # of computing
KINDS = ("bits", "truncated", "shapes")
Random = np.random.Generator


@dataclass(frozen=True)
class Outcome:
    """Of the command: its exit code, what it printed on standard error, and what it left where it should not."""

    code: int
    error: str
    left: tuple[str, ...]
    seconds: float

    @property
    def fault(self) -> str | None:
        """What is wrong with it, if anything is: 5 is a library that disagrees with its source runtime."""
        if self.seconds > LIMIT_SECONDS:
            return f"took {self.seconds:.0f} s"
        if self.left:
            return f"left {', '.join(self.left)}"
        if self.code == 0:
            return None if self.error == "" else f"said {self.error!r}"
        one_line = self.error.startswith("tvmpose: error: ") and self.error.count("\n") == 1
        return None if self.code in (3, 4, 6) and one_line else f"exit {self.code}: {self.error[-300:]!r}"


# The three models: a convolution, its activation and a pooling, small enough to compile in half a second


def tflite_model() -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    from tests.frontend.tflite_builder import TFLiteBuilder, with_shapes

    random, builder = np.random.default_rng(0), TFLiteBuilder()
    picture = builder.input((1, 12, 8, 3))
    weights = builder.constant(random.uniform(-1, 1, (24, 3, 3, 3)).astype("float32"))
    bias = builder.constant(random.uniform(-1, 1, 24).astype("float32"))
    wide, joined = builder.tensor((1, 6, 4, 24)), builder.tensor((1, 6, 4, 48))
    options = schema.Conv2DOptionsT(padding=0, strideW=2, strideH=2, fusedActivationFunction=1)
    builder.operator("CONV_2D", [picture, weights, bias], [wide], options)
    builder.operator("CONCATENATION", [wide, wide], [joined], schema.ConcatenationOptionsT(axis=3))
    builder.graph.outputs.append(joined)
    return with_shapes(builder)


def onnx_model() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_tiny(Path(folder)).model.read_bytes()


def pt2_model() -> bytes:
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)).eval()
    file = io.BytesIO()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 12, 8),)), file)
    return file.getvalue()


MODELS: dict[str, Callable[[], bytes]] = {"tflite": tflite_model, "onnx": onnx_model, "pt2": pt2_model}
PRELOADED = {
    "tflite": ("tvmpose.frontend.tflite", "ai_edge_litert.interpreter"),
    "onnx": ("tvmpose.frontend.onnx", "onnxruntime"),
    "pt2": ("tvmpose.frontend.torch",),
}


# Mutations


def mutated(suffix: str, content: bytes, number: int) -> bytes:
    """The model's mutation of this number: of each kind a third."""
    random = np.random.default_rng([number, sorted(MODELS).index(suffix)])
    kind = KINDS[number % len(KINDS)]
    if kind == "truncated":
        return content[: random.integers(0, len(content))]
    if kind == "bits":
        return flipped(content, random)
    return {"tflite": reshaped_tflite, "onnx": reshaped_onnx, "pt2": reshaped_pt2}[suffix](content, random)


def flipped(content: bytes, random: Random) -> bytes:
    """One to eight bits."""
    changed = bytearray(content)
    for position in random.integers(0, len(content), random.integers(1, 9)):
        changed[position] ^= 1 << int(random.integers(0, 8))
    return bytes(changed)


def strange(random: Random, extents: Sequence[int]) -> list[int]:
    """Extents in another order, or one of them replaced."""
    extents = [int(extent) for extent in extents]
    if random.random() < 0.4 or not extents:
        return [int(extent) for extent in random.permutation(extents)]
    at = int(random.integers(0, len(extents)))
    values = [0, -1, 1, extents[at] + 1, extents[at] * 2, 1 << 16, (1 << 31) - 1]
    return [*extents[:at], int(random.choice(values)), *extents[at + 1 :]]


def reshaped_tflite(content: bytes, random: Random) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    tensor = random.choice(np.array(model.subgraphs[0].tensors, object))
    tensor.shape = strange(random, tensor.shape)
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def reshaped_onnx(content: bytes, random: Random) -> bytes:
    model = onnx.load_from_string(content)
    graph = model.graph
    lists = [tensor.dims for tensor in graph.initializer]
    lists += [attribute.ints for node in graph.node for attribute in node.attribute if attribute.ints]
    values = [*graph.input, *graph.output]
    at = int(random.integers(0, len(lists) + len(values)))
    if at < len(lists):
        lists[at][:] = strange(random, lists[at])
    else:
        dims = values[at - len(lists)].type.tensor_type.shape.dim
        for dim, extent in zip(dims, strange(random, [dim.dim_value for dim in dims]), strict=True):
            dim.dim_value = extent
    return model.SerializeToString()


def reshaped_pt2(content: bytes, random: Random) -> bytes:
    """A number of the program's JSON, which holds shapes, strides and arguments; the archive stays whole."""
    source, file = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            text = source.read(entry)
            if entry.filename.endswith("model.json"):
                numbers = list(re.finditer(rb'"as_int": (-?\d+)', text))
                numbers += list(re.finditer(rb'"as_ints": \[(-?\d+)', text))
                found = numbers[int(random.integers(0, len(numbers)))]
                (number,) = strange(random, [int(found[1])])
                text = text[: found.start(1)] + str(number).encode() + text[found.end(1) :]
                json.loads(text)
            target.writestr(entry, text)
    return file.getvalue()


# The command


def compiled(model: Path, samples: Path, folder: Path) -> Outcome:
    """``tvmpose compile`` of it, as from a shell."""
    output, error, temporary, started = folder / "bundle", folder / "stderr", folder / "tmp", _computed()
    temporary.mkdir()
    arguments = ["tvmpose", "compile", str(model), "--samples", str(samples), "-o", str(output)]
    with error.open("w+b") as stderr, open(os.devnull, "wb") as nothing, diverted(1, nothing), diverted(2, stderr):
        saved = sys.argv, tempfile.tempdir
        sys.argv, tempfile.tempdir = arguments, str(temporary)
        try:
            code = command_line.main()
        finally:
            sys.argv, tempfile.tempdir = saved
    found = error.read_text()
    error.unlink()
    stray = [*temporary.iterdir(), *({*folder.iterdir()} - {model, output, temporary})]
    if code and output.exists():
        stray.append(output)
    return Outcome(code, found, tuple(path.name for path in stray), _computed() - started)


def _computed() -> float:
    """Seconds of the processor that ended children took: of the clock's it is not ours alone."""
    times = os.times()
    return times.children_user + times.children_system


@contextlib.contextmanager
def diverted(descriptor: int, file: io.IOBase):
    """A file descriptor of this process and of its children; Python's own streams go with it."""
    names = {1: "stdout", 2: "stderr"}
    saved, stream = os.dup(descriptor), getattr(sys, names[descriptor])
    stream.flush()
    os.dup2(file.fileno(), descriptor)
    try:
        with open(descriptor, "w", closefd=False) as own:
            setattr(sys, names[descriptor], own)
            yield
    finally:
        setattr(sys, names[descriptor], stream)
        os.dup2(saved, descriptor)
        os.close(saved)


def try_all(suffix: str, numbers: Sequence[int], folder: Path) -> tuple[Counter[int], list[str]]:
    """How often each exit code, and the faults, each with what to type to have it again."""
    for module in ("tvmpose.compile", "tvmpose.passes.pipeline", "tvmpose.codegen.library", *PRELOADED[suffix]):
        importlib.import_module(module)
    folder.mkdir(parents=True, exist_ok=True)
    samples, content = write_tiny(folder.parent / "tiny").samples, MODELS[suffix]()
    codes: Counter[int] = Counter()
    faults = []
    for number in numbers:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            model = Path(own) / f"model.{suffix}"
            model.write_bytes(mutated(suffix, content, number))
            outcome = compiled(model, samples, Path(own))
        codes[outcome.code] += 1
        if outcome.fault:
            again = f"python -m tests.faults.mutations --format {suffix} --first {number} --count 1"
            faults.append(f"{KINDS[number % len(KINDS)]}: {outcome.fault} ({again})")
    return codes, faults


def main(given: Sequence[str] | None = None) -> int:
    """Try them, print what came of it; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="tests.faults.mutations", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--format", default=",".join(MODELS))
    options = parser.parse_args(given)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for suffix in options.format.split(","):
            numbers = range(options.first, options.first + options.count)
            codes, faults = try_all(suffix, numbers, Path(folder) / suffix)
            print(f"{suffix}: {codes[0]} compiled and verified, {codes.total() - codes[0]} refused, {dict(codes)}")
            print("".join(f"  {fault}\n" for fault in faults), end="", flush=True)
            wrong += len(faults)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
