"""Noise and damage as laboratories have them, on values of shape (places..., times)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float64]
Noise = Callable[[Array, float, np.random.Generator], Array]
"""Clean values (sensors..., frames), a level as a fraction of rms, a generator -> measured values."""


def _rms(u: Array) -> float:
    return float(np.sqrt(np.mean(u**2)))


def _along(u: Array, rng: np.random.Generator, sensors: bool) -> Array:
    """One normal number for each sensor, or each frame, of a shape that broadcasts."""
    shape = (*u.shape[:-1], 1) if sensors else (*(1,) * (u.ndim - 1), u.shape[-1])
    return rng.standard_normal(shape)


def _correlated(u: Array, rng: np.random.Generator, axis: int) -> Array:
    """Normal numbers of variance 1, correlated over about four nodes of an axis."""
    smooth = gaussian_filter1d(rng.standard_normal(u.shape), 2.0, axis=axis, mode="wrap")
    return smooth / smooth.std()


def _ramp(u: Array) -> Array:
    return np.linspace(0, 1, u.shape[-1])


def _spiked(u: Array, level: float, rng: np.random.Generator) -> Array:
    noisy = u + level / 4 * _rms(u) * rng.standard_normal(u.shape)
    bad = rng.random(u.shape) < 0.01
    bad.flat[rng.integers(u.size)] = True
    return noisy + bad * rng.choice([-1, 1], u.shape) * rng.uniform(0.5, 4, u.shape) * _rms(u)


def _rounded(u: Array, level: float, rng: np.random.Generator) -> Array:
    step = level * _rms(u) * np.sqrt(12)
    return np.round(u / step) * step


SAMPLES: Mapping[str, Noise] = {
    "white": lambda u, s, g: u + s * _rms(u) * g.standard_normal(u.shape),
    "proportional": lambda u, s, g: u * (1 + s * g.standard_normal(u.shape)),
    "log-normal": lambda u, s, g: u * np.exp(s * g.standard_normal(u.shape)),
    "student": lambda u, s, g: u + s * _rms(u) * g.standard_t(3, u.shape) / np.sqrt(3),
    "rounded": _rounded,
    "spikes": _spiked,
    "offset": lambda u, s, g: u + s * _rms(u) * (1 + 0.25 * g.standard_normal(u.shape)),
}
"""Kinds that need no grid."""

NOISES: Mapping[str, Noise] = {
    **SAMPLES,
    "gain of each sensor": lambda u, s, g: u * (1 + s * _along(u, g, True)),
    "offset of each sensor": lambda u, s, g: u + s * _rms(u) * _along(u, g, True),
    "gain of each frame": lambda u, s, g: u * (1 + s * _along(u, g, False)),
    "offset of each frame": lambda u, s, g: u + s * _rms(u) * _along(u, g, False),
    "correlated in time": lambda u, s, g: u + s * _rms(u) * _correlated(u, g, -1),
    "correlated in space": lambda u, s, g: u + s * _rms(u) * _correlated(u, g, 0),
    "drift": lambda u, s, g: u + s * _rms(u) * (_ramp(u) + 0.25 * g.standard_normal(u.shape)),
}
"""Name -> noise. All but the first are undeclared departures from white noise."""

INVISIBLE = ("offset", "drift")
"""Kinds that may be in the data without a sign."""

MANY_SENSORS = tuple(k for k in NOISES if k.endswith(("sensor", "space")))
"""Kinds that need several sensors: the gain of one alone is in no datum."""
