"""Each operator of a TFLite file as a file of its own, so that any of LiteRT's kernels can be given any tensors."""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tvmpose.baselines.litert import KERNELS, without_remarks

_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


@dataclass(frozen=True)
class SingleStep:
    """operator: as ADD; outputs: names of its tensors."""

    operator: str
    outputs: tuple[str, ...]
    file: bytes

    def run(self, tensors: Mapping[str, np.ndarray], kernels: str) -> tuple[dict[str, np.ndarray], bool]:
        """Its results for the inputs among ``tensors``, and whether XNNPACK computed them."""
        with without_remarks():
            interpreter = Interpreter(
                model_content=self.file, experimental_op_resolver_type=KERNELS[kernels], num_threads=1
            )
            interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], tensors[detail["name"]])
        interpreter.invoke()
        details = interpreter.get_output_details()
        delegated = any(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())
        return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in details}, delegated


def single_steps(path: Path) -> Iterator[SingleStep]:
    """The operators in order of execution."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (graph,) = model.subgraphs
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        indices = list(dict.fromkeys(int(i) for i in [*operator.inputs, *operator.outputs] if i >= 0))
        tensors, buffers = [], [schema.BufferT()]
        for tensor in (copy(graph.tensors[i]) for i in indices):
            buffer = model.buffers[tensor.buffer]
            tensor.buffer = 0
            if buffer.data is not None and len(buffer.data):
                tensor.buffer = len(buffers)
                buffers.append(buffer)
            tensors.append(tensor)
        alone = copy(operator)
        alone.opcodeIndex = 0
        alone.inputs = [indices.index(i) if i >= 0 else -1 for i in operator.inputs]
        alone.outputs = [indices.index(i) for i in operator.outputs]
        inputs = [i for i in dict.fromkeys(alone.inputs) if i >= 0 and not tensors[i].buffer]
        part = schema.SubGraphT(tensors=tensors, inputs=inputs, outputs=alone.outputs, operators=[alone], name="main")
        builder = flatbuffers.Builder(1 << 16)
        whole = schema.ModelT(version=3, operatorCodes=[code], subgraphs=[part], buffers=buffers)
        builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
        name = _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
        outputs = tuple(tensors[i].name.decode() for i in alone.outputs)
        yield SingleStep(name, outputs, bytes(builder.Output()))
