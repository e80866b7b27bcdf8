"""When a library disagrees with its source model: where along the network it begins."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvmpose import gate
from tvmpose.codegen.library import compile_library
from tvmpose.devices.machine import Machine
from tvmpose.frontend.source import Source

if TYPE_CHECKING:
    from tvmpose.kernels.requantize import Rounding

LIMIT = 1e-3  # of a tensor's maximum


def first_divergence(source: Source, machine: Machine, tensor: np.ndarray, rounding: "Rounding | None" = None) -> str:
    """One clause that names the first tensor of the source model that ours differs from, for this input.

    rounding: of a quantized model, whose tensors are compared in steps. Compiles the model once more with every
    intermediate tensor as an output: kernels are then fused less.
    """
    names = source.tensor_names()
    module, spec = source.load(outputs=names)
    with tempfile.TemporaryDirectory() as directory:
        library = compile_library(module, spec, None, machine.target, "divergence", Path(directory), rounding=rounding)
        with machine.open(library.path, "divergence", spec) as pose:
            found = pose.run_tensors([tensor])
    expected = source.judge(rounding=rounding and rounding.value).run([tensor], names)
    for name, ours, theirs in zip(names, found, expected, strict=True):
        if how := _in_steps(ours, theirs) if rounding else _of_maximum(ours, theirs):
            name = name.partition(";")[0]  # TFLite's converter lists all that it fused
            return f"the first tensor that diverges is {name} {theirs.shape}, {how}"
    return (
        "every single tensor agrees, so it lies in how kernels are fused or in what comes before or after the network"
    )


def _of_maximum(ours: np.ndarray, theirs: np.ndarray) -> str | None:
    difference = np.abs(ours.astype("float64") - theirs).max() / max(np.abs(theirs).max(), 1e-30)
    return None if difference <= LIMIT else f"by {difference:.2g} of its maximum"


def _in_steps(ours: np.ndarray, theirs: np.ndarray) -> str | None:
    steps = gate.steps_apart(ours, theirs, None if theirs.dtype.kind == "f" else 1)
    within = gate.share_within_step(steps)
    if within >= gate.QUANTIZED_SHARE:
        return None
    return f"{1 - within:.1%} of it by more than a step, up to {steps.max():.0f}"
