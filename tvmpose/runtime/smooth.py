"""Steadier keypoints: filters over time, for programs that follow people through a video. Needs NumPy and nothing else.

    import smooth                                # beside a bundle; as part of tvmpose: tvmpose.runtime.smooth

    smoother = smooth.OneEuro()                  # or Kalman(), MovingAverage(); one for each person
    steady = smoother(person.keypoints, seconds, max(person.box[2:]))

``seconds`` is the frame's time on any clock; where it does not grow, or leaps by over a second, the filter starts anew.
``size`` is the person's in pixels, as the longer side of the box: all parameters count in it, so that they hold near
and far. Scores pass through; a joint that is not finite does too, and starts anew. tvmpose_smooth.h computes the same.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import numpy as np

LONGEST_GAP = 1.0  # seconds
LEAST_SCORE = 0.1  # a joint that is less sure counts as this


class Smoother(Protocol):
    """A filter with one person's past."""

    def __call__(self, keypoints: np.ndarray, seconds: float, size: float) -> np.ndarray:
        """From keypoints (K, 3), x, y, score, to the filtered ones, float32, in the same pixels."""
        ...

    def reset(self) -> None:
        """Forgets the past, as before the first frame of another video."""
        ...


class _Filter:
    """What all have in common: time, and joints that come and go."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._time = -math.inf
        self._known: np.ndarray = np.zeros(0, bool)  # joints that have a past

    def __call__(self, keypoints: np.ndarray, seconds: float, size: float) -> np.ndarray:
        filtered = np.array(keypoints, np.float32)
        raw, score = filtered[:, :2].astype(np.float64), filtered[:, 2].astype(np.float64)
        dt, self._time = seconds - self._time, seconds
        if not 0 < dt <= LONGEST_GAP or len(self._known) != len(raw):
            self._known = np.zeros(len(raw), bool)
            self._allocate(len(raw))
        finite = np.asarray(np.isfinite(raw).all(axis=1))
        started, going = finite & ~self._known, finite & self._known
        self._start(started, raw)
        if going.any():
            self._step(going, raw, score, dt, size)
        self._known = finite
        filtered[finite, :2] = self._position[finite]
        return filtered

    _position: np.ndarray  # float64 (K, 2)

    def _allocate(self, count: int) -> None:
        self._position = np.zeros((count, 2))

    def _start(self, which: np.ndarray, raw: np.ndarray) -> None:
        self._position[which] = raw[which]

    def _step(self, which: np.ndarray, raw: np.ndarray, score: np.ndarray, dt: float, size: float) -> None:
        raise NotImplementedError


class OneEuro(_Filter):
    """A low pass, the wider the faster a joint moves (Casiez, Roussel, Vogel 2012).

    min_cutoff: Hz, of a joint at rest. beta: Hz more for a speed of one size a second. speed_cutoff: Hz, of the low
    pass over the speed itself.
    """

    def __init__(self, min_cutoff: float = 1.5, beta: float = 12.0, speed_cutoff: float = 1.0) -> None:
        super().__init__()
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff

    def _allocate(self, count: int) -> None:
        super()._allocate(count)
        self._velocity, self._raw = np.zeros((count, 2)), np.zeros((count, 2))

    def _start(self, which: np.ndarray, raw: np.ndarray) -> None:
        super()._start(which, raw)
        self._velocity[which], self._raw[which] = 0, raw[which]

    def _step(self, which: np.ndarray, raw: np.ndarray, score: np.ndarray, dt: float, size: float) -> None:
        velocity, position, now = self._velocity[which], self._position[which], raw[which]
        velocity += _alpha(self.speed_cutoff, dt) * ((now - self._raw[which]) / dt - velocity)
        position += _alpha(self.min_cutoff + self.beta * np.abs(velocity) / max(size, 1.0), dt) * (now - position)
        self._velocity[which], self._position[which], self._raw[which] = velocity, position, now


class Kalman(_Filter):
    """Constant velocity, disturbed by white acceleration; a joint's two coordinates share their variance.

    noise: how far off a sure measurement is, in sizes (standard deviation); divided by the score, from 0.1 to 1.
    acceleration: square root of the disturbance's spectral density, sizes / s^1.5.
    """

    def __init__(self, noise: float = 0.02, acceleration: float = 1.0) -> None:
        super().__init__()
        self.noise, self.acceleration = noise, acceleration

    def _allocate(self, count: int) -> None:
        super()._allocate(count)
        self._velocity, self._variance = np.zeros((count, 2)), np.zeros((3, count))

    def _start(self, which: np.ndarray, raw: np.ndarray) -> None:
        super()._start(which, raw)
        self._velocity[which] = 0
        self._variance[:, which] = np.array([self.noise**2, 0, 1])[:, None]  # at first any speed is possible

    def _step(self, which: np.ndarray, raw: np.ndarray, score: np.ndarray, dt: float, size: float) -> None:
        place, both, speed = self._variance[:, which]
        q = self.acceleration**2
        place = place + dt * (2 * both + dt * speed) + q * dt**3 / 3
        both = both + dt * speed + q * dt**2 / 2
        speed = speed + q * dt
        innovation = place + np.square(self.noise / np.fmin(np.fmax(score[which], LEAST_SCORE), 1))
        gain, speed_gain = place / innovation, both / innovation
        predicted = self._position[which] + dt * self._velocity[which]
        error = raw[which] - predicted
        self._position[which] = predicted + gain[:, None] * error
        self._velocity[which] += speed_gain[:, None] * error
        self._variance[:, which] = place - gain * place, both - gain * both, speed - speed_gain * both


class MovingAverage(_Filter):
    """The mean of the last ``window`` frames, which lags by half of them."""

    def __init__(self, window: int = 2) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"window is {window}, must be at least 1")
        self.window = window

    def _allocate(self, count: int) -> None:
        super()._allocate(count)
        self._past: deque[np.ndarray] = deque(maxlen=self.window)

    def _start(self, which: np.ndarray, raw: np.ndarray) -> None:
        super()._start(which, raw)
        for frame in self._past:
            frame[which] = np.nan  # before it was there
        self._past.append(raw.copy())

    def _step(self, which: np.ndarray, raw: np.ndarray, score: np.ndarray, dt: float, size: float) -> None:
        frames = np.array(self._past)[:, which]
        held = np.isfinite(frames)
        self._position[which] = np.where(held, frames, 0).sum(axis=0) / np.maximum(held.sum(axis=0), 1)


def _alpha(cutoff: float | np.ndarray, dt: float) -> float | np.ndarray:
    """The share of a new value in a first-order low pass."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * dt))


SMOOTHERS = {"one-euro": OneEuro, "kalman": Kalman, "average": MovingAverage}
