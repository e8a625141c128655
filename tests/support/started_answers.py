"""Answers of the heat equation made by hand, from which an engine starts."""

from __future__ import annotations

import numpy as np
import xarray as xr

from engine_problems import heat_values
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def answer(problem, value=0.12, sd=0.01, status="converged", engine="weak", **fields):
    """A solution made by hand: D, a state, and unknown fields."""
    x, t = np.linspace(0, 1, 30), np.linspace(0, 1, 20)
    u = xr.DataArray(heat_values(*np.meshgrid(x, t, indexing="ij")), {"x": x, "t": t}, ("x", "t"))
    low = {c: problem.data.bounds[c] for c in ("x", "t")}
    u = u.assign_coords({c: np.linspace(*low[c], u.sizes[c]) for c in ("x", "t")})
    estimates = {"D": Estimate("D", value, sd)}
    row = xr.Dataset({"u": ("observation", []), "u_fitted": ("observation", [])})
    unknowns = [*estimates, *fields]
    provenance = {"engine": engine, "unknowns": unknowns}
    history = xr.Dataset({"loss": ("step", [])})
    return Solution(Status(status), estimates, xr.Dataset({"u": u, **fields}), row, history, provenance)
