"""From pixels to keypoints: the kernels before and after a network, and their tensors, as its card wants them."""

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from tvm.tirx import PrimFunc

from tvmpose.cards.card import Card, Crop, Input
from tvmpose.cards.heads import DetectionHead, Head, PartsHead
from tvmpose.codegen.c_source import PixelSteps
from tvmpose.codegen.plan import Call, Plan, Tensor
from tvmpose.errors import ModelError
from tvmpose.kernels.decoders import kernel_of
from tvmpose.kernels.warp import warp_kernel
from tvmpose.modelspec import ModelSpec, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


def add_pixel_steps(plan: Plan, spec: ModelSpec, card: Card) -> "tuple[PixelSteps, Mapping[str, PrimFunc]]":
    """Add the tensors to the plan, before it is placed; returns the steps and their kernels by name."""
    count, half = len(card.keypoints.keypoints), card.crop.pixel_centers == "half"
    most = card.head.max_people if isinstance(card.head, (DetectionHead, PartsHead)) else 1
    geometry = plan.add_permanent("geometry", (8,), "int32")
    matrix = plan.add_permanent("matrix", (6,), "float64")
    keypoints = plan.add_permanent("keypoints", (most * count * 3,), "float32")
    person = plan.add_permanent("person", (most,), "float32")
    image, chroma = (_caller_tensor(plan, name) for name in ("image", "chroma"))
    head = [plan.outputs[index] for index in card.head.tensors]
    people = {}
    if card.head.finds_people:
        boxes, found = plan.add_permanent("boxes", (most * 4,), "float32"), plan.add_permanent("found", (1,), "int32")
        people = {"boxes": boxes, "found": found, "most_found": most}
    steps = PixelSteps(
        warp_packed=Call("warp_packed", (image, geometry, matrix, plan.inputs[0])),
        warp_nv12=Call("warp_nv12", (image, chroma, geometry, matrix, plan.inputs[0])),
        decode=Call("decode", (*head, matrix, keypoints, person, *list(people.values())[:2])),
        image=image,
        chroma=chroma,
        geometry=geometry,
        matrix=matrix,
        keypoints=keypoints,
        person=person,
        keypoint_names=card.keypoints.keypoints,
        input_width=card.input.width,
        input_height=card.input.height,
        crop_padding=card.crop.padding,
        half_pixel_centers=half,
        **people,
    )
    picture, outputs = spec.inputs[0], tuple(output.shape for output in spec.outputs)
    kernels = {name: _warp(name, picture, card.input, card.crop) for name in ("warp_packed", "warp_nv12")}
    return steps, {**kernels, "decode": _decode(outputs, count, card.input, card.crop, card.head)}


def check_card(spec: ModelSpec, card: Card) -> None:
    """Raise ModelError where the card cannot be this model's."""
    if len(spec.inputs) != 1:
        raise ModelError(f"card {card.name} is for a network with one input, this one has {len(spec.inputs)}")
    shape, expected = spec.inputs[0].shape, (card.input.height, card.input.width)
    if layout_of(shape) is None or _spatial(shape) != expected:
        raise ModelError(
            f"card {card.name} expects an input of {expected} pixels (height, width), the model has {shape}"
        )
    head = card.head
    for index in head.reads:
        if index >= len(spec.outputs):
            raise ModelError(f"card {card.name} reads output {index}, the model has {len(spec.outputs)} outputs")
        if spec.outputs[index].dtype != "float32":
            raise ModelError(
                f"card {card.name} reads floats, output {index} is {spec.outputs[index].dtype}: compile without a card"
            )
    shape, count = spec.outputs[head.tensor].shape, len(card.keypoints.keypoints)
    if not isinstance(head, Head):
        outputs = tuple(output.shape for output in spec.outputs)
        _decode(outputs, count, card.input, card.crop, head)  # raises where shapes do not fit
        return
    if head.kind == "heatmap" and count not in (shape[1], shape[-1]):
        raise ModelError(f"card {card.name} expects {count} heatmaps, output {head.tensor} has shape {shape}")
    if head.kind == "coordinates" and prod(shape) < count * len(head.fields):
        raise ModelError(
            f"card {card.name} expects {count} rows of {len(head.fields)}, output {head.tensor} has shape {shape}"
        )
    if head.person_tensor is not None and prod(spec.outputs[head.person_tensor].shape) != 1:
        raise ModelError(
            f"card {card.name} reads one score from output {head.person_tensor}, which is no single number"
        )


def layout_of(shape: tuple[int, ...]) -> Literal["NHWC", "NCHW"] | None:
    """The layout of a picture tensor with three channels, or None for another shape."""
    if len(shape) != 4 or shape[0] != 1:
        return None
    return "NHWC" if shape[3] == 3 else "NCHW" if shape[1] == 3 else None


def _spatial(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:3] if layout_of(shape) == "NHWC" else shape[2:4]


@lru_cache(maxsize=8)  # parsing takes as long as all passes together, and no target decides anything of it
def _warp(name: str, picture: TensorSpec, preparation: Input, crop: Crop) -> PrimFunc:
    return warp_kernel(
        "nv12" if name == "warp_nv12" else "packed",
        name=name,
        **warp_facts(picture, preparation, crop),
    )


def warp_facts(picture: TensorSpec, preparation: Input, crop: Crop) -> dict[str, Any]:
    """What a warp does, whatever computes it."""
    return {
        "input_shape": picture.shape,
        "input_dtype": picture.dtype,
        "layout": layout_of(picture.shape) or "NHWC",
        "colour": preparation.colour,
        "mean": preparation.mean,
        "std": preparation.std,
        "border": crop.border,
        "downscale": crop.downscale,
    }


@lru_cache(maxsize=4)
def _decode(
    outputs: tuple[tuple[int, ...], ...], num_keypoints: int, preparation: Input, crop: Crop, head: Head
) -> PrimFunc:
    return kernel_of(
        head,
        name="decode",
        shapes=[outputs[index] for index in head.tensors],
        num_keypoints=num_keypoints,
        input_size=(preparation.width, preparation.height),
        half_pixel_centers=crop.pixel_centers == "half",
    )


def _caller_tensor(plan: Plan, name: str) -> int:
    """Pixels that stay where the caller has them; the runtime sets address and size for each frame."""
    plan.tensors.append(Tensor(name, (0,), "uint8", None))
    return len(plan.tensors) - 1
