"""Runtimes in turns, each in a process of its own."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FakeBundle
from tvmpose.benchmark import duel as module
from tvmpose.benchmark.duel import Contestant, Outcome, Refusal, Rounds, duel, largest_difference
from tvmpose.benchmark.frame import FrameSize
from tvmpose.errors import SetupError

QUICK = Rounds(count=2, seconds=0.001)
INPUTS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.int8)]


def test_duel__two_of_ours__both_measured_and_equal(fake_bundle: FakeBundle):
    first, second, pixels = duel(
        [Contestant("tvmpose", fake_bundle(name=name), 1) for name in "ab"]
        + [Contestant("tvmpose", fake_bundle(name="c"), 1, FrameSize(64, 48))],
        INPUTS,
        QUICK,
    )
    assert isinstance(first, Outcome) and isinstance(second, Outcome) and isinstance(pixels, Outcome)
    assert first.name == "tvmpose 0.0.0" and first.settings == "compiled for host"
    assert (second.difference, pixels.difference) == (0.0, None)
    assert first.timing.frames >= 10 and 0 < first.timing.best_ms <= first.timing.median_ms <= first.timing.p95_ms


def test_duel__peer_that_refuses_the_file__is_a_refusal_with_its_reason(fake_bundle: FakeBundle, tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="needs the extra verify")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    contestants = [Contestant("tvmpose", fake_bundle(), 1), Contestant("onnxruntime", tmp_path / "bad.onnx", 1)]
    ours, refusal = duel(contestants, INPUTS, QUICK)
    assert isinstance(ours, Outcome) and isinstance(refusal, Refusal)
    assert "bad.onnx" in refusal.reason and "\n" not in refusal.reason


def test_duel__ours_cannot_run__one_line(fake_bundle: FakeBundle):
    with pytest.raises(SetupError, match=r"cannot be measured: .*avx9000"):
        duel([Contestant("tvmpose", fake_bundle("FAKE_NEEDS=1"), 1)], INPUTS, QUICK)


def test_duel__processes__are_leaders_of_their_groups_and_gone_afterwards(fake_bundle: FakeBundle, monkeypatch):
    seen = []

    class Seen(module._Process):
        def run(self, seconds: float, counts: bool) -> None:
            seen.append((self.process.pid, os.getpgid(self.process.pid)))
            super().run(seconds, counts)

    monkeypatch.setattr(module, "_Process", Seen)
    bundle = fake_bundle()
    duel([Contestant("tvmpose", bundle, 1), Contestant("tvmpose", bundle, 2)], INPUTS, QUICK)
    pids = [pid for pid, _ in seen]
    assert all(pid == group for pid, group in seen)
    assert pids == pids[:2] * (module.WARM_UP_ROUNDS + QUICK.count) and len(set(pids)) == 2  # A B A B A B
    for pid in set(pids):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_largest_difference__other_tensors__none():
    ones = np.ones((2, 3), np.float32)
    assert largest_difference([ones * 2], [ones * 4]) == 0.5
    assert largest_difference([ones], [ones.T]) is None
    assert largest_difference([ones], [ones, ones]) is None
