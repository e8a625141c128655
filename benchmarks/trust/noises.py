"""Noise and damage as laboratories have them, on values of shape (places..., times)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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

_SHARED = {
    "gain of each sensor": "sensor_gain",
    "offset of each sensor": "sensor_offset",
    "gain of each frame": "frame_gain",
    "offset of each frame": "frame_offset",
    "offset": "offset",
    "drift": "drift",
}
DECLARED = (
    *("white", "proportional", "log-normal", "student"),
    *_SHARED,
    "correlated in time",
    "correlated in space",
)
"""Kinds that can be declared."""


def declared(
    kind: str, u: Array, level: float, rng: np.random.Generator, axes: Mapping[str, Array]
) -> tuple[Array, dict[str, Any]]:
    """Noisy values of a kind of noise, and what declares it.

    What values share lies on a quarter as much white noise; that of all values is drawn, with either sign.

    Parameters
    ----------
    u, level, rng
        As of `Noise`.
    axes
        Coordinates and their nodes, time last.
    """
    if kind.startswith("correlated"):
        name, x = list(axes.items())[-1 if kind.endswith("time") else 0]
        return NOISES[kind](u, level, rng), {"fraction": level, "correlated": {name: 4 * (x[1] - x[0])}}
    if kind not in _SHARED:
        word = {"proportional": {"relative": level}, "white": {"fraction": level}}
        return NOISES[kind](u, level, rng), word.get(kind, {"fraction": level, "distribution": kind})
    ramp = _ramp(u) - 0.5
    common = {"offset": np.ones(1), "drift": ramp / ramp.std()}.get(kind)
    shared = (
        NOISES[kind](u, level, rng)
        if common is None
        else u + level * _rms(u) * common * rng.standard_normal()
    )
    return NOISES["white"](shared, level / 4, rng), {"fraction": level / 4, _SHARED[kind]: level}


INVISIBLE = ("offset", "drift")
"""Kinds that may be in the data without a sign."""

MANY_SENSORS = tuple(k for k in NOISES if k.endswith(("sensor", "space")))
"""Kinds that need several sensors: the gain of one alone is in no datum."""
