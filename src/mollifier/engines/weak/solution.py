"""A weak estimate as a solution: fields on the data's grid, the fit, the sensitivity to the radii."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from mollifier._version import __version__
from mollifier.engines.identifiability.structure import undetermined_by_structure
from mollifier.engines.identifiability.undetermined import (
    THRESHOLDS,
    because,
    lost_field,
    undetermined_places,
)
from mollifier.engines.splines.basis import Basis
from mollifier.engines.weak.estimate import Fit
from mollifier.engines.weak.prepare import smoothed
from mollifier.engines.weak.radius_selection import RadiusSelection
from mollifier.engines.weak.sums import GridData, WeakSums
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import Settings
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status, StatusName

Array = NDArray[np.float64]

# Nodes of the fields in a solution, and samples in its fit; larger data are thinned.
_MOST_NODES, _MOST_SAMPLES = 600_000, 200_000
# Residuals above the noise by this, and in share of the equation's terms, are a misfit; estimates that move
# with the radius by so many standard errors are unsteady.
_MISFIT, _SHARE, _UNSTEADY = 2.0, 0.05, 4.0
# Shares of a number's size by which a coarse grid may change it: worth a word, and too much.
_TRIFLE, _UNRESOLVED = 1e-3, 0.03


def weak_solution(
    problem: InverseProblem,
    settings: Settings,
    seed: int,
    selection: RadiusSelection,
    fit: Fit,
    seconds: float,
) -> Solution:
    """The solution that a fit stands for."""
    sums = selection.estimator.sums
    data = sums.data
    estimates = {}
    for b in sums.bases:
        if not b.splines:
            here = sums.place[b.name].start
            unit = problem.unknowns[b.name].unit
            estimates[b.name] = Estimate(b.name, float(fit.coefficients[here]), float(fit.sd[here]), unit)
    states = {}
    for f in problem.fields:
        smooth = smoothed(data.values[f], data.grid, data.variances[f], data.gaps)
        states[f] = smooth if data.gaps is None else np.where(data.gaps, np.nan, smooth)
    dataset = _dataset(problem, sums, fit, states)
    return Solution(
        _status(problem, fit, selection, dataset),
        estimates,
        dataset,
        _fit(problem, data, states, seed),
        _sensitivity(selection, fit, sums),
        _provenance(problem, settings, seed, selection, fit) | {"seconds": seconds},
    )


def _status(problem: InverseProblem, fit: Fit, selection: RadiusSelection, dataset: xr.Dataset) -> Status:
    sums = selection.estimator.sums
    why = undetermined_by_structure(problem) or because(fit.loose, problem.system.linear_in)
    if why:
        return Status("undetermined", why)
    there = dataset[problem.fields[0]].notnull()
    lost = {b.name: _lost(dataset, fit, sums, b, there) for b in sums.bases if b.splines}
    for known in selection.estimator.known:
        missed = known.misfit(fit.coefficients[sums.place[known.name]])
        if missed > _MISFIT:
            return Status(
                "misfit",
                f"the field found misses the readings of '{known.name}' by {missed:.2g} of their standard "
                "errors: readings and equation contradict each other, or the readings vary faster than the "
                "field's splines",
            )
    for name, part in lost.items():
        if part > THRESHOLDS.mostly:
            return Status("undetermined", lost_field(name, part))
    share = _unexplained(sums, fit)
    if fit.misfit > _MISFIT and share > _SHARE:
        return Status(
            "misfit",
            f"the residuals are {fit.misfit:.2g} times what the noise explains, {100 * share:.0f} % of "
            "the equation's terms: the equation, the unknowns' form or the data's resolution is at fault. "
            "Standard errors were widened by that factor",
        )
    levels: tuple[tuple[float, StatusName], ...] = ((_UNRESOLVED, "misfit"), (_TRIFLE, "converged"))
    for level, name in levels:
        coarse = [b.name for b in sums.bases if _coarse(fit, sums.place[b.name], level)]
        if coarse:
            return Status(
                name,
                f"{_listed(coarse)} change when every other node is left out: the grid hardly resolves the "
                "field; standard errors were widened for it",
            )
    moving = _unsteady(sums, fit, selection)
    if moving:
        return Status(
            "converged", f"{_listed(moving)} move with the radius by more than their standard errors"
        )
    silent = [f"'{n}' over {100 * part:.0f} %" for n, part in lost.items() if part > THRESHOLDS.partly]
    if silent:
        return Status("converged", f"the data say little about {', '.join(silent)} of the domain")
    return Status("converged", "")


def _coarse(fit: Fit, place: slice, level: float) -> bool:
    """Whether the grid's coarseness dominates a number's error, and exceeds a share of the number."""
    widened, value = (float(np.abs(v[place]).max(initial=0.0)) for v in (fit.resolution, fit.coefficients))
    return widened > fit.sd[place].max() / 2 and widened > level * value


def _lost(dataset: xr.Dataset, fit: Fit, sums: WeakSums, basis: Basis, there: xr.DataArray) -> float:
    """Share of where data are that leave a field's value, or its distance from its mean, to its prior."""
    name, here = basis.name, sums.place[basis.name]
    values, sd = dataset[name].values, dataset[f"{name}_sd"].values
    if not np.isfinite(fit.covariance[here, here]).all():
        return 1.0
    one = np.ones(basis.size)  # the splines add up to one
    centred = np.eye(basis.size) - np.outer(one, basis.mass @ one) / (one @ basis.mass @ one)
    parts = [basis.splines[c].matrix(0, dataset[c].values) for c in basis.splines]
    after, before = (
        _pointwise(parts, centred @ c @ centred.T).reshape(values.shape)
        for c in (fit.covariance[here, here], _beforehand(fit, basis))
    )
    lost = undetermined_places(values, sd, np.sqrt(np.maximum(after, 0.0)), np.sqrt(np.maximum(before, 0.0)))
    measured = there.any([d for d in there.dims if d not in dataset[name].dims])
    return float(np.mean(lost[measured.transpose(*dataset[name].dims).values]))


