"""Movies of reaction and diffusion whose diffusivity and growth depend on the state, by finite volumes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

from mollifier import Observations

LENGTH = 4.0


def diffusivity(u):
    """A diffusivity that grows with the state."""
    return 0.01 * (1 + u) ** 2


def growth(u):
    """Growth with an Allee effect: negative below 0.3."""
    return 2 * u * (u / 0.3 - 1) * (1 - u)


@lru_cache
def movie(reacts=True, duration=4.0, level=0.05, heights=(0.9, 0.55), nodes=401, every=4, frames=61):
    """Places (n,), times (m,) and the state (n, m); no flux at the ends, tolerances far below the noise."""
    x = np.linspace(0, LENGTH, nodes)
    h = x[1] - x[0]

    def rate(t, u):
        flux = diffusivity((u[1:] + u[:-1]) / 2) * np.diff(u) / h
        spread = np.concatenate([[2 * flux[0]], np.diff(flux), [-2 * flux[-1]]]) / h
        return spread + reacts * growth(u)

    start = (
        level
        + heights[0] * np.exp(-(((x - 1) / 0.35) ** 2))
        + heights[1] * np.exp(-(((x - 2.6) / 0.25) ** 2))
    )
    t = np.linspace(0, duration, frames)
    done = solve_ivp(rate, (0, duration), start, "LSODA", t, rtol=1e-7, atol=1e-9, lband=1, uband=1)
    return x[::every], t, done.y[::every]


def observed(x, t, u, noise=0.02, seed=0):
    """A movie with noise relative to the rms."""
    sd = noise * np.sqrt(np.mean(u**2))
    noisy = u + sd * np.random.default_rng(seed).standard_normal(u.shape)
    return Observations.from_dataset(
        xr.Dataset({"u": (("x", "t"), noisy)}, {"x": x, "t": t}), noise={"u": noise}
    )


def relative_error(law: xr.DataArray, truth) -> float:
    """Relative L2 distance over the values that the law is given for."""
    expected = truth(law[law.dims[0]].values)
    return float(np.sqrt(np.mean((law.values - expected) ** 2) / np.mean(expected**2)))
