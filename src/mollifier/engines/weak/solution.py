"""A weak estimate as a solution: fields on the data's grid, the fit, and estimates at all radii tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import make_interp_spline

from mollifier.data.building import indexed
from mollifier.data.lazy import steps
from mollifier.engines.fit_table import FitPart, fit_table
from mollifier.engines.linalg.dense import contract
from mollifier.engines.sensitivity import rounded, unseen
from mollifier.engines.visits import unit_attrs, value_axes, value_variables
from mollifier.engines.weak.data import GridEffect
from mollifier.engines.weak.estimate import Fit
from mollifier.engines.weak.fields import field_variables
from mollifier.engines.weak.radius_selection import RadiusSelection
from mollifier.engines.weak.sums import WeakSums
from mollifier.engines.weak.verdict import term_size, verdict
from mollifier.mollify.arrays import Array, nearest
from mollifier.mollify.grid import Grid
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution


def weak_solution(
    problem: InverseProblem, seed: int, selection: RadiusSelection, fit: Fit, floor: float
) -> Solution:
    """The solution of a problem by the final fit, with the least relative noise that the data were given."""
    sums = selection.estimator.sums
    data = sums.data
    estimates = {
        n: Estimate(n, float(fit.coefficients[i]), float(fit.sd[i]), problem.unknowns[n].unit)
        for n, i in sums.numbers.items()
    }
    every = steps(data.grid.shape, data.tuning.most_nodes)
    shown = tuple(slice(None, None, k) for k in every)
    # Of data in blocks there are samples at these nodes only.
    at = shown if data.lazy else (slice(None),) * len(every)
    states = data.smoothed_at(at)
    if data.gaps is not None:
        states = {f: np.where(data.gaps, np.nan, v) for f, v in states.items()}
    thinned = states if data.lazy else {f: v[shown] for f, v in states.items()}
    dataset = _dataset(problem, sums, fit, states, thinned, data.grid_at(shown))
    return Solution(
        verdict(problem, fit, selection, dataset),
        estimates,
        dataset,
        _fit_table(problem, data.grid_at(at), states, floor, data.tuning.most_samples, seed),
        _history(selection, fit),
        _provenance(selection, fit),
    )


def _dataset(
    problem: InverseProblem,
    sums: WeakSums,
    fit: Fit,
    states: Mapping[str, Array],
    thinned: Mapping[str, Array],
    grid: Grid,
) -> xr.Dataset:
    """States, unknown fields and relative residuals on a grid, thinned where that of the data is large."""
    units = problem.data.units
    variables: dict[str, Any] = {
        name: (grid.names, np.ascontiguousarray(values), unit_attrs(units.get(name, "")))
        for name, values in thinned.items()
    }
    axes = value_axes(problem, states)
    visits, values_of_laws = value_variables(axes, states)
    variables |= visits
    for b in sums.bases:
        if b.splines:
            variables |= field_variables(problem, fit, b, sums.place[b.name], Grid(*axes, *grid))
    slopes = sums.rows(fit.space, fit.coefficients).slopes
    note = {"long_name": "weak residual relative to the rms of the equation's terms"}
    for e in range(sums.equations):
        part = sums.part(e, fit.space)
        scale = term_size(slopes[part], fit.coefficients, fit.space.size) or 1.0
        values = fit.space.lattice(fit.residuals[part] / scale, np.nan)
        label = "residual" if sums.equations == 1 else f"residual_{e}"
        variables[label] = (grid.names, _interpolated(values, fit, grid), note)
    places = {a.name: (a.name, indexed(a.points), unit_attrs(a.unit)) for a in grid}
    found = xr.Dataset(variables, {**places, **values_of_laws})
    return found if problem.interior is None else problem.interior.masked(found, grid)


def _interpolated(values: Array, fit: Fit, grid: Grid) -> Array:
    """Residuals at the test functions' centres, interpolated to the nodes; NaN outside."""
    centres = [a.centres for a in fit.space.axes]
    if any(len(c) < 2 for c in centres):
        return np.full(grid.shape, np.nan)
    hats = [make_interp_spline(c, np.eye(len(c)), k=1) for c in centres]
    along = [hat(axis.points, extrapolate=False) for hat, axis in zip(hats, grid, strict=True)]
    missing = np.isnan(values)
    found, lost = (contract(v, along) for v in (np.where(missing, 0.0, values), missing.astype(float)))
    return np.where(lost > 0, np.nan, found)


