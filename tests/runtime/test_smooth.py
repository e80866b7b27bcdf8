"""Smoothing: each filter against its textbook form, C against Python, and what it is for."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.conftest import CSRC, Builder
from tvmpose.runtime import smooth

FPS = 25


def video(frames: int = 60, joints: int = 5, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Seconds, and keypoints (frames, joints, 3) of someone of 200 pixels who waves, with noise."""
    random = np.random.default_rng(seed)
    seconds = np.arange(frames) / FPS + 3
    phase = np.linspace(0, 2, joints)
    wave = np.stack(
        [100 + 40 * np.sin(2 * seconds[:, None] + phase), 90 + 25 * np.cos(3 * seconds[:, None] + phase)], 2
    )
    scores = random.uniform(0.05, 1, (frames, joints, 1))
    return seconds, np.concatenate([wave + random.normal(0, noise, wave.shape), scores], 2).astype(np.float32)


def through(smoother: smooth.Smoother, seconds: np.ndarray, keypoints: np.ndarray, size: float = 200) -> np.ndarray:
    return np.stack([smoother(joints, float(now), size) for now, joints in zip(seconds, keypoints, strict=True)])


def one_euro_by_the_paper(seconds: np.ndarray, values: np.ndarray, size: float) -> list[float]:
    """Algorithm 1 of Casiez et al., of one number in units of the person's size."""
    out: list[float] = []
    previous = speed = 0.0
    alpha = lambda cutoff, period: 1 / (1 + 1 / (2 * math.pi * cutoff) / period)  # noqa: E731
    for i, value in enumerate(float(v) / size for v in values):
        if i == 0:
            out.append(value)
        else:
            period = seconds[i] - seconds[i - 1]
            a = alpha(1.0, period)
            speed = a * (value - previous) / period + (1 - a) * speed
            a = alpha(1.5 + 12.0 * abs(speed), period)
            out.append(a * value + (1 - a) * out[-1])
        previous = value
    return [value * size for value in out]


def kalman_by_matrices(seconds: np.ndarray, values: np.ndarray, scores: np.ndarray, size: float) -> list[float]:
    """Predict and update as in any textbook, in pixels."""
    state, covariance = np.array([values[0], 0.0], float), np.diag([0.02**2, 1.0]) * size**2
    out, measure = [float(values[0])], np.array([[1.0, 0.0]])
    for i in range(1, len(values)):
        dt = seconds[i] - seconds[i - 1]
        move = np.array([[1, dt], [0, 1]])
        disturbance = (1.0 * size) ** 2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        state, covariance = move @ state, move @ covariance @ move.T + disturbance
        noise = (0.02 * size / min(max(scores[i], 0.1), 1)) ** 2
        gain = covariance @ measure.T @ np.linalg.inv(measure @ covariance @ measure.T + noise)
        state = state + (gain @ (values[i] - measure @ state)).ravel()
        covariance = (np.eye(2) - gain @ measure) @ covariance
        out.append(float(state[0]))
    return out


def test_one_euro__a_wave__is_the_papers():
    seconds, keypoints = video()
    found = through(smooth.OneEuro(), seconds, keypoints)
    for joint, axis in ((0, 0), (3, 1)):
        expected = one_euro_by_the_paper(seconds, keypoints[:, joint, axis], 200)
        np.testing.assert_allclose(found[:, joint, axis], expected, atol=1e-4)


def test_kalman__a_wave__is_the_matrix_form():
    seconds, keypoints = video()
    found = through(smooth.Kalman(), seconds, keypoints)
    for joint, axis in ((0, 1), (4, 0)):
        expected = kalman_by_matrices(seconds, keypoints[:, joint, axis], keypoints[:, joint, 2], 200)
        np.testing.assert_allclose(found[:, joint, axis], expected, atol=1e-4)