def _beforehand(fit: Fit, basis: Basis) -> Array:
    """Covariance of a field's coefficients without data; what the prior leaves free has a wide one."""
    if basis.name not in fit.precisions:
        return np.full((basis.size, basis.size), np.inf)
    strengths, modes = np.linalg.eigh(fit.precisions[basis.name])
    return (modes / np.maximum(strengths, 1e-13 * strengths[-1])) @ modes.T


def _listed(names: list[str]) -> str:
    quoted = [f"'{n}'" for n in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _unexplained(sums: WeakSums, fit: Fit) -> float:
    """Rms of the residuals beyond the noise, as a share of the rms of the equation's largest part."""
    rows = sums.rows(fit.space, fit.coefficients)
    parts = rows.slopes.multiply(fit.coefficients[None, :])
    largest = float(np.sqrt(abs(parts).power(2).sum() / len(fit.residuals)))
    excess = float(np.sqrt(np.mean(np.maximum(fit.residuals**2 - fit.variances, 0.0))))
    return excess / largest if largest else np.inf


def _unsteady(sums: WeakSums, fit: Fit, selection: RadiusSelection) -> list[str]:
    """Numbers whose estimates at neighbouring radii differ by more than their errors allow."""
    found = []
    here = np.array(list(fit.space.radius.values()))
    for b in sums.bases:
        if b.splines:
            continue
        i = sums.place[b.name].start
        for key, other in selection.tried.items():
            near = (
                np.abs(np.log(np.where(here > 0, np.array(key) / np.where(here > 0, here, 1), 1))).max() < 0.5
            )
            if not near or other.loose:
                continue
            spread = np.sqrt(max(other.sd[i] ** 2, fit.sd[i] ** 2))
            if abs(other.coefficients[i] - fit.coefficients[i]) > _UNSTEADY * spread:
                found.append(b.name)
                break
    return found


def _dataset(problem: InverseProblem, sums: WeakSums, fit: Fit, states: Mapping[str, Array]) -> xr.Dataset:
    grid = sums.data.grid
    step = max(int(np.ceil((grid.size / _MOST_NODES) ** (1 / len(grid.shape)))), 1)
    thin = tuple(slice(None, None, step) for _ in grid.shape)
    coarse = {a.name: a.points[::step] for a in grid}
    variables: dict[str, Any] = {}
    units = problem.data.units
    for name, values in states.items():
        variables[name] = (grid.names, values[thin], _attrs(units.get(name, "")))
    for b in sums.bases:
        if b.splines:
            variables |= _field(problem, sums, fit, b, coarse)
    residuals = np.split(fit.residuals, sums.equations)
    for e, rows in enumerate(residuals):
        label, values = (
            "residual" if len(residuals) == 1 else f"residual_{e}",
            fit.space.lattice(rows, np.nan),
        )
        scale = _term_sizes(sums, fit, e)
        note = {"long_name": "weak residual relative to the rms of the equation's terms"}
        variables[label] = (grid.names, _spread(values / scale, fit, coarse), note)
    return xr.Dataset(variables, {a.name: (a.name, coarse[a.name], _attrs(a.unit)) for a in grid})


def _term_sizes(sums: WeakSums, fit: Fit, equation: int) -> float:
    rows = sums.rows(fit.space, fit.coefficients)
    n = fit.space.size
    part = slice(equation * n, (equation + 1) * n)
    parts = np.asarray(rows.slopes[part].multiply(fit.coefficients[None, :]).power(2).sum(0)) / n
    return float(np.sqrt(parts.sum())) or 1.0


def _field(
    problem: InverseProblem, sums: WeakSums, fit: Fit, basis: Basis, coarse: Mapping[str, Array]
) -> dict[str, Any]:
    over = tuple(basis.splines)
    shape = tuple(len(coarse[c]) for c in over)
    here = sums.place[basis.name]
    parts = [basis.splines[c].matrix(0, coarse[c]) for c in over]
    values, covariance = fit.coefficients[here], fit.covariance[here, here]
    field = values.reshape(basis.shape)
    for c, m in zip(over, parts, strict=True):
        axis = list(basis.grid.names).index(c)
        field = np.moveaxis(np.tensordot(m, field, (1, axis)), 0, axis)
    unit = problem.unknowns[basis.name].unit
    # Between the places where they were held, bounds may be missed by a trifle.
    field = np.clip(field, problem.unknowns[basis.name].lower, problem.unknowns[basis.name].upper)
    sd, before = (
        np.sqrt(np.maximum(_pointwise(parts, c), 0.0)).reshape(shape)
        for c in (covariance, _beforehand(fit, basis))
    )
    return {
        basis.name: (over, field.reshape(shape), _attrs(unit)),
        f"{basis.name}_sd": (
            over,
            sd * max(1.0, fit.misfit),
            {"long_name": f"standard error of {basis.name}"},
        ),
        f"{basis.name}_prior_sd": (over, before, {"long_name": f"{basis.name} without data"}),
    }


def _pointwise(parts: list[Array], covariance: Array) -> Array:
    """Diagonal of ``P C P'`` for P the Kronecker product of the parts, through C's eigenvectors.

    Splines that barely reach into the domain vary by orders of magnitude more than others: each coefficient
    is taken in units of its own standard error.
    """
    if not np.isfinite(covariance).all():
        return np.full(int(np.prod([len(p) for p in parts])), np.inf)
    scale = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    keep, vectors = values > 1e-14 * values[-1], vectors * scale[:, None]
    total = np.zeros(int(np.prod([len(p) for p in parts])))
    sizes = [p.shape[1] for p in parts]
    for value, vector in zip(values[keep], vectors.T[keep], strict=True):
        mode = vector.reshape(sizes)
        for i, p in enumerate(parts):
            mode = np.moveaxis(np.tensordot(p, mode, (1, i)), 0, i)
        total += value * mode.ravel() ** 2
    return total


def _spread(values: Array, fit: Fit, coarse: Mapping[str, Array]) -> Array:
    """Residuals at the test functions' centres, interpolated to the nodes; NaN outside."""
    centres = [a.centres for a in fit.space.axes]
    if any(len(c) < 2 for c in centres):
        return np.full([len(x) for x in coarse.values()], np.nan)
    found = RegularGridInterpolator(centres, values, bounds_error=False, fill_value=np.nan)
    mesh = np.meshgrid(*coarse.values(), indexing="ij")
    return found(np.stack([m.ravel() for m in mesh], -1)).reshape(mesh[0].shape)


def _fit(problem: InverseProblem, data: GridData, states: Mapping[str, Array], seed: int) -> xr.Dataset:
    rows: dict[str, list[Array]] = {}
    index = {a.name: a.points for a in data.grid}
    for f in problem.fields:
        s = problem.data.samples(f)
        keep = slice(None)
        if len(s.values) > _MOST_SAMPLES:
            keep = np.sort(np.random.default_rng(seed).choice(len(s.values), _MOST_SAMPLES, replace=False))
        points = s.points[keep]
        place = tuple(
            np.clip(np.searchsorted(index[c], points[:, i] - 1e-9 * np.ptp(index[c])), 0, len(index[c]) - 1)
            for i, c in enumerate(s.coordinates)
        )
        order = [s.coordinates.index(c) for c in data.grid.names]
        found = {c: points[:, i] for i, c in enumerate(s.coordinates)}
        found |= {
            f: s.values[keep],
            f"{f}_sd": s.sd[keep],
            f"{f}_fitted": states[f][tuple(place[o] for o in order)],
        }
        found[f"{f}_held_out"] = np.zeros(len(points), dtype=bool)
        for n, v in found.items():
            rows.setdefault(n, []).append(v)
    return _stacked(rows, problem)


def _stacked(rows: Mapping[str, list[Array]], problem: InverseProblem) -> xr.Dataset:
    """Rows of all fields one after another; NaN where a row is of another field."""
    counts = [len(v) for v in rows[problem.coordinates[0]]]
    variables: dict[str, Any] = {c: ("observation", np.concatenate(rows[c])) for c in problem.coordinates}
    for i, f in enumerate(problem.fields):
        for n in (f, f"{f}_sd", f"{f}_fitted", f"{f}_held_out"):
            value = rows[n][0]
            blank = np.zeros if value.dtype == bool else lambda k: np.full(k, np.nan)
            parts = [value if j == i else blank(k) for j, k in enumerate(counts)]
            variables[n] = ("observation", np.concatenate(parts).astype(value.dtype))
    return xr.Dataset(variables).set_coords(list(problem.coordinates))


def _sensitivity(selection: RadiusSelection, fit: Fit, sums: WeakSums) -> xr.Dataset:
    """One row a radius that was tried, the chosen one last: estimates, standard errors, misfit."""
    rows = [*selection.tried.values(), fit]
    columns: dict[str, Any] = {"stage": ["radius"] * (len(rows) - 1) + ["chosen"]}
    for c in selection.grid.names:
        columns[f"radius_{c}"] = [r.space.radius[c] for r in rows]
    columns["misfit"] = [r.misfit for r in rows]
    columns["tests"] = [r.space.size for r in rows]
    for b in sums.bases:
        here = sums.place[b.name]
        columns[b.name] = [float(np.mean(r.coefficients[here])) for r in rows]
        columns[f"{b.name}_sd"] = [float(np.sqrt(np.mean(r.sd[here] ** 2))) for r in rows]
    return xr.Dataset({n: ("step", np.asarray(v)) for n, v in columns.items()})


def _provenance(
    problem: InverseProblem, settings: Settings, seed: int, selection: RadiusSelection, fit: Fit
) -> dict[str, Any]:
    return {
        "engine": "weak",
        "equation": [e.text for e in problem.system.equations],
        "data": problem.data.digest(),
        "unknowns": problem.described,
        "constants": dict(problem.constants),
        "fields": list(problem.fields),
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "versions": {"mollifier": __version__, "numpy": np.__version__},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": "cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "noise": {f: problem.data.noise_sd(f) for f in problem.fields},
        "radius": fit.space.radius,
        "tests": dict(zip(selection.grid.names, fit.space.shape, strict=True)),
        "priors": {n: asdict(h) for n, h in fit.priors.items()},
        "misfit": fit.misfit,
        "whiteness": fit.whiteness,
    }


def _attrs(unit: str) -> Mapping[str, str]:
    return {"units": unit} if unit else {}
