"""LiteRT's kernels by name: what is open is what was asked for, and they differ as they are known to."""

import os
from pathlib import Path

import numpy as np
import pytest

from tvmpose.baselines.litert import KERNELS, open_model

DATA = os.environ.get("TVMPOSE_DATA")
MODELS = Path(DATA or ".") / "models"
pytestmark = pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")
QUANTIZED = MODELS / "movenet_single_pose_lightning_ptq.tflite"


def test_open_model__each_kind_of_kernels__only_the_default_has_xnnpack():
    for kernels in KERNELS:
        judge = open_model(QUANTIZED, kernels=kernels)
        assert ("XNNPACK OFF" in judge.settings) == (kernels != "default")
        assert judge.name.endswith(f", {kernels} kernels") == (kernels != "default")


def test_run__intermediate_tensor__is_that_of_the_kernels_asked_for():
    """The normalised pixels: XNNPACK rounds half of them another way."""
    judges = {kernels: open_model(QUANTIZED, kernels=kernels) for kernels in KERNELS}
    image = np.random.default_rng(0).integers(0, 256, judges["default"].inputs[0].shape, "uint8")
    found = {kernels: judge.run([image], ["sub_1"])[0].astype(int) for kernels, judge in judges.items()}
    apart = {kernels: np.abs(values - found["reference"]) for kernels, values in found.items()}
    assert apart["optimized"].max() <= 1 and apart["default"].max() == 1
    assert (apart["default"] > 0).mean() > (apart["optimized"] > 0).mean()
