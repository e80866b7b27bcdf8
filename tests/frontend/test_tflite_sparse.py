"""Sparse constants of TFLite files: decoded at import as LiteRT's DENSIFY does."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frontend.tflite_builder import TFLiteBuilder, run_litert
from tests.frontend.virtual_machine import run
from tvmpose.baselines.litert import open_model
from tvmpose.errors import ModelError
from tvmpose.frontend.tflite import load

DATA = os.environ.get("TVMPOSE_DATA")
DENSE, SPARSE = schema.DimensionType.DENSE, schema.DimensionType.SPARSE_CSR
VECTORS = {
    name: (getattr(schema.SparseIndexVector, f"{name}Vector"), getattr(schema, f"{name}VectorT"))
    for name in ("Int32", "Uint16", "Uint8")
}


def dense_dimension(size: int) -> object:
    return schema.DimensionMetadataT(format=DENSE, denseSize=size)


def sparse_dimension(segments: np.ndarray, indices: np.ndarray, vector: str) -> object:
    kind, table = VECTORS[vector]
    segments, indices = (values.astype(vector.lower()) for values in (segments, indices))
    return schema.DimensionMetadataT(SPARSE, 0, kind, table(segments), kind, table(indices))


def compressed(matrix: np.ndarray, block: int, transposed: bool, vector: str) -> tuple[np.ndarray, object]:
    """Values and description: outer dimension dense, the inner one compressed in blocks of this many."""
    outer = matrix.T if transposed else matrix
    blocks = outer.reshape(len(outer), -1, block)
    kept = blocks.any(-1)
    levels = [
        dense_dimension(len(outer)),
        sparse_dimension(np.append(0, kept.sum(1).cumsum()), kept.nonzero()[1], vector),
    ]
    order, block_map = ([1, 0] if transposed else [0, 1]), []
    if block > 1:
        levels.append(dense_dimension(block))
        order, block_map = [*order, 2], [order[1]]
    return blocks[kept].flatten(), schema.SparsityParametersT(order, block_map, levels)


def file_with(values: np.ndarray, sparsity: object, shape: tuple[int, ...]) -> TFLiteBuilder:
    """x + the sparse matrix."""
    builder = TFLiteBuilder()
    x, matrix, y = builder.input(shape), builder.tensor(shape), builder.tensor(shape)
    sparse = builder.constant(values)
    builder.graph.tensors[sparse].shape, builder.graph.tensors[sparse].sparsity = list(shape), sparsity
    builder.operator("DENSIFY", [sparse], [matrix], schema.DensifyOptionsT())
    builder.operator("ADD", [x, matrix], [y], schema.AddOptionsT())
    builder.graph.outputs.append(y)
    return builder


@st.composite
def sparse_matrices(draw: st.DrawFn) -> tuple[np.ndarray, int, bool, str]:
    block, transposed = draw(st.sampled_from([1, 2, 4])), draw(st.booleans())
    shape = (draw(st.integers(1, 6)), block * draw(st.integers(1, 5)))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    matrix = random.standard_normal(shape, dtype="float32") * (random.random(shape) < draw(st.floats(0, 0.9)))
    matrix[0, 0] = 1  # LiteRT has no constants without data
    return (matrix.T.copy() if transposed else matrix), block, transposed, draw(st.sampled_from(sorted(VECTORS)))


@settings(max_examples=25, deadline=None)
@given(sparse_matrices())
def test_load__sparse_constant__is_what_litert_s_densify_makes_of_it(drawn):
    matrix, block, transposed, vector = drawn
    file = file_with(*compressed(matrix, block, transposed, vector), matrix.shape).file()
    x = np.zeros(matrix.shape, "float32")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(file)
        ours = run(load(path)[0], x)[0]
    np.testing.assert_array_equal(ours, matrix)
    np.testing.assert_array_equal(ours, run_litert(file, [x])[0])


def damage(what: str, values: np.ndarray, sparsity: object) -> np.ndarray:
    """The values; the description is changed in place."""
    sparse = sparsity.dimMetadata[1]
    if what == "order":
        sparsity.traversalOrder = [0, 0]
    elif what == "segments":
        sparse.arraySegments.values = sparse.arraySegments.values[:-1]
    elif what == "index":
        sparse.arrayIndices.values[0] = 99
    elif what == "negative index":
        sparse.arrayIndices.values[0] = -1
    elif what == "size":
        sparsity.dimMetadata[0].denseSize = 2**30
    elif what == "levels":
        del sparsity.dimMetadata[1]
    return values[:-1] if what == "values" else values


@pytest.mark.parametrize("what", ["order", "segments", "index", "negative index", "size", "levels", "values"])
def test_load__impossible_sparsity__is_refused(tmp_path, what):
    values, sparsity = compressed(np.eye(4, dtype="float32"), 1, False, "Int32")
    builder = file_with(damage(what, values, sparsity), sparsity, (4, 4))
    path = tmp_path / "model.tflite"
    path.write_bytes(builder.file())
    with pytest.raises(ModelError, match=r"model\.tflite is damaged"):
        load(path)


@pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")
@pytest.mark.slow
def test_real_model__sparse_weights__outputs_agree_with_litert():
    path = Path(DATA or ".") / "models" / "pose_detection.tflite"
    module, spec = load(path)
    data = np.random.default_rng(0).random(spec.inputs[0].shape, dtype="float32")
    for ours, theirs in zip(run(module, data), open_model(path).run([data]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
