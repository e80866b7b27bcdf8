"""A convolution, compiled for a board and run there as candidates of tuning are: a static program."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvmpose.codegen.library import compile_library
from tvmpose.codegen.toolchain import RUNTIME_SOURCES, toolchain_for
from tvmpose.devices.agent import static_target
from tvmpose.devices.device import Device
from tvmpose.errors import VerifyError
from tvmpose.targets import Target
from tvmpose.tools import run_tool

PROGRAM = Path(__file__).parent.parent / "benchmark" / "board_run.c"
_SIDE, _CHANNELS = 12, 16
_SECONDS = 0.1
_RUN_SECONDS = 60.0
_CLOSE = 1e-4  # relative, of sums of 144 products in float32


def check_kernel(device: Device, target: Target, folder: Path) -> str:
    """What it took, in a line. Files are made in ``folder``.

    Raises DeviceError where it cannot be run there, VerifyError where it crashes or computes something else, and
    SetupError where it cannot be built.
    """
    random = np.random.default_rng(0)
    picture = random.standard_normal((1, _SIDE, _SIDE, _CHANNELS), np.float32)
    weights = random.standard_normal((3, 3, _CHANNELS, _CHANNELS), np.float32)
    (folder / "inputs.bin").write_bytes(picture.tobytes())
    program = _build(weights, target, folder)
    done = device.run(
        program, ["-", "-", "inputs.bin", "1", str(_SECONDS)], timeout=_RUN_SECONDS, files=[folder / "inputs.bin"]
    )
    if done.code != 0:
        last = (done.error.strip().splitlines() or [f"code {done.code}"])[-1]
        raise VerifyError(f"a convolution for {target.name} does not run on {device.name}: {last} (code {done.code})")
    count = struct.unpack_from("<Q", done.output)[0]
    times = np.frombuffer(done.output, "<u8", count, 8)
    found = np.frombuffer(done.output, "<f4", offset=8 + 8 * count).reshape(_SIDE, _SIDE, _CHANNELS)
    expected = convolve(picture[0], weights)
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    if difference > _CLOSE:
        raise VerifyError(f"{device.name} computes a convolution for {target.name} wrongly: off by {difference:.1e}")
    return f"a convolution for {target.name}, {np.median(times) / 1e3:.0f} µs, off by {difference:.0e}"


def convolve(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """3×3 with one pixel of zeros around, in float64. picture (H, W, C), weights (3, 3, C, O) -> (H, W, O)."""
    height, width, _ = picture.shape
    padded = np.pad(picture.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    taps = [(padded[y : y + height, x : x + width], weights[y, x]) for y in range(3) for x in range(3)]
    return np.asarray(sum(part @ tap for part, tap in taps))


def _build(weights: np.ndarray, target: Target, folder: Path) -> Path:
    from tvm import relax

    from tvmpose.frontend.module_spec import with_spec

    variable = relax.Var("x", relax.TensorType((1, _SIDE, _SIDE, _CHANNELS), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [variable]):
        with builder.dataflow():
            constant = relax.const(weights)
            result = builder.emit(
                relax.op.nn.conv2d(variable, constant, padding=1, data_layout="NHWC", kernel_layout="HWIO")
            )
            output = builder.emit_output(relax.Tuple([result]))
        builder.emit_func_output(output)
    module, spec = with_spec(builder.get(), "tflite", ["x"], ["y"])
    variant = target.variants[0]
    static = replace(static_target(variant), cpu=variant.cpu, attributes=variant.attributes)
    library = compile_library(module, spec, None, replace(static, linker="none"), "check", folder)
    program = folder / "kernel-check"
    flags = ("-std=c11", "-O2", "-static", "-pthread", "-DENTRY=check_tvmpose", f"-I{RUNTIME_SOURCES}")
    run_tool((*toolchain_for(static).cc, *flags, str(PROGRAM), str(library.archive), "-lm", "-o", str(program)), folder)
    return program
