"""Random but fixed weights with which a network behaves like a trained one, for testing the compiler.

Batch norm takes its statistics from synthetic pictures, so that every layer works in its usual range; the last features
are sparse and each joint has its own few of them, so that every heatmap has a clear peak, near 1 over a floor of 0, at
a place of its own that moves with the picture. Such a network finds no people.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

SPARSITY = 1.5  # standard deviations by which a last feature must exceed its mean to be seen
CHANNELS_OF_JOINT = 4
PICTURES = 4
COLOUR, CONTRAST, BLACK = 0.3, 1.2, -2.05  # of photos, normalised as ImageNet's are


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Weights made inside are the same each time; the caller's random state stays untouched."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        yield


def heatmap_net(
    net: nn.Module, norm: nn.BatchNorm2d, features: nn.Module, last: nn.Conv2d, size: tuple[int, int]
) -> nn.Module:
    """``net`` with such weights, in eval mode.

    ``features``: the activation whose result ``last``, a 1x1 convolution, turns into heatmaps; ``norm``: a batch norm
    whose result is, or is added to, what ``features`` gets; ``size``: the input's (height, width). To be called inside
    ``seeded``.
    """
    randomize(net)
    nn.init.normal_(last.weight)
    own_channels(last)
    pictures = synthetic_pictures(PICTURES, size)
    calibrate(net, pictures)
    make_sparse(norm, watched(features, lambda: net(pictures)))
    set_floor_and_height(net, last, pictures)
    return net.eval()


def randomize(net: nn.Module) -> None:
    """Weights of convolutions whose scale does not matter, batch norm following; others stay as torch has them."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and layer.bias is None:
            nn.init.normal_(layer.weight)


def own_channels(last: nn.Conv2d) -> None:
    """Give each of the last convolution's outputs its own few inputs, of positive weight.

    Where there are fewer inputs than that they are dealt out again from the first, in another combination.
    """
    joints, channels = last.weight.shape[:2]
    each = min(CHANNELS_OF_JOINT, channels)
    own = torch.zeros(joints, channels)
    for joint in range(joints):
        turn, first = divmod(joint * each, channels)
        own[joint, [(first + i * (turn + 1)) % channels for i in range(each)]] = 1
    last.weight.abs_().mul_(own.reshape(last.weight.shape))


def calibrate(net: nn.Module, pictures: Tensor) -> None:
    """Set the statistics of every batch norm to those of ``pictures``."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # the running statistics are those of the pictures, whatever they were before
    net.train()
    net(pictures)
    net.eval()


def standardize(net: nn.Module, run: Callable[[], object]) -> None:
    """Give what each layer with weights and a bias makes in ``run`` a mean of 0 and a variance of 1, by channel.

    Layer by layer in the order of the computation; of a layer that runs more than once the first time decides.
    """
    done: set[nn.Module] = set()

    def adjust(layer: nn.Module, _: object, result: Tensor) -> Tensor | None:
        if layer in done:
            return None
        done.add(layer)
        others = [axis for axis in range(result.ndim) if axis != 1]
        mean, deviation = result.mean(others), result.std(others).clamp(min=1e-6)
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0  # of the weights' outputs
        shape = [-1 if index == axis else 1 for index in range(layer.weight.ndim)]
        layer.weight.div_(deviation.reshape(shape))
        layer.bias.copy_((layer.bias - mean) / deviation)
        channels = [-1 if index == 1 else 1 for index in range(result.ndim)]
        return (result - mean.reshape(channels)) / deviation.reshape(channels)

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    layers = [layer for layer in net.modules() if isinstance(layer, kinds) and layer.bias is not None]
    handles = [layer.register_forward_hook(adjust) for layer in layers]
    run()
    for handle in handles:
        handle.remove()


def make_sparse(norm: nn.BatchNorm2d, seen: Tensor) -> None:
    """Shift ``norm`` so that of ``seen``, what it adds to, only what exceeds its mean by SPARSITY remains above 0."""
    norm.bias.sub_(seen.mean((0, 2, 3)) + SPARSITY * seen.std((0, 2, 3)))


def watched(layer: nn.Module, run: Callable[[], object]) -> Tensor:
    """What ``layer`` is given while ``run`` runs."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    run()
    handle.remove()
    return seen[-1]


def set_floor_and_height(net: nn.Module, last: nn.Conv2d, pictures: Tensor) -> None:
    """Scale the heatmaps' medians to 0 and their highest peaks to 1."""
    assert last.bias is not None
    last.bias.zero_()
    heatmaps = net(pictures).transpose(0, 1).flatten(1)
    floor, peak = heatmaps.median(1).values, heatmaps.amax(1)
    height = (peak - floor).clamp(min=1e-6)
    last.weight.div_(height.reshape(-1, 1, 1, 1))
    last.bias.copy_(-floor / height)


def synthetic_pictures(count: int, size: tuple[int, int]) -> Tensor:
    """Noise of every scale, as strong at each as natural images are: N x 3 x height x width, mean 0, variance 1."""
    height, width = size
    pictures = torch.zeros(count, 3, height, width)
    for octave in range(7):
        noise = torch.randn(count, 3, max(height >> octave, 1), max(width >> octave, 1))
        pictures += nn.functional.interpolate(noise, (height, width), mode="bilinear")
    return (pictures - pictures.mean()) / pictures.std()


def photo_like_pictures(count: int, size: tuple[int, int]) -> Tensor:
    """Synthetic pictures with what photos of people have: colours that hardly differ, and black above and below.

    Deep networks whose batch norm has not seen these grow from layer to layer on photos, as no trained one does.
    """
    pictures = synthetic_pictures(count, size)
    grey = pictures.mean(1, keepdim=True)
    pictures = grey + COLOUR * (pictures - grey)
    pictures *= CONTRAST / pictures.std()
    for turn, picture in enumerate(pictures):
        if turn % 2 == 0:
            rows = size[0] // (4 if turn % 4 == 0 else 8)
            picture[:, :rows] = picture[:, -rows:] = BLACK
    return pictures


def smoothed(weights: Tensor, deviation: float) -> Tensor:
    """Random rows (n, ...) blurred along the first axis: neighbours become alike, as bins of a coordinate are."""
    places = torch.arange(len(weights), dtype=weights.dtype)
    blur = torch.exp(-((places[:, None] - places) ** 2) / (2 * deviation**2))
    return torch.tensordot(blur / blur.norm(dim=1, keepdim=True), weights, 1)
