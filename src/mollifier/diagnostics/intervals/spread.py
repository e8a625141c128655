"""Repeated answers on one grid, and a solution with their spread as its standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from mollifier.engines.start import sampled
from mollifier.mollify.arrays import Array
from mollifier.problem.solution import Solution


def gathered(solution: Solution, answers: Sequence[Solution], suffix: str = "") -> dict[str, Array]:
    """Unknown -> its value in every answer, shape (answers, ...): fields on the solution's own grid.

    The suffix "_sd" takes the standard errors in place of the values, NaN where there are none.
    """
    numbers = {}
    for n in solution.estimates:
        found = [a.estimates[n].sd if suffix else a.estimates[n].value for a in answers]
        numbers[n] = np.array(found, dtype=float)  # None is NaN
    return numbers | {
        n: np.stack([on_grid_of(solution.dataset[n], a.dataset, f"{n}{suffix}") for a in answers])
        for n in solution.unknown_fields
    }


def on_grid_of(field: xr.DataArray, dataset: xr.Dataset, name: str) -> Array:
    """A field of another dataset at the nodes of a field, in its shape; NaN where there is none.

    >>> field = xr.DataArray([0.0, 0.0, 0.0], {"x": [0.0, 0.5, 1.0]}, ("x",))
    >>> on_grid_of(field, xr.Dataset({"k": ("x", [1.0, 3.0])}, {"x": [0.0, 1.0]}), "k").tolist()
    [1.0, 2.0, 3.0]
    """
    if name not in dataset:
        return np.full(field.shape, np.nan)
    other = dataset[name].transpose(*field.dims)
    if all(np.array_equal(field[d].values, other[d].values) for d in field.dims):
        return np.asarray(other.values, dtype=float)
    mesh = np.meshgrid(*(field[d].values for d in field.dims), indexing="ij")
    points = {str(d): m.ravel() for d, m in zip(field.dims, mesh, strict=True)}
    periods = {str(d): float(field[d].attrs["periodic"]) for d in field.dims if "periodic" in field[d].attrs}
    return sampled(other, points, periods).reshape(field.shape)


def at_places(points: Array, known: Array, values: Array) -> Array:
    """The mean of the values known at exactly the places of each point, shape (n,); NaN where there is none.

    >>> known = np.array([[2.0], [1.0], [2.0]])
    >>> at_places(np.array([[0.5], [2.0]]), known, np.array([3.0, 5.0, 4.0])).tolist()
    [nan, 3.5]
    """
    # A coordinate that a variable does not depend on is NaN, which would equal nothing.
    every = np.nan_to_num(np.concatenate([known, points]), nan=np.inf)
    _, which = np.unique(every, axis=0, return_inverse=True)
    which = which.ravel()
    sums, counts = (np.bincount(which[: len(known)], w, len(which)) for w in (values, None))
    with np.errstate(invalid="ignore"):
        return (sums / counts)[which[len(known) :]]


def with_spread(
    solution: Solution, spread: Mapping[str, Array], label: str, notes: Mapping[str, Any]
) -> Solution:
    """A solution with other standard errors: unknown -> shape () or that of the field, NaN for none.

    The label says where they come from; it and the notes go into the provenance, under "intervals".
    """
    found = {n: None if np.isnan(v) else float(v) for n, v in spread.items() if n in solution.estimates}
    estimates = {n: replace(e, sd=found.get(n, e.sd)) for n, e in solution.estimates.items()}
    dataset = solution.dataset
    for name in solution.unknown_fields:
        field = dataset[name]
        attrs = {k: v for k, v in field.attrs.items() if k == "units"}
        attrs["long_name"] = f"standard error of {name} ({label})"
        dataset = dataset.assign({f"{name}_sd": (field.dims, spread[name], attrs)})
    provenance = {**solution.provenance, "intervals": {"label": label, **notes}}
    return replace(solution, estimates=estimates, dataset=dataset, provenance=provenance)
