"""What a frontend says about a model besides its graph."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a network: NumPy dtype name, static shape, the source file's own tensor name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ModelSpec:
    """The border between frontends and the rest: every frontend returns (IRModule, ModelSpec).

    The module has one function, ``main``, taking the inputs and returning the outputs as a tuple, both in this order
    and in the source's own layout and dtype.
    """

    source_format: str  # "tflite", "onnx" or "torch"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
