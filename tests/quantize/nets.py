"""Small float networks of the kinds that quantization treats differently."""

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op as R

from tests.native import network

LAYOUT = {"data_layout": "NHWC", "out_layout": "NHWC"}
SHAPE = (1, 8, 8, 6)


def emit(value: relax.Expr) -> relax.Expr:
    return relax.BlockBuilder.current().emit(value)


def residual_net(seed: int = 0, uneven: float = 1.0) -> tvm.IRModule:
    """conv + relu6 -> depthwise + relu6 -> linear conv -> added to the first -> relu -> conv: a block of MobileNet.

    uneven: how many times further the last of the first layer's channels reaches than its first.
    """
    random = np.random.default_rng(seed)
    reach = np.geomspace(1.0, uneven, 6)

    def weight(*shape: int) -> relax.Expr:
        return relax.const((random.standard_normal(shape) / np.sqrt(shape[0] * shape[1] * shape[2])).astype("float32"))

    def bias(extent: int) -> relax.Expr:
        return relax.const(random.uniform(-0.2, 0.4, extent).astype("float32"))

    def build(x: relax.Expr) -> relax.Expr:
        first = (random.standard_normal((1, 1, 6, 6)) / np.sqrt(6) / uneven * reach).astype("float32")
        stem = emit(R.nn.conv2d(x, relax.const(first), kernel_layout="HWIO", **LAYOUT))
        wide = emit(R.nn.conv2d(stem, weight(1, 1, 6, 12), kernel_layout="HWIO", **LAYOUT))
        wide = emit(R.clip(emit(R.add(wide, bias(12))), 0.0, 6.0))
        deep = emit(R.nn.conv2d(wide, weight(3, 3, 12, 1), kernel_layout="HWOI", groups=12, padding=(1, 1), **LAYOUT))
        deep = emit(R.clip(emit(R.add(deep, bias(12))), 0.0, 6.0))
        branch = emit(R.nn.conv2d(deep, weight(1, 1, 12, 6), kernel_layout="HWIO", **LAYOUT))
        joined = emit(R.nn.relu(emit(R.add(stem, emit(R.add(branch, bias(6)))))))
        return R.add(emit(R.nn.conv2d(joined, weight(3, 3, 6, 5), kernel_layout="HWIO", **LAYOUT)), bias(5))

    return network(build, SHAPE)


def pictures(count: int = 8, seed: int = 1) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.uniform(0, 1, SHAPE).astype("float32") for _ in range(count)]