def _fit_table(
    problem: InverseProblem, grid: Grid, states: Mapping[str, Array], floor: float, most: int, seed: int
) -> xr.Dataset:
    """Samples of all fields beside the smoothed states at their nodes."""
    parts = []
    for f in problem.fields:
        s = problem.data.samples(f, most, seed)
        s = s.floored(floor * float(s.values.std()))
        place = tuple(nearest(a.points, s.points[:, s.coordinates.index(a.name)]) for a in grid)
        parts.append(FitPart(f, s, states[f][place]))
    return fit_table(problem, parts)


def _history(selection: RadiusSelection, fit: Fit) -> xr.Dataset:
    """One row for each radius tried, the chosen one last: estimates, standard errors, misfit."""
    sums, fits = selection.estimator.sums, [*selection.tried.values(), fit]
    columns: dict[str, Any] = {"stage": ["radius"] * (len(fits) - 1) + ["chosen"]}
    for c in selection.grid.names:
        columns[f"radius_{c}"] = [one.space.radius[c] for one in fits]
    columns["misfit"] = [one.misfit for one in fits]
    columns["tests"] = [one.space.size for one in fits]
    for b in sums.bases:
        here = sums.place[b.name]
        columns[b.name] = [float(np.mean(one.coefficients[here])) for one in fits]
        columns[f"{b.name}_sd"] = [float(np.sqrt(np.mean(one.sd[here] ** 2))) for one in fits]
    return xr.Dataset({n: ("step", np.asarray(v)) for n, v in columns.items()})


def _edges(selection: RadiusSelection, fit: Fit) -> Mapping[str, float]:
    """Log-evidence for edges in the fields that test functions blur, which reach over several of their nodes.

    Squared residuals count in units of their mean: what noise does not explain is no evidence.
    """
    estimator = selection.estimator
    blurred = [b.name for b in estimator.sums.bases if any(fit.space.radius.get(c, 0.0) for c in b.splines)]
    return {n: gain / fit.widening**2 for n, gain in estimator.posterior.edges(blurred).items()}


def _provenance(selection: RadiusSelection, fit: Fit) -> dict[str, Any]:
    return {
        "radius": fit.space.radius,
        "tests": dict(zip(selection.grid.names, fit.space.shape, strict=True)),
        "priors": {n: c.described() for n, c in fit.priors.items()},
        "edges": _edges(selection, fit),
        "misfit": fit.misfit,
        "whiteness": fit.whiteness,
        "sensitivity": sensitivity(selection.estimator.sums, fit),
    }


def sensitivity(sums: WeakSums, fit: Fit) -> dict[str, dict[str, float]]:
    """Unknown -> label of `mollifier.engines.sensitivity.unseen` -> by how much it would move it."""
    data, found = sums.data, {n: {} for n in sums.place}
    nodes = {a.name: a.points for a in data.grid}
    for f in data.variances:
        for label, e in unseen(f, float(np.sqrt(np.nanmean(data.part.values[f] ** 2))), nodes).items():
            effect = GridEffect(f, e.sd, False, tuple(e.factors(nodes)))
            change = fit.moved_by(sums.modes_of(fit.space, effect, fit.coefficients)[:, 0])
            for b in sums.bases:
                here = sums.place[b.name]
                if np.isfinite(np.diag(fit.covariance)[here]).all():
                    moved = change[here]
                    size = np.sqrt(max(float(moved @ b.mass @ moved), 0.0)) if b.splines else float(moved[0])
                    found[b.name][label] = rounded(size)
    return {n: shifts for n, shifts in found.items() if shifts}
