"""The decode kernel of each kind of head."""

from collections.abc import Callable, Sequence

from tvm import tirx

from tvmpose.cards.heads import AnyHead, CentreHead, DetectionHead, Head, PartsHead, SimccHead
from tvmpose.kernels.centre import centre_kernel
from tvmpose.kernels.decode import decode_kernel
from tvmpose.kernels.detections import detections_kernel
from tvmpose.kernels.parts import parts_kernel
from tvmpose.kernels.simcc import simcc_kernel

DECODERS: dict[type, Callable[..., tirx.PrimFunc]] = {
    Head: decode_kernel,
    SimccHead: simcc_kernel,
    CentreHead: centre_kernel,
    DetectionHead: detections_kernel,
    PartsHead: parts_kernel,
}


def kernel_of(
    head: AnyHead,
    *,
    name: str,
    shapes: Sequence[Sequence[int]],
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel_centers: bool,
) -> tirx.PrimFunc:
    """Return the decode kernel of ``head``, called ``name``; ``shapes``: those of the outputs ``head.tensors``.

    For the others and for its arguments see the kernels themselves. Raises ModelError for shapes that do not fit.
    """
    return DECODERS[type(head)](
        head,
        name=name,
        shapes=shapes,
        num_keypoints=num_keypoints,
        input_size=input_size,
        half_pixel_centers=half_pixel_centers,
    )
