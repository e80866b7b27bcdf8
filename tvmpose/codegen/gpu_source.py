"""The part of a library's generated C that is about its GPU: kernels, launches, what is copied, in gpu.h's terms."""

from dataclasses import dataclass

from tvmpose.codegen.device_code import Kernel
from tvmpose.codegen.plan import Plan

PARTS = ("warp_packed", "warp_nv12", "network", "decode")
FIRST_FRAME_PIXELS = 1280 * 720 * 4  # bytes that a handle has room for from the start


@dataclass(frozen=True)
class Image:
    """A piece of device code: "SOURCE", "CUBIN" or "PTX" of gpu.h; capability: CUDA's, 10 * major + minor."""

    kind: str
    code: bytes
    capability: int = 0


@dataclass(frozen=True)
class PlannedLaunch:
    """args: indices into Plan.tensors; step: among those that a profile tells apart."""

    kernel: str
    grid: tuple[int, int, int]
    args: tuple[int, ...]
    step: int


@dataclass(frozen=True)
class GpuTables:
    """api: "OPENCL" or "CUDA". launches: by part, one of PARTS. downloads: pairs of tensors, device's and host's."""

    api: str
    images: tuple[Image, ...]
    kernels: dict[str, Kernel]
    launches: dict[str, tuple[PlannedLaunch, ...]]
    downloads: tuple[tuple[int, int], ...]
    needs_fp16: bool
    any_device: bool

    @property
    def code(self) -> bytes:
        """All images, each with a zero byte behind it, at the offsets that gpu_tables writes."""
        return b"".join(image.code.ljust(_room(image), b"\0") for image in self.images)


def gpu_tables(plan: Plan, gpu: GpuTables, symbol: str) -> str:
    """C that defines `gpu`, a tvmpose_gpu; needs the symbol NAME_code at link time."""
    order = list(gpu.kernels)
    launches = [launch for part in PARTS for launch in gpu.launches.get(part, ())]
    ends = [0]
    for part in PARTS:
        ends.append(ends[-1] + len(gpu.launches.get(part, ())))
    lines = [f"extern TVMPOSE_HIDDEN const uint8_t {symbol}_code[];", _images(gpu)]
    lines += [_table("tvmpose_gpu_kernel", "gpu_kernels", [_kernel(gpu.kernels[name]) for name in order])]
    lines += [f"static const uint16_t gpu_args_{i}[] = {_braced(launch.args)};" for i, launch in enumerate(launches)]
    rows = [
        f"{{{order.index(launch.kernel)}, {launch.step}, {_braced(launch.grid)}, gpu_args_{i}}}, /* {launch.kernel} */"
        for i, launch in enumerate(launches)
    ]
    lines += [_table("tvmpose_gpu_launch", "gpu_launches", rows)]
    lines += [_table("tvmpose_gpu_download", "gpu_downloads", [f"{{{a}, {b}}}," for a, b in gpu.downloads])]
    fields = {
        "code": f"{symbol}_code",
        "images": "gpu_images",
        "num_images": len(gpu.images),
        "kernels": "gpu_kernels",
        "num_kernels": len(order),
        "launches": "gpu_launches" if launches else "NULL",
        "begins": _braced(ends),
        "downloads": "gpu_downloads" if gpu.downloads else "NULL",
        "num_downloads": len(gpu.downloads),
        "arena_bytes": plan.arena_bytes,
        "alignment": plan.alignment,
        "matrix_offset": plan.alignment,
        "head_bytes": 2 * plan.alignment,
        "first_frame_bytes": 2 * plan.alignment + FIRST_FRAME_PIXELS if gpu.launches.get("warp_packed") else 0,
        "max_threads": max(kernel.block[0] * kernel.block[1] * kernel.block[2] for kernel in gpu.kernels.values()),
        "max_shared_bytes": max(k.shared_bytes + k.dynamic_shared_bytes for k in gpu.kernels.values()),
        "needs_fp16": int(gpu.needs_fp16),
        "any_device": int(gpu.any_device),
    }
    body = "\n".join(f"    .{key} = {value}," for key, value in fields.items())
    return "\n".join([*filter(None, lines), f"static const tvmpose_gpu gpu = {{\n{body}\n}};"])


def _images(gpu: GpuTables) -> str:
    rows, offset = [], 0
    for image in gpu.images:
        rows.append(f"{{TVMPOSE_{image.kind}, {image.capability}, {offset}, {len(image.code)}}},")
        offset += _room(image)
    return _table("tvmpose_gpu_image", "gpu_images", rows)


def _room(image: Image) -> int:
    """A zero byte follows an image, and the next one is aligned as structures in a cubin have to be."""
    return len(image.code) // 64 * 64 + 64


def _kernel(kernel: Kernel) -> str:
    facts = f"{kernel.shared_bytes}, {kernel.dynamic_shared_bytes}, {kernel.num_args}"
    return f'{{"{kernel.entry}", {_braced(kernel.block)}, {facts}}},'


def _table(kind: str, name: str, rows: list[str]) -> str:
    if not rows:
        return ""
    return "\n".join([f"static const {kind} {name}[] = {{", *(f"    {row}" for row in rows), "};"])


def _braced(numbers: tuple[int, ...] | list[int]) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"
