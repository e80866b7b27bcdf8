"""PyTorch, CPU: an exported program, run node by node where intermediate values are asked for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.export import ExportedProgram

from tvmpose.errors import ModelError
from tvmpose.modelspec import TensorSpec


def open_model(source: str | Path | ExportedProgram, *, threads: int = 1) -> "Torch":
    """Load a .pt2 file, or take a program."""
    program = source if isinstance(source, ExportedProgram) else torch.export.load(source)
    return Torch(program, threads)


class Torch:
    """A program in PyTorch; see tvmpose.baselines.judge.Judge. Its tensors are the nodes of its graph."""

    def __init__(self, program: ExportedProgram, threads: int) -> None:
        self.name = f"torch {torch.__version__}"
        self.threads = threads
        self.module = program.module()
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        signature = program.graph_signature
        self.inputs = tuple(tensor_spec(name, values[name]) for name in signature.user_inputs)
        self.outputs = tuple(tensor_spec(name, values[name]) for name in signature.user_outputs)

    def run(self, inputs: Sequence[np.ndarray], tensors: Sequence[str] | None = None) -> list[np.ndarray]:
        arguments = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs]
        wanted = [spec.name for spec in self.outputs] if tensors is None else list(tensors)
        nodes = {node.name for node in self.module.graph.nodes}
        if unknown := [name for name in wanted if name not in nodes]:
            raise ModelError(f"the program has no node {', '.join(unknown)}")
        with torch.no_grad(), torch_threads(self.threads):
            recorder = Recorder(self.module, set(wanted))
            recorder.run(*arguments)
        return [recorder.values[name].numpy() for name in wanted]


class Recorder(fx.Interpreter):
    """Runs a graph and keeps the values of some of its nodes."""

    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names = names
        self.values: dict[str, torch.Tensor] = {}

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if node.name in self.names:
            self.values[node.name] = value
        return value


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch computing with this many threads, which is a setting of the whole process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tensor_spec(name: str, value: torch.Tensor) -> TensorSpec:
    """A node's specification from the value it had when the program was exported."""
    return TensorSpec(name, tuple(int(extent) for extent in value.shape), str(value.dtype).removeprefix("torch."))
