"""The tensors of a TFLite file: name, shape, type, the data of constants, and how integers are scaled."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import tflite

from tvmpose.errors import ModelError
from tvmpose.modelspec import TensorSpec
from tvmpose.qdq import Quantization

_DTYPES = {
    tflite.TensorType.FLOAT32: "float32",
    tflite.TensorType.FLOAT16: "float16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.UINT8: "uint8",
    tflite.TensorType.INT64: "int64",
    tflite.TensorType.BOOL: "bool",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT8: "int8",
}
_QUANTIZED = ("int8", "uint8", "int16", "int32")
_INDEX_VECTORS = {
    tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
    tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
    tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
}
_MAX_RANK, _MAX_ELEMENTS = 8, 2**31


class Tensors:
    """By the file's own index. Raises ModelError for what we do not support, and IndexError, ValueError for damage."""

    def __init__(self, model: tflite.Model, graph: tflite.SubGraph, data: bytes):
        self.model, self.data = model, data
        self.tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
        self.arrays: dict[int, np.ndarray] = {}
        self.quantizations: dict[int, Quantization | None] = {}

    def __len__(self) -> int:
        return len(self.tensors)

    def spec(self, index: int) -> TensorSpec:
        """Name, shape and dtype of a tensor of the file."""
        tensor = entry(self.tensors.__getitem__, len(self.tensors), index)
        name = (tensor.Name() or b"").decode()
        dtype = _DTYPES.get(tensor.Type())
        if dtype is None:
            raise ModelError(f"tensor {name} has the unsupported type {tensor.Type()}")
        shape = tuple(map(int, tensor.ShapeAsNumpy())) if tensor.ShapeLength() else ()
        if len(shape) > _MAX_RANK or any(n < 0 for n in shape) or prod(shape) > _MAX_ELEMENTS:
            raise ModelError(f"tensor {name} has the unsupported shape {list(shape[:_MAX_RANK])}")
        return TensorSpec(name, shape, dtype)

    def array(self, index: int) -> np.ndarray | None:
        """The data of a constant, in the file's dtype; None for what is computed."""
        if index in self.arrays:
            return self.arrays[index]
        spec = self.spec(index)
        buffer = entry(self.model.Buffers, self.model.BuffersLength(), self.tensors[index].Buffer())
        if buffer.DataLength():
            raw = buffer.DataAsNumpy().tobytes()
        elif buffer.Offset() > 1:  # files over 2 GB, and ai-edge-quantizer's, keep their data behind the flatbuffer
            raw = self.data[buffer.Offset() : buffer.Offset() + buffer.Size()]
        elif 0 in spec.shape:  # the shape of a scalar, for one
            raw = b""
        else:
            return None
        values, sparsity = np.frombuffer(raw, spec.dtype), self.tensors[index].Sparsity()
        self.arrays[index] = values.reshape(spec.shape) if sparsity is None else _dense(values, spec.shape, sparsity)
        return self.arrays[index]

    def quantization(self, index: int) -> Quantization | None:
        """How an integer tensor maps to numbers; None for floats and for plain integers."""
        if index not in self.quantizations:
            self.quantizations[index] = self._quantization(index)
        return self.quantizations[index]

    def alias(self, source: int, result: int) -> None:
        """Let the result be the same constant as the source: what DENSIFY and DEQUANTIZE make of one."""
        array = self.array(source)
        assert array is not None
        self.arrays[result], self.quantizations[result] = array, self.quantization(source)

    def _quantization(self, index: int) -> Quantization | None:
        spec, table = self.spec(index), self.tensors[index].Quantization()
        if table is None or not table.ScaleLength() or spec.dtype not in _QUANTIZED:
            return None
        if table.DetailsType():
            raise ModelError(f"tensor {spec.name} is quantized in blocks or in a custom way, which is not supported")
        scale = np.asarray(table.ScaleAsNumpy(), "float32")
        zero_point = np.asarray(table.ZeroPointAsNumpy() if table.ZeroPointLength() else 0)
        limits = np.iinfo(spec.dtype)
        if (zero_point < limits.min).any() or (zero_point > limits.max).any():
            raise ValueError(f"zero point of tensor {spec.name} outside {spec.dtype}")
        axis, shape = int(table.QuantizedDimension()), scale.shape
        if scale.size == 1:
            axis, shape = 0, ()
        elif not 0 <= axis < len(spec.shape) or spec.shape[axis] != scale.size:
            raise ValueError(f"{scale.size} scales for tensor {spec.name} of shape {list(spec.shape)}")
        zero_point = np.broadcast_to(zero_point.astype("int32"), scale.shape).reshape(shape)
        return Quantization(scale.reshape(shape), zero_point, spec.dtype, axis)


def _dense(values: np.ndarray, shape: tuple[int, ...], sparsity: tflite.SparsityParameters) -> np.ndarray:
    """A sparse constant with its zeros.

    The format (schema.fbs, SparsityParameters) is a tree: one level for each dimension in traversal order, blocks'
    dimensions behind the tensor's; a level is dense, or lists its children as compressed rows do.
    """
    rank = len(shape)
    order = [int(n) for n in sparsity.TraversalOrderAsNumpy()]
    mapped = [int(n) for n in sparsity.BlockMapAsNumpy()] if sparsity.BlockMapLength() else []
    levels = [entry(sparsity.DimMetadata, sparsity.DimMetadataLength(), i) for i in range(len(order))]
    if sorted(order) != list(range(rank + len(mapped))):
        raise ValueError(f"sparse tensor of rank {rank} with the dimensions {order}")
    block = {d: levels[order.index(rank + i)].DenseSize() for i, d in enumerate(mapped)}
    coordinates: dict[int, np.ndarray] = {}  # dimension -> that of each node, at the level reached
    nodes = 1
    for dimension, level in zip(order, levels, strict=True):
        if level.Format() == tflite.DimensionType.DENSE:
            size = level.DenseSize()
            if nodes * size > prod(shape):
                raise ValueError("sparse tensor with more elements than its shape")
            segments, indices = np.arange(nodes + 1) * size, np.tile(np.arange(size), nodes)
        else:
            segments, indices = _indices(level, "ArraySegments"), _indices(level, "ArrayIndices")
            if len(segments) != nodes + 1 or segments[-1] != len(indices):
                raise ValueError("sparse tensor whose segments do not match")
        coordinates = {d: np.repeat(c, np.diff(segments)) for d, c in coordinates.items()}
        coordinates[dimension], nodes = indices, len(indices)
    for i, dimension in enumerate(mapped):
        coordinates[dimension] = coordinates[dimension] * block[dimension] + coordinates[rank + i]
    if len(values) != nodes or any((coordinates[d] < 0).any() for d in range(rank)):
        raise ValueError(f"sparse tensor of {len(values)} values for {nodes} places")
    dense_values = np.zeros(shape, values.dtype)
    dense_values[tuple(coordinates[d] for d in range(rank))] = values
    return dense_values


def _indices(level: tflite.DimensionMetadata, field: str) -> np.ndarray:
    vector = _INDEX_VECTORS[getattr(level, f"{field}Type")()]()
    table = getattr(level, field)()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy() if vector.ValuesLength() else [], "int64")


def entry(get: Callable[[int], Any], count: int, index: int) -> Any:
    """One element of a vector. flatbuffers itself reads on past its end, and Python's lists from behind."""
    if not 0 <= index < count:
        raise IndexError(f"index {index} into {count} entries")
    return get(index)
