"""A made-up solution and its truth, for figures and pages."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def make_solution(dims, over, n=500, steps=60):
    """A made-up solution with a state u and an unknown field k, and its truth on another grid."""
    rng = np.random.default_rng(2)
    units = {"x": "µm", "y": "µm", "z": "µm", "t": "h"}
    size = 21 if len(dims) > 2 else 61

    def grid(names, size):
        return {d: (d, np.linspace(0, 2.0 if d == "t" else 1.0, size), {"units": units[d]}) for d in names}

    def state(p):
        return np.exp(-p.get("t", 0.5)) * math.prod([np.sin(2 * np.pi * p[d]) + 1.2 for d in p if d != "t"])

    def unknown(p):
        return 1 + 0.5 * math.prod([np.cos(2 * np.pi * p[d] + 1) for d in p])

    empty = xr.Dataset(coords=grid(dims, size))
    nodes = {d: empty[d] for d in dims}
    u = xr.broadcast(*nodes.values())[0] * 0 + state({d: a for d, a in nodes.items()})
    k = unknown({d: nodes[d] for d in over})
    noisy = k + 0.03 * rng.standard_normal(k.shape)
    dataset = empty.assign(
        u=u.transpose(*dims).assign_attrs(units="mol/L"),
        k=noisy.transpose(*over).assign_attrs(units="µm²/h"),
        k_sd=xr.full_like(k, 0.03),
        k_ratio=(k + 0.3 * rng.standard_normal(k.shape)).where(np.abs(k - 1) > 0.1),
        residual=u.transpose(*dims) * 0 + 0.02 * rng.standard_normal(u.shape),
    )
    points = {d: rng.random(n) * (2.0 if d == "t" else 1.0) for d in dims}
    fitted = state(points)
    fit = xr.Dataset(
        {
            "u": ("observation", fitted + 0.05 * rng.standard_normal(n), {"units": "mol/L"}),
            "u_sd": ("observation", np.full(n, 0.05)),
            "u_fitted": ("observation", fitted),
            "u_held_out": ("observation", np.arange(n) % 10 == 0),
        },
        {d: ("observation", p) for d, p in points.items()},
    )
    fit["u"][::50] = np.nan
    s = np.arange(steps)
    history = xr.Dataset(
        {
            "seconds": ("step", 0.1 * s),
            "loss": ("step", np.exp(-s / 10) + 1e-3),
            "data": ("step", 0.6 * np.exp(-s / 9) + 5e-4),
            "residual": ("step", 0.4 * np.exp(-s / 12) + 4e-4),
            "prior": ("step", np.zeros(steps)),
            "r": ("step", 0.05 * (1 - np.exp(-s / 15))),
            "stage": ("step", np.where(s < 40, "adam", "lbfgs")),
        }
    )
    truth = xr.Dataset(coords=grid(over, 101))
    truth = truth.assign(k=unknown({d: truth[d] for d in over}), r=0.0495)
    estimates = {"r": Estimate("r", 0.0491, 0.0004, "1/h")}
    provenance = {"unknowns": ["k", "r"], "seconds": 6.0, "engine": "network"}
    solution = Solution(Status("converged"), estimates, dataset, fit, history, provenance)
    return solution, truth


def solution_of(value, sd, field, field_sd, loss=1.0):
    """A solution of one number r and one field k(x)."""
    fields = {"k": ("x", np.asarray(field, float)), "u": ("x", np.zeros(len(field)))}
    if field_sd is not None:
        fields["k_sd"] = ("x", np.asarray(field_sd, float))
    nothing = ("observation", np.zeros(2))
    fit = xr.Dataset(
        {n: nothing for n in ("u", "u_sd", "u_fitted")} | {"u_held_out": ("observation", [False] * 2)}
    )
    return Solution(
        Status("converged"),
        {"r": Estimate("r", value, sd)},
        xr.Dataset(fields, {"x": np.linspace(0, 1, len(field))}),
        fit,
        xr.Dataset({"loss": ("step", [9.0, loss])}),
        {"unknowns": ["r", "k"]},
    )
