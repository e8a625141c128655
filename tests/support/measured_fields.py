"""Small measured fields for the tests of observations."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mollifier.data.observations import Observations


def field(nx=24, nt=18, **attrs):
    x, t = np.linspace(0, 1, nx), np.linspace(0, 2, nt)
    u = np.sin(3 * x[:, None]) * np.exp(-t) + 1
    return xr.Dataset(
        {"u": (("x", "t"), u, {"units": "K"})}, coords={"x": ("x", x, {"units": "m", **attrs}), "t": t}
    )


def points(n=60, seed=0):
    rng = np.random.default_rng(seed)
    x, t = rng.random((2, n))
    return Observations(values={"u": np.sin(x + t), "v": x}, points={"t": t, "x": x}, noise={"u": 0.05})
