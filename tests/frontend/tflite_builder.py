"""TFLite files from Python, operator by operator, through the schema's own object API; LiteRT's answers for them."""

from collections.abc import Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

TYPES = {name.lower(): code for name, code in vars(schema.TensorType).items() if isinstance(code, int)}


@dataclass(frozen=True)
class Scale:
    """What the integers of a tensor stand for: scale * (integer - zero point), per tensor or along an axis."""

    scale: Sequence[float]
    zero_point: Sequence[int]
    axis: int = 0

    def table(self) -> object:
        scale, zero_point = np.array(self.scale, "float32"), np.array(self.zero_point, "int64")
        return schema.QuantizationParametersT(scale=scale, zeroPoint=zero_point, quantizedDimension=self.axis)


class TFLiteBuilder:
    """One graph. Tensors are indices; ``model`` may be changed before ``file`` packs it."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name="main")
        nothing = schema.BufferT()  # by convention the first buffer is empty: tensors without data point at it
        self.model = schema.ModelT(version=3, operatorCodes=[], subgraphs=[self.graph], buffers=[nothing])

    def tensor(
        self, shape: Sequence[int], dtype: str = "float32", name: str | None = None, scale: Scale | None = None
    ) -> int:
        """A tensor without data; its index."""
        index = len(self.graph.tensors)
        tensor = schema.TensorT(shape=list(shape), type=TYPES[dtype], buffer=0, name=name or f"tensor {index}")
        tensor.quantization = scale and scale.table()
        self.graph.tensors.append(tensor)
        return index

    def input(
        self, shape: Sequence[int], dtype: str = "float32", name: str | None = None, scale: Scale | None = None
    ) -> int:
        """An input of the graph; its index."""
        self.graph.inputs.append(self.tensor(shape, dtype, name, scale))
        return self.graph.inputs[-1]

    def constant(self, array: np.ndarray, scale: Scale | None = None) -> int:
        """A tensor with data; its index."""
        index = self.tensor(array.shape, array.dtype.name, scale=scale)
        self.graph.tensors[index].buffer = len(self.model.buffers)
        self.model.buffers.append(schema.BufferT(data=np.frombuffer(array.tobytes(), np.uint8)))
        return index

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: object = None, version: int = 1
    ) -> None:
        """``options`` is one of the schema's option tables, as schema.AddOptionsT; a "CUSTOM x" is called x."""
        custom = name.removeprefix("CUSTOM ") if name.startswith("CUSTOM ") else None
        builtin = schema.BuiltinOperator.CUSTOM if custom else getattr(schema.BuiltinOperator, name)
        code = schema.OperatorCodeT(min(builtin, 127), custom, version, builtin)
        kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T")) if options else 0
        operator = schema.OperatorT(
            opcodeIndex=len(self.model.operatorCodes),
            inputs=list(inputs),
            outputs=list(outputs),
            builtinOptionsType=kind,
            builtinOptions=options,
        )
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)

    def file(self) -> bytes:
        """The finished file."""
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def interpreter(file: bytes) -> Interpreter:
    """LiteRT with its reference kernels, which say what an operator means."""
    loaded = Interpreter(model_content=file, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    loaded.allocate_tensors()
    return loaded


def with_shapes(builder: TFLiteBuilder) -> bytes:
    """The finished file; the outputs' shapes are those that LiteRT computes."""
    for detail in interpreter(builder.file()).get_tensor_details():
        if detail["index"] < len(builder.graph.tensors):  # behind them stand LiteRT's own
            builder.graph.tensors[detail["index"]].shape = list(map(int, detail["shape"]))
    return builder.file()


def run_litert(file: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    loaded = interpreter(file)
    for detail, array in zip(loaded.get_input_details(), inputs, strict=True):
        loaded.set_tensor(detail["index"], array)
    loaded.invoke()
    return [loaded.get_tensor(detail["index"]) for detail in loaded.get_output_details()]
