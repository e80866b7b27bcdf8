"""A network as it runs on an NVIDIA GPU: its kernels in the order of a frame, what each costs and its cubin says."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from tvmpose.codegen.cubin import KernelResources, kernel_resources
from tvmpose.codegen.cuda import nvrtc_for, without_spills
from tvmpose.codegen.device_code import compile_device
from tvmpose.codegen.plan import plan_module
from tvmpose.compact import Compact
from tvmpose.compile import import_network, resolve
from tvmpose.kernels.cost import Cost, kernel_cost
from tvmpose.passes.pipeline import begin_pipeline, finish_pipeline
from tvmpose.targets import host_target, load_target

NETWORKS: Mapping[str, tuple[str, str | None]] = {  # a card's model, or a file of $TVMPOSE_DATA/models and its card
    "blazepose-lite": ("blazepose-lite", None),
    "edvardhua-cpm": ("edvardhua_cpm_192.tflite", "edvardhua-cpm"),
    "mobilenetv2-deconv": ("models/mobilenetv2-deconv", None),
}


@dataclass(frozen=True)
class GpuKernel:
    """What one function of the network does in a frame, all of its calls together."""

    network: str
    name: str
    calls: int
    launches: int  # in a frame
    cost: Cost  # of a call
    block: tuple[int, int, int]
    shared_bytes: int  # of a block, dynamic shared memory included
    resources: KernelResources  # of its launch that needs the most registers

    @property
    def multiply_adds(self) -> int:
        return self.calls * self.cost.multiply_adds


@cache
def gpu_kernels(
    network: str, model: Path, card: str | None, target_name: str, half: bool = False
) -> tuple[GpuKernel, ...]:
    """The network's kernels for a target with an NVIDIA GPU, warp and decode aside. half: as --precision float16."""
    target = load_target(target_name)
    assert target.gpu is not None
    weights = Compact.FLOAT16 if half else None
    begun, silent = _begun(model, card), lambda phase, module: None
    module = finish_pipeline(begun, target.llvm(), silent, weights=weights, gpu=target.gpu)
    functions = {var.name_hint: f for var, f in module.functions_items() if isinstance(f, PrimFunc)}
    device = compile_device(functions, "net", target.gpu, target.llvm())
    cubin, _ = without_spills(nvrtc_for(str(target.gpu.driver)), device.source, str(target.gpu.arch))
    resources = {kernel.name: kernel for kernel in kernel_resources(cubin)}
    calls = [call.kernel for call in plan_module(module, target.gpu.alignment).calls]
    rows = []
    for name in dict.fromkeys(calls):
        entries = [launch.kernel for launch in device.launches[name]]
        heaviest = max(entries, key=lambda entry: resources[entry].registers)
        kernel, its = device.kernels[heaviest], resources[heaviest]
        shared = its.shared_bytes + kernel.dynamic_shared_bytes
        count = calls.count(name)
        cost = kernel_cost(functions[name])
        rows.append(GpuKernel(network, name, count, count * len(entries), cost, kernel.block, shared, its))
    return tuple(rows)


@cache
def _begun(model: Path, card: str | None) -> IRModule:
    """What no target decides."""
    options = resolve(str(model), card=card, target=host_target(), output=None, verify=False)
    return begin_pipeline(import_network(options).module, lambda phase, module: None)
