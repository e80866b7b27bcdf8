"""OpenVINO, CPU, float32, in its latency mode; quantized layers as it likes. It reads .tflite and .onnx itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino

OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1"}


def open_model(path: str | Path, *, threads: int = 1) -> "OpenVINO":
    """Load a .tflite, .onnx or .xml file."""
    return OpenVINO(Path(path), threads)


class OpenVINO:
    """A model in OpenVINO; see tvmpose.baselines.peers.Runtime. Its outputs live until the next run."""

    def __init__(self, path: Path, threads: int) -> None:
        self.name = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        options = {**OPTIONS, "INFERENCE_NUM_THREADS": threads}
        self.model = openvino.Core().compile_model(path, "CPU", options)
        self.request = self.model.create_infer_request()

    @property
    def settings(self) -> str:
        """As the compiled model has them, which need not be as they were asked for."""
        hint, precision = (self.model.get_property(name) for name in ("PERFORMANCE_HINT", "INFERENCE_PRECISION_HINT"))
        return f"{str(hint).lower()} mode, {precision.get_type_name()}{self._integer_layers()}"

    def _integer_layers(self) -> str:
        """Convolutions that are computed in bytes, whatever the hint says: names of such kernels end with _I8."""
        layers = [operator.get_rt_info() for operator in self.model.get_runtime_model().get_ops()]
        convolutions = [layer for layer in layers if layer["layerType"].astype(str) == "Convolution"]
        integer = sum(layer["primitiveType"].astype(str).endswith("_I8") for layer in convolutions)
        return f", {integer} of {len(convolutions)} convolutions in int8" if integer else ""

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Without copies on either side, which is as fast as its binding can be."""
        results = self.request.infer(dict(enumerate(inputs)), share_inputs=True, share_outputs=True)
        return [results[output] for output in self.model.outputs]
