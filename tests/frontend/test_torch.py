"""PyTorch in: against PyTorch; and the network that models/mobilenetv2-deconv defines."""

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tests.frontend.virtual_machine import run
from tvmpose.baselines.judge import open_judge
from tvmpose.errors import ModelError
from tvmpose.frontend.torch import export, from_program, load, load_module, load_net, tensor_names
from tvmpose.modelspec import TensorSpec
from tvmpose.passes.fold_batch_norm import fold_batch_norm

NET = Path(__file__).parents[2] / "models" / "mobilenetv2-deconv" / "net.py"
DATA = os.environ.get("TVMPOSE_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")


def normalised(module: nn.Module) -> nn.Module:
    """The module in eval mode, its batch norms with statistics that are not trivial."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return module.eval()


def small_net() -> nn.Module:
    layers = [
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2),
        nn.BatchNorm2d(6),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(6),
    ]
    return normalised(nn.Sequential(*layers))


def assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


IMAGE = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 3, 16, 12), dtype="float32"))


def test_load_module__small_net__agrees_with_torch():
    program = export(small_net(), IMAGE)
    module, spec = from_program(program)
    assert spec.source_format == "torch"
    assert spec.inputs == (TensorSpec("input", (1, 3, 16, 12), "float32"),)
    assert [output.shape for output in spec.outputs] == [(1, 6, 8, 6)]
    (theirs,) = open_judge(program, "torch").run([IMAGE.numpy()])
    assert_close(run(module, IMAGE.numpy())[0], theirs)


class Selecting(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x[:, -1], x[..., -2], x[:, 0]


def test_load_module__select_from_the_end__agrees_with_torch():
    """TVM's own converter reads in front of the tensor there."""
    x = torch.arange(24, dtype=torch.float32).reshape(1, 3, 8)
    module, _ = load_module(Selecting().eval(), x)
    for ours, theirs in zip(run(module, x.numpy()), Selecting()(x), strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())


def test_load_module__operator_we_lack__is_named_with_its_places_and_an_alternative():
    class Sampling(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.det(torch.linalg.det(x))

    with pytest.raises(ModelError, match=r"unsupported torch operators: _linalg_det\.default at \w+, \w+") as caught:
        load_module(Sampling().eval(), torch.ones(1, 2, 2, 3, 3)[..., :2, :2])
    assert "\n" not in str(caught.value)


def test_load__named_intermediates__agree_with_torch(tmp_path):
    program = export(small_net(), IMAGE)
    torch.export.save(program, tmp_path / "net.pt2")
    names = ["hardswish", "conv2d"]
    module, spec = load(tmp_path / "net.pt2", outputs=names)
    assert [output.name for output in spec.outputs] == names
    theirs = open_judge(program, "torch").run([IMAGE.numpy()], names)
    for our, their in zip(run(module, IMAGE.numpy()), theirs, strict=True):
        assert_close(our, their)


def test_tensor_names__every_name__can_be_returned_and_agrees():
    program = export(small_net(), IMAGE)
    names = tensor_names(program)
    assert len(names) == len(small_net())
    module, _ = from_program(program, outputs=names)
    theirs = open_judge(program, "torch").run([IMAGE.numpy()], names)
    for our, their in zip(run(fold_batch_norm(module), IMAGE.numpy()), theirs, strict=True):
        assert_close(our, their)


def test_load_module__several_outputs__keeps_their_order():
    class Two(nn.Module):
        def forward(self, x):
            return x.relu(), {"heat": x.amax((2, 3)), "cold": nn.functional.adaptive_max_pool2d(x, (4, 3))}

    module, spec = load_module(Two().eval(), IMAGE)
    assert [output.shape for output in spec.outputs] == [(1, 3, 16, 12), (1, 3), (1, 3, 4, 3)]
    relu, heat, cold = Two()(IMAGE)[0], *Two()(IMAGE)[1].values()
    for ours, theirs in zip(run(module, IMAGE.numpy()), (relu, heat, cold), strict=True):
        assert_close(ours, theirs.numpy())


def test_fold_batch_norm__small_net__only_a_scale_behind_the_pooling_remains():
    module, _ = load_module(small_net(), IMAGE)
    folded = fold_batch_norm(module)
    text = folded.script()
    assert "batch_norm" not in text
    assert_close(run(folded, IMAGE.numpy())[0], run(module, IMAGE.numpy())[0])


def test_load_module__training_mode__is_refused():
    with pytest.raises(ModelError, match="training mode"):
        load_module(small_net().train(), IMAGE)


def test_load_module__unsupported_operator__is_named_with_all_its_nodes():
    class Unsupported(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x) + torch.special.bessel_j0(x + 1)

    with pytest.raises(ModelError, match=r"special_bessel_j0.default at special_bessel_j0, special_bessel_j0_1"):
        load_module(Unsupported().eval(), IMAGE)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"text"])
def test_load__not_a_program__is_one_clear_line(tmp_path, content):
    path = tmp_path / "net.pt2"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"not a program saved by torch\.export\.save"):
        load(path)


def test_load__truncated_program__is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(export(small_net(), IMAGE), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"not a program saved by torch\.export\.save"):
        load(path)


def test_load_net__file_without_build__is_refused(tmp_path):
    (tmp_path / "net.py").write_text("answer = 42\n")
    with pytest.raises(ModelError, match="defines no build"):
        load_net(tmp_path / "net.py")
    with pytest.raises(ModelError, match="not a Python file"):
        load_net(tmp_path / "absent.py")


def test_mobilenetv2_deconv__built_twice__is_the_same_and_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    first, second = load_net(NET).state_dict(), load_net(NET).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_mobilenetv2_deconv__multiply_accumulates__are_what_net_py_says():
    net, counted = load_net(NET), []

    def count(layer, inputs, output):
        # A kernel is laid on every output element of a convolution, on every input element of a deconvolution.
        places = output if isinstance(layer, nn.Conv2d) else inputs[0]
        counted.append(places.numel() * layer.weight[0].numel())

    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(count)
    net(torch.zeros(1, 3, 256, 192))
    assert round(sum(counted) / 1e6) == 564


@needs_data
def test_mobilenetv2_deconv__photos__have_clear_distinct_peaks_that_move():
    net = load_net(NET)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    peaks = []
    for path in sorted((Path(DATA) / "coco" / "val2017").glob("*.jpg"))[:10]:
        pixels = cv2.resize(cv2.imread(str(path)), (192, 256))[:, :, ::-1] / 255
        picture = torch.from_numpy((pixels - mean) / deviation).float().permute(2, 0, 1)[None]
        with torch.no_grad():
            heatmaps = net(picture)[0].flatten(1)
        height = (heatmaps.amax(1) - heatmaps.mean(1)) / heatmaps.std(1)
        assert height.min() > 5, path.name
        assert heatmaps.amax(1).min() > 0.25, path.name
        peaks.append(heatmaps.argmax(1))
        assert len(set(peaks[-1].tolist())) >= 14, path.name
    for first, second in pairwise(peaks):
        assert (first != second).sum() >= 16