def test_moving_average__a_wave__is_the_mean_of_the_last():
    seconds, keypoints = video()
    found = through(smooth.MovingAverage(4), seconds, keypoints)
    for i in (0, 1, 3, 30):
        expected = keypoints[max(0, i - 3) : i + 1].astype("float64").mean(axis=0)
        np.testing.assert_allclose(found[i, :, :2], expected[:, :2], atol=1e-4)


@pytest.mark.parametrize("name", smooth.SMOOTHERS)
def test_smoother__scores__pass_and_the_input_stays(name: str):
    seconds, keypoints = video()
    before = keypoints.copy()
    found = through(smooth.SMOOTHERS[name](), seconds, keypoints)
    np.testing.assert_array_equal(keypoints, before)
    np.testing.assert_array_equal(found[..., 2], keypoints[..., 2])


@pytest.mark.parametrize("name", smooth.SMOOTHERS)
@pytest.mark.parametrize("when", [0.0, -1.0, 1.5])
def test_smoother__time_stands_or_leaps__starts_anew(name: str, when: float):
    seconds, keypoints = video()
    smoother = smooth.SMOOTHERS[name]()
    through(smoother, seconds, keypoints)
    elsewhere = keypoints[0] + np.float32(300)
    np.testing.assert_array_equal(smoother(elsewhere, float(seconds[-1] + when), 200), elsewhere)


@pytest.mark.parametrize("name", smooth.SMOOTHERS)
def test_smoother__noise__jitters_less_and_lags_little(name: str):
    seconds, noisy = video(200, noise=2)
    _, clean = video(200, noise=0)
    found = through(smooth.SMOOTHERS[name](), seconds, noisy)
    jitter = [np.abs(np.diff(v[..., :2].astype("float64"), 2, axis=0)).mean() for v in (noisy, found, clean)]
    assert jitter[1] < 0.6 * jitter[0]
    # Of the delays in frames, the one at which the filtered wave fits the clean one best.
    fits = [np.abs(found[5:, :, :2] - clean[5 - d : len(clean) - d, :, :2]).mean() for d in range(4)]
    assert np.argmin(fits) <= 1


@pytest.mark.parametrize("sanitized", [False, True])
@pytest.mark.parametrize("name", smooth.SMOOTHERS)
def test_c__gaps_leaps_and_lost_joints__equals_python(build: Builder, name: str, sanitized: bool):
    seconds, keypoints = video(80, joints=7)
    seconds[40:] += 2
    keypoints[10:15, 2, 0] = np.nan
    keypoints[[20, 22, 50], 4, 1] = np.inf
    keypoints[30, :, 2] = np.nan
    sizes = np.linspace(150, 250, len(seconds))
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitized else []
    kind = list(smooth.SMOOTHERS).index(name)
    head = np.array([kind, 7, len(seconds)], np.int32).tobytes()
    frames = [
        np.array([now, size]).tobytes() + joints.tobytes()
        for now, size, joints in zip(seconds, sizes, keypoints, strict=True)
    ]
    done = subprocess.run([build("smooth.c", *flags)], input=head + b"".join(frames), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    found = np.frombuffer(done.stdout, np.float32).reshape(keypoints.shape)
    smoother = smooth.SMOOTHERS[name]()
    expected = [smoother(k, float(t), float(s)) for t, s, k in zip(seconds, sizes, keypoints, strict=True)]
    np.testing.assert_allclose(found, np.stack(expected), rtol=2e-7, atol=1e-5)


def test_header__in_cpp__no_warning(tmp_path: Path):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    (tmp_path / "program.cc").write_text('#include "tvmpose_smooth.h"\nint main() {}\n')
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{CSRC}"]
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "c++",
        "-c",
        *flags,
        str(tmp_path / "program.cc"),
        "-o",
        str(tmp_path / "o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_moving_average__no_window__is_refused():
    with pytest.raises(ValueError, match="window is 0"):
        smooth.MovingAverage(0)
