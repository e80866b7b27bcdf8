"""A model file of any format as one thing: a graph to compile, and a judge to compare with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmpose.child import reading
from tvmpose.errors import InputError, ModelError, TvmposeError
from tvmpose.extras import require
from tvmpose.modelspec import ModelSpec

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tvmpose.baselines.judge import Judge

FORMATS = {".tflite": "tflite", ".onnx": "onnx", ".pt2": "torch", ".py": "torch"}


@dataclass(frozen=True)
class Source:
    """A model file. The last two are for a net.py alone: the shape of its input, (1, 3, height, width) for pictures,
    where the file does not say it by INPUT_SHAPE, and the function that builds the network.
    """

    path: Path
    input_shape: tuple[int, ...] | None = None
    function: str = "build"

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file")
        if self.path.suffix not in FORMATS:
            raise ModelError(f"{self.path}: not a model: the formats are {', '.join(FORMATS)}")

    @property
    def format(self) -> str:
        return FORMATS[self.path.suffix]

    def load(self, outputs: Sequence[str] | None = None) -> "tuple[IRModule, ModelSpec]":
        """The graph, returning the named tensors in place of its own outputs where they are given."""
        with reading(self.path):
            return self._load(outputs)

    def _load(self, outputs: Sequence[str] | None) -> "tuple[IRModule, ModelSpec]":
        if self.format == "tflite":
            require("tflite", extra="compiler")
            from tvmpose.frontend import tflite

            return tflite.load(self.path, outputs=outputs)
        if self.format == "onnx":
            require("onnx", extra="compiler")
            from tvmpose.frontend import onnx

            return onnx.load(self.path, outputs=outputs)
        program = self.program  # first: it says so where torch is not installed
        from tvmpose.frontend.torch import from_program

        return from_program(program, outputs=outputs)

    def tensor_names(self) -> list[str]:
        """The float and byte tensors that the model computes, in order: what load and the judge can both return."""
        if self.format == "tflite":
            from tvmpose.frontend import tflite

            return tflite.tensor_names(self.path)
        if self.format == "onnx":
            from tvmpose.frontend import onnx

            return onnx.tensor_names(self.path)
        program = self.program
        from tvmpose.frontend.torch import tensor_names

        return tensor_names(program)

    def judge(self, threads: int = 1, rounding: str | None = None) -> "Judge":
        """The source runtime with the model loaded, see open_judge.

        Raises SetupError where it is not installed, ModelError where it refuses the model.
        """
        from tvmpose.baselines.judge import open_judge

        with reading(self.path):
            source = self.program if self.format == "torch" else self.path
            try:
                return open_judge(source, self.format, threads=threads, rounding=rounding)
            except TvmposeError:
                raise
            except Exception as error:  # its runtime's own kinds
                from tvmpose.frontend.module_spec import first_line

                raise ModelError(f"{self.path}: its own runtime refuses it: {first_line(error)}") from error

    @cached_property
    def program(self) -> Any:
        """The torch.export.ExportedProgram of a .pt2 or net.py."""
        torch = require("torch", extra="torch")
        from tvmpose.frontend.torch import build_net, export, load_definition, read

        if self.path.suffix == ".pt2":
            return read(self.path)
        definition = load_definition(self.path)
        shape = self.input_shape or getattr(definition, "INPUT_SHAPE", None)
        if shape is None:
            raise InputError(f"{self.path}: a net needs a card that says its input size (--card), or INPUT_SHAPE")
        return export(build_net(definition, self.path, self.function), torch.zeros(shape))


def split_function(model: str) -> tuple[str, str]:
    """A model's file, and the function that builds it: "net.py:small" names one, else it is build."""
    file, colon, function = model.rpartition(":")
    return (file, function) if colon and file.endswith(".py") else (model, "build")
