"""When a library disagrees with its source model: where along the network it begins."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvmpose.codegen.library import compile_library
from tvmpose.frontend.source import Source
from tvmpose.targets import Target

LIMIT = 1e-3  # of a tensor's maximum


def first_divergence(source: Source, target: Target, tensor: np.ndarray) -> str:
    """One clause that names the first tensor of the source model that ours differs from, for this input.

    Compiles the model once more with every intermediate tensor as an output: kernels are then fused less.
    """
    from tvmpose.runtime.pose import open_library

    names = source.tensor_names()
    module, spec = source.load(outputs=names)
    with tempfile.TemporaryDirectory() as directory:
        library = compile_library(module, spec, None, replace(target, name="host"), "divergence", Path(directory))
        with open_library(library.path, "divergence") as pose:
            found = pose.run_tensors([tensor])
    expected = source.judge().run([tensor], names)
    for name, ours, theirs in zip(names, found, expected, strict=True):
        difference = np.abs(ours.astype("float64") - theirs).max() / max(np.abs(theirs).max(), 1e-30)
        if not difference <= LIMIT:
            return f"the first tensor that diverges is {name} {theirs.shape}, by {difference:.2g} of its maximum"
    return (
        "every single tensor agrees, so it lies in how kernels are fused or in what comes before or after the network"
    )
