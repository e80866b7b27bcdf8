"""The machine's limits: the loops compute what they say, for the instructions that are asked for."""

import ctypes

import numpy as np
import pytest

from tvmpose.benchmark import roofline
from tvmpose.benchmark.machine import this_machine
from tvmpose.benchmark.roofline import Roofline, measure_roofline, vectors_for
from tvmpose.errors import SetupError
from tvmpose.targets import host_target, needed_features

HOST = host_target()
FEATURES = sorted(needed_features(HOST))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return roofline._compile(HOST.triple, vectors_for(HOST.triple, FEATURES), tmp_path_factory.mktemp("roofline"))


@pytest.mark.parametrize(
    ("triple", "features", "expected"),
    [
        ("x86_64-linux-gnu", ["avx512f", "fma"], 64),
        ("x86_64-linux-gnu", ["avx2", "fma"], 32),
        ("x86_64-linux-gnu", [], 16),
        ("aarch64-linux-gnu", ["neon"], 16),
    ],
)
def test_vectors_for__features__the_widest(triple, features, expected):
    assert vectors_for(triple, features).bytes == expected


def test_vectors_for__unknown_architecture__says_so():
    with pytest.raises(SetupError, match="riscv64"):
        vectors_for("riscv64-linux-gnu", [])


def test_multiply_add__few_repeats__as_float64_computes_it(library):
    vectors = vectors_for(HOST.triple, FEATURES)
    chains = np.arange(vectors.accumulators) * 1.0
    for _ in range(5):
        chains = chains * 0.5 + 1.0
    assert library.multiply_add(5, 0.5, 1.0) == pytest.approx(chains.sum() * vectors.bytes / 4, rel=1e-6)


def test_scale_memory__all_of_it__scaled(library):
    source, destination = roofline._aligned(4096), roofline._aligned(4096)
    source.view(np.float32)[:] = np.arange(1024)
    library.scale_memory(source.ctypes.data, destination.ctypes.data, 4096, 2, 0.5)
    np.testing.assert_array_equal(destination.view(np.float32), np.arange(1024) / 2)


def test_measure_roofline__this_machine__two_positive_limits(monkeypatch):
    monkeypatch.setattr(roofline, "ATTEMPTS", 2)
    monkeypatch.setattr(roofline, "SECONDS", 0.001)
    limits = measure_roofline(HOST.triple, FEATURES, this_machine().l2_bytes, 1 << 20, 2)
    assert min(limits.multiply_adds, limits.l2_bandwidth, limits.frame_bandwidth) > 1e6


def test_memory_seconds__more_than_l2__at_the_frame_s_bandwidth():
    limits = Roofline(threads=2, multiply_adds=1e9, l2_bytes=1000, l2_bandwidth=1e6, frame_bandwidth=1e5)
    assert limits.memory_seconds(2000) == pytest.approx(0.002)
    assert limits.memory_seconds(2001) == pytest.approx(0.02001)
