"""One model, one target with a GPU, one library: as library.py, with device code in place of the network's objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.codegen.cuda import cuda_images
from tvmpose.codegen.device_code import DeviceCode, Launch, Scratch, compile_device
from tvmpose.codegen.gpu_pixels import GpuPixels, add_gpu_pixel_steps
from tvmpose.codegen.gpu_source import GpuTables, Image, PlannedLaunch
from tvmpose.codegen.half_storage import halve_activations, with_half_arguments
from tvmpose.codegen.kernel_object import compile_kernels, kernels_of
from tvmpose.codegen.library import Library, Work
from tvmpose.codegen.link import Compiled, link_library
from tvmpose.codegen.names import Names
from tvmpose.codegen.plan import Call, Plan, plan_module
from tvmpose.compact import Compact
from tvmpose.errors import InputError, ModelError
from tvmpose.passes.pipeline import finish_pipeline
from tvmpose.qdq import is_quantized
from tvmpose.targets import Gpu, Target, needed_features

if TYPE_CHECKING:
    from tvm.ir import IRModule


def finish_gpu_library(module: "IRModule", target: Target, names: Names, directory: Path, work: Work) -> Library:
    """DIRECTORY/libNAME.so for what begin_pipeline returned. Raises ModelError for what has no kernels on GPUs."""
    gpu, progress = target.gpu, work.progress
    assert gpu is not None
    if is_quantized(module["main"]):
        raise ModelError(f"{target.name}: quantized models have no kernels for GPUs yet: choose a target without one")
    if work.guard_bytes:
        raise InputError(f"--guard-bytes: {target.name} computes on a GPU, whose memory is not watched")
    half = work.weights is Compact.FLOAT16
    if half and gpu.api == "cuda" and not gpu.tensor_cores:
        raise InputError(f"--precision float16: {target.name} has no tensor cores, which are what it is for on CUDA")
    module = finish_pipeline(module, target.llvm(), work.after_phase, weights=work.weights, gpu=gpu)
    half = half and gpu.api == "opencl"  # in memory; tensor cores take theirs from float32
    plan = plan_module(module, gpu.alignment, half)
    plan.name_ends(work.spec)
    functions = kernels_of(module)
    pixels = add_gpu_pixel_steps(plan, work.spec, work.card) if work.card else None
    device = compile_device({**functions, **(pixels.kernels if pixels else {})}, names.symbol, gpu, target.llvm())
    calls: dict[int | str, Call] = dict(enumerate(plan.calls))
    calls.update(pixels.calls if pixels else {})
    by_call = {key: device.launches[call.kernel] for key, call in calls.items()}
    if half:
        halve_activations(plan)
        changed = with_half_arguments(device, plan, calls)
        device, by_call = changed.code, dict(changed.launches)
    launches = _launches(plan, by_call, pixels)
    plan.place()
    progress("plan", plan.summary(f", {sum(map(len, launches.values()))} launches"))
    tables = GpuTables(
        gpu.api.upper(),
        device_images(device, gpu),
        dict(device.kernels),
        launches,
        tuple(pixels.downloads) if pixels else (),
        False,
        gpu.any_device,
    )
    progress(
        "kernels", f"{len(device.kernels)} kernels, {sum(len(image.code) for image in tables.images) / 1e3:.0f} kB"
    )
    host = pixels.host_kernels if pixels else {}
    workspace = compile_kernels(host, names.symbol, target.llvm(), directory / "kernels.o") if host else 0
    features = needed_features(target) if host else frozenset()
    steps = pixels.steps if pixels else None
    compiled = Compiled(plan, functions, steps, len(device.kernels), workspace, features, tables)
    return link_library(compiled, target, names, directory, work)


def device_images(device: DeviceCode, gpu: Gpu) -> tuple[Image, ...]:
    """The device code as it lies in a library."""
    if gpu.api == "opencl":
        return (Image("SOURCE", device.source.encode()),)
    assert gpu.arch is not None and gpu.driver is not None
    return cuda_images(device.source, (gpu.arch, *gpu.also), gpu.driver)


def _launches(
    plan: Plan, launches: Mapping[int | str, tuple[Launch, ...]], pixels: GpuPixels | None
) -> dict[str, tuple[PlannedLaunch, ...]]:
    """By part of a frame; scratch between the kernels of a call gets tensors of its own in the plan."""
    network = [_of(plan, launches[index], call, index + 1) for index, call in enumerate(plan.calls)]
    parts = {"network": tuple(launch for call in network for launch in call)}
    for part, call in (pixels.calls if pixels else {}).items():
        parts[part] = tuple(_of(plan, launches[part], call, len(plan.calls) + 1 if part == "decode" else 0))
    return parts


def _of(plan: Plan, launches: tuple[Launch, ...], call: Call, step: int) -> list[PlannedLaunch]:
    scratch: dict[int, int] = {}

    def tensor(arg: int | Scratch) -> int:
        if isinstance(arg, int):
            return call.args[arg]
        if id(arg) not in scratch:
            name = f"{call.kernel}_scratch"
            position = step - 1 if step <= len(plan.calls) else len(plan.calls)
            scratch[id(arg)] = plan.add_tensor(name, arg.shape, arg.dtype, position, position)
        return scratch[id(arg)]

    return [PlannedLaunch(launch.kernel, launch.grid, tuple(map(tensor, launch.args)), step) for launch in launches]
