"""A .tflite that ends at an inner tensor: a smaller network out of one that has several stages."""

from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def cut_tflite(source: Path, target: Path, tensor: str) -> None:
    """Write the network up to the tensor of that name, its only output. Raises ValueError where there is none."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.read_bytes()))
    (graph,) = model.subgraphs
    output = next((i for i, each in enumerate(graph.tensors) if each.name == tensor.encode()), None)
    if output is None:
        raise ValueError(f"{source.name} has no tensor {tensor}")
    last = next(i for i, operator in enumerate(graph.operators) if output in operator.outputs)
    graph.outputs, graph.operators, model.signatureDefs = [output], graph.operators[: last + 1], None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(builder.Output())
