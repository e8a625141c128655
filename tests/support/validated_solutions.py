"""Fields and solutions for the tests of validation."""

from __future__ import annotations

import numpy as np
import xarray as xr

from engine_problems import heat_values
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def decaying(x, t):
    """u_t = 0.1 u_xx - u."""
    return heat_values(x, t) * np.exp(-t)


def drifting(x, t):
    """u_t = -0.5 u_x + 0.01 u_xx, periodic."""
    s, d = 2 * np.pi * (x - 0.5 * t), 4 * np.pi**2 * 0.01 * t
    return np.exp(-d) * np.sin(s) + 0.5 * np.exp(-4 * d) * np.cos(2 * s)


def narrow(x, t):
    """u_t = 0.01 u_xx, with a short wave."""
    return np.exp(-0.01 * (6 * np.pi) ** 2 * t) * np.sin(6 * np.pi * x) + np.exp(-0.04 * t) * np.cos(2 * x)


def exact_solution(
    state, estimates, equation, dims=("x", "t"), known=None, fields=(), noise=0.01, n=400, **axes
):
    """A solution that holds the truth on a grid, and measurements of it at random points."""
    coords = {d: axes.get(d, np.linspace(0, 1, 33)) for d in dims}
    mesh = np.meshgrid(*coords.values(), indexing="ij")
    variables = {f: (dims, s(*mesh)) for f, s in state.items()}
    variables |= {f: (dims, np.broadcast_to(k(*mesh), mesh[0].shape)) for f, k in dict(fields).items()}
    variables |= {f: (dims, k(*mesh), {"role": "known"}) for f, k in (known or {}).items()}
    rng = np.random.default_rng(0)
    points = {d: x[0] + (x[-1] - x[0]) * rng.random(n) for d, x in coords.items()}
    fit = xr.Dataset()
    for f, s in state.items():
        exact = s(*points.values())
        fit[f] = ("observation", exact + noise * rng.standard_normal(n))
        fit[f"{f}_sd"], fit[f"{f}_fitted"] = ("observation", np.full(n, noise)), ("observation", exact)
        fit[f"{f}_held_out"] = ("observation", np.arange(n) % 10 == 0)
    unknowns = [*estimates, *dict(fields)]
    return Solution(
        Status("converged"),
        {n: Estimate(n, v) for n, v in estimates.items()},
        xr.Dataset(variables, coords),
        fit.assign_coords({d: ("observation", p) for d, p in points.items()}),
        xr.Dataset({"loss": ("step", [])}),
        {"equation": [equation], "fields": list(state), "unknowns": unknowns, "constants": {}},
    )
