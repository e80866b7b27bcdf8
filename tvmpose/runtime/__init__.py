"""The device half: load a compiled bundle and run it. Needs NumPy, and nothing of the compiler."""

from tvmpose.runtime.pose import (
    BundleError,
    Info,
    MachineError,
    Person,
    Pose,
    PoseError,
    TamperedError,
    TensorInfo,
    UsageError,
    load,
)

__all__ = [
    "BundleError",
    "Info",
    "MachineError",
    "Person",
    "Pose",
    "PoseError",
    "TamperedError",
    "TensorInfo",
    "UsageError",
    "load",
]
