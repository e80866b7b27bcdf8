"""From pixels to keypoints on a GPU: the kernels around a network, and their tensors, as its card wants them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tvm.tirx import PrimFunc

from tvmpose.cards.card import Card
from tvmpose.cards.heads import DetectionHead, PartsHead
from tvmpose.codegen.c_source import PixelSteps
from tvmpose.codegen.pixels import warp_facts
from tvmpose.codegen.plan import Call, Plan, Tensor
from tvmpose.kernels.decoders import kernel_of
from tvmpose.kernels.gpu_decode import decodes_on_gpu, gpu_decode_kernel
from tvmpose.kernels.gpu_warp import gpu_warp_kernel
from tvmpose.modelspec import ModelSpec


@dataclass
class GpuPixels:
    """What leads from pixels to keypoints. steps: as the host sees them, its decode too where the GPU has none."""

    steps: PixelSteps
    kernels: dict[str, PrimFunc] = field(default_factory=dict)  # the device's
    host_kernels: dict[str, PrimFunc] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)  # by part: warp_packed, warp_nv12, decode
    downloads: list[tuple[int, int]] = field(default_factory=list)  # of the device, of the host


def add_gpu_pixel_steps(plan: Plan, spec: ModelSpec, card: Card) -> GpuPixels:
    """Add the tensors to the plan, before it is placed. A frame begins with its head: geometry, then the matrix."""
    geometry, matrix, image = (
        _add(plan, name, shape, dtype, frame_offset=index * plan.alignment)
        for index, (name, shape, dtype) in enumerate(
            (("geometry", (8,), "int32"), ("matrix", (6,), "float32"), ("pixels", (0,), "uint8"))
        )
    )
    on_gpu = decodes_on_gpu(card.head)
    calls = {name: Call(name, (image, geometry, matrix, plan.inputs[0])) for name in ("warp_packed", "warp_nv12")}
    kernels = {name: _warp(name, spec, card) for name in calls}
    heads = [plan.outputs[index] for index in card.head.tensors]
    host_matrix = plan.add_permanent("host_matrix", (6,), "float64", host=True)
    if on_gpu:
        steps, results = _results(plan, card, host_matrix)
        calls["decode"] = Call("decode", (*heads, matrix, results[0]))
        kernels["decode"] = gpu_decode_kernel(card.head, **_decode_facts(spec, card))
        return GpuPixels(steps, kernels, {}, calls, [results])
    copies = [
        plan.add_permanent(f"host_{plan.tensors[head].name}", plan.tensors[head].shape, "float32", host=True)
        for head in heads
    ]
    steps = _host_decode(plan, card, host_matrix, copies)
    host = {"decode": kernel_of(card.head, **_decode_facts(spec, card))}
    return GpuPixels(steps, kernels, host, calls, list(zip(heads, copies, strict=True)))


def _add(plan: Plan, name: str, shape: tuple[int, ...], dtype: str, *, frame_offset: int) -> int:
    plan.tensors.append(Tensor(name, shape, dtype, None, frame_offset=frame_offset))
    return len(plan.tensors) - 1


def _results(plan: Plan, card: Card, matrix: int) -> tuple[PixelSteps, tuple[int, int]]:
    """One small copy: all keypoints, and the person's score behind them."""
    count = len(card.keypoints.keypoints)
    device = plan.add_permanent("results", (count * 3 + 1,), "float32")
    host = plan.add_permanent("host_results", (count * 3 + 1,), "float32", host=True)
    storage = plan.tensors[host].storage
    plan.tensors.append(Tensor("person", (1,), "float32", storage, storage_offset=count * 3 * 4))
    return _steps(card, matrix, host, len(plan.tensors) - 1, None, {}), (device, host)


def _host_decode(plan: Plan, card: Card, matrix: int, heads: list[int]) -> PixelSteps:
    count = len(card.keypoints.keypoints)
    most = card.head.max_people if isinstance(card.head, (DetectionHead, PartsHead)) else 1
    keypoints = plan.add_permanent("keypoints", (most * count * 3,), "float32", host=True)
    person = plan.add_permanent("person", (most,), "float32", host=True)
    people: dict[str, int] = {}
    if card.head.finds_people:
        boxes = plan.add_permanent("boxes", (most * 4,), "float32", host=True)
        found = plan.add_permanent("found", (1,), "int32", host=True)
        people = {"boxes": boxes, "found": found, "most_found": most}
    call = Call("decode", (*heads, matrix, keypoints, person, *list(people.values())[:2]))
    return _steps(card, matrix, keypoints, person, call, people)


def _steps(
    card: Card, matrix: int, keypoints: int, person: int, decode: Call | None, people: Mapping[str, int]
) -> PixelSteps:
    return PixelSteps(
        warp_packed=None,
        warp_nv12=None,
        decode=decode,
        image=0,  # the host reads the pixels itself
        chroma=0,
        geometry=0,
        matrix=matrix,
        keypoints=keypoints,
        person=person,
        keypoint_names=card.keypoints.keypoints,
        input_width=card.input.width,
        input_height=card.input.height,
        crop_padding=card.crop.padding,
        half_pixel_centers=card.crop.pixel_centers == "half",
        **people,
    )


def _warp(name: str, spec: ModelSpec, card: Card) -> PrimFunc:
    return gpu_warp_kernel(
        "nv12" if name == "warp_nv12" else "packed",
        name=name,
        **warp_facts(spec.inputs[0], card.input, card.crop),
    )


def _decode_facts(spec: ModelSpec, card: Card) -> dict[str, Any]:
    return {
        "name": "decode",
        "shapes": [spec.outputs[index].shape for index in card.head.tensors],
        "num_keypoints": len(card.keypoints.keypoints),
        "input_size": (card.input.width, card.input.height),
        "half_pixel_centers": card.crop.pixel_centers == "half",
    }
