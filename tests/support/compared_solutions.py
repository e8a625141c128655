"""Made-up solutions of one field or number, and comparisons of them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mollifier.diagnostics.compare.comparison import Comparison
from mollifier.diagnostics.compare.rows import Row
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def made(status: str = "converged", scalars=None, fields=None, message: str = "") -> Solution:
    """A solution with these scalars, name -> (value, sd), and fields of x, name -> (values, sd or None)."""
    estimates = {n: Estimate(n, v, sd, "m") for n, (v, sd) in (scalars or {}).items()}
    variables = {}
    for n, (values, sd) in (fields or {}).items():
        variables[n] = ("x", np.asarray(values, float))
        if sd is not None:
            variables[f"{n}_sd"] = ("x", np.full(len(values), sd))
    size = len(next(iter(variables.values()))[1]) if variables else 5
    blank = xr.Dataset(coords={"observation": []}), xr.Dataset(coords={"step": []})
    dataset = xr.Dataset(variables, {"x": np.linspace(0, 1, size)})
    return Solution(Status(status, message), estimates, dataset, *blank, {"unknowns": [*(fields or {})]})  # type: ignore[arg-type]


def doctored(**solutions: Solution | None) -> Comparison:
    """A comparison of made-up solutions; None stands for an engine that refused."""
    rows = []
    for name, s in solutions.items():
        if s is None:
            rows.append(Row(name, "refused", "it cannot"))
        else:
            rows.append(Row(name, s.status.name, s.status.message, s.estimates, {}, {"u": 1.0}, 1.5, 20.0))
    return Comparison({n: s for n, s in solutions.items() if s is not None}, tuple(rows))
