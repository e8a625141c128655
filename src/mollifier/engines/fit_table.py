"""The table of a solution's fit: every sample beside the fitted field at its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.data.observations import Samples
from mollifier.problem.inverse_problem import InverseProblem


class FitPart(NamedTuple):
    """Samples (n,) of a field, what is fitted (n,) at their places, and whether they were held out.

    ``shared`` is the part of what is fitted that is no field: the noise that samples share, where declared.
    """

    field: str
    samples: Samples
    fitted: NDArray[Any]
    held_out: bool = False
    shared: NDArray[Any] | None = None


def fit_table(problem: InverseProblem, parts: Sequence[FitPart]) -> xr.Dataset:
    """One row per sample, the parts in order; NaN in the columns of other fields."""
    total = sum(len(p.samples.values) for p in parts)
    out: dict[str, NDArray[Any]] = {c: np.full(total, np.nan) for c in problem.coordinates}
    for f in problem.fields:
        out |= {n: np.full(total, np.nan) for n in (f, f"{f}_sd", f"{f}_fitted")}
        out[f"{f}_held_out"] = np.zeros(total, dtype=bool)
    low = 0
    for name, s, fitted, held_out, shared in parts:
        here = slice(low, low + len(s.values))
        low += len(s.values)
        for c, x in zip(s.coordinates, s.points.T, strict=True):
            out[c][here] = x
        columns = {"": s.values, "_sd": s.sd, "_fitted": fitted, "_held_out": held_out}
        for suffix, values in columns.items():
            out[name + suffix][here] = values
        if shared is not None:
            out.setdefault(f"{name}_shared", np.full(total, np.nan))[here] = shared
    return xr.Dataset({n: ("observation", v) for n, v in out.items()}).set_coords(problem.coordinates)
