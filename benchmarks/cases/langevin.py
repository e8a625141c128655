"""Langevin dynamics: the unknown forcing of a relaxing coordinate, u_t = s*u + lam(t)."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.cases.base import Case
from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.problem.unknowns import FieldUnknown

Array = NDArray[np.float64]

UNTIL = 10.0
# Highest number of waves in [0, 10], and the power with which amplitudes fall with it.
FORCINGS = {"slow": (3, 1.0), "fast": (15, 0.0), "rough": (40, 1.0)}


def waves(forcing: str, seed: int = 3) -> tuple[Array, Array, Array]:
    """Angular frequencies, amplitudes and phases of the forcing, each (waves,); its variance is 1."""
    if forcing not in FORCINGS:
        raise ConfigurationError(f"There is no forcing '{forcing}'.{did_you_mean(forcing, FORCINGS)}")
    highest, fall = FORCINGS[forcing]
    rng = np.random.default_rng(seed)
    number = np.arange(1.0, highest + 1)
    size = rng.uniform(0.5, 1.0, highest) * number**-fall
    size = size / math.sqrt((size**2).sum() / 2)
    return 2 * np.pi * number / UNTIL, size, rng.uniform(0, 2 * np.pi, highest)


def force(t: Array, forcing: str) -> Array:
    """The true lam, shape of t."""
    frequency, size, phase = waves(forcing)
    return 1.0 + (size * np.cos(t[..., None] * frequency + phase)).sum(axis=-1)


def exact(t: Array, forcing: str, drift: float) -> Array:
    """u from u(0) = 0, shape of t: the sum of what each wave drives, and a free motion.

    Examples
    --------
    >>> t, h = np.linspace(0, 1, 5), 1e-6
    >>> slope = (exact(t + h, "fast", -1.0) - exact(t - h, "fast", -1.0)) / (2 * h)
    >>> bool(np.allclose(slope, -exact(t, "fast", -1.0) + force(t, "fast"), atol=1e-7))
    True
    """
    frequency, size, phase = waves(forcing)

    def driven(s: Array) -> Array:
        angle = s[..., None] * frequency + phase
        each = (frequency * np.sin(angle) - drift * np.cos(angle)) / (drift**2 + frequency**2)
        return (size * each).sum(axis=-1) - 1.0 / drift

    return driven(t) - driven(np.zeros(1)) * np.exp(drift * t)


def build(forcing: str = "slow", drift: float = -1.0, nodes: int = 501) -> Case:
    """The case.

    Parameters
    ----------
    forcing
        "slow" (3 waves), "fast" (15) or "rough" (40, amplitudes as 1/n).
    drift
        s: negative relaxes; positive runs away, as the equation is written in some places.
    nodes
        Measurements in [0, 10].
    """
    t, fine = np.linspace(0, UNTIL, nodes), np.linspace(0, UNTIL, 2001)
    return Case(
        name="langevin",
        title=f"Langevin, {forcing} forcing",
        equation="u_t = s*u + lam",
        unknowns={"lam": FieldUnknown(over=("t",))},
        constants={"s": drift},
        clean=xr.Dataset({"u": ("t", exact(t, forcing, drift))}, {"t": t}),
        truth={"lam": xr.DataArray(force(fine, forcing), {"t": fine}, ("t",), "lam")},
        source="First problem of Bhartari, Vinayak and Shenoy, arXiv:2505.11682; the forcings are ours.",
        fails="lam is a derivative of the data: the shorter its waves, the sooner noise hides them. A drift "
        "of +1 lets u grow to e^10, beside which lam is nothing.",
        fields=("u",),
    )
