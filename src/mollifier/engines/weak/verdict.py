"""The status of a weak estimate: whether the data determine it, and whether it is consistent with them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import xarray as xr

from mollifier.engines.gates.alias import too_coarse
from mollifier.engines.identifiability.structure import gauges, undetermined_by_structure
from mollifier.engines.identifiability.undetermined import (
    UNDETERMINED_SHARE,
    WARNED_SHARE,
    because,
    listed,
    undetermined_field,
    undetermined_places,
)
from mollifier.engines.splines.basis import Basis
from mollifier.engines.weak.boundary import End, Orders, Trace
from mollifier.engines.weak.estimate import Estimator, Fit
from mollifier.engines.weak.fields import pointwise_sd, prior_covariance
from mollifier.engines.weak.radius_selection import RadiusSelection
from mollifier.engines.weak.sums import WeakSums
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.equations.system import Equation
from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import chi2_upper
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.status import Status, StatusName


def verdict(problem: InverseProblem, fit: Fit, selection: RadiusSelection, dataset: xr.Dataset) -> Status:
    """The gravest finding about a fit, or that it converged.

    ``fit`` is the estimate, ``selection`` has those at other radii, and ``dataset`` the fields of the
    solution and their standard errors.
    """
    sums = selection.estimator.sums
    why = undetermined_by_structure(problem) or because(fit.free_directions, problem.system.linear_in)
    if why:
        return Status("undetermined", why)
    there = dataset[problem.fields[0]].notnull()
    shares = {
        b.name: _prior_share(dataset, fit, sums, b, there, gauges(problem)) for b in sums.bases if b.splines
    }
    lost = [undetermined_field(n, share) for n, share in shares.items() if share > UNDETERMINED_SHARE]
    return (
        _missed_measurements(fit, selection)
        or _misfit(problem, fit, selection)
        or _moving(fit, sums)
        or (Status("undetermined", lost[0]) if lost else None)
        or _grid_error(problem, fit, sums)
        or _unsteady(fit, selection)
        or _partly_left_to_prior(shares)
        or Status("converged")
    )


def _missed_measurements(fit: Fit, selection: RadiusSelection) -> Status | None:
    """Whether a field contradicts its measurements."""
    estimator = selection.estimator
    for known in estimator.known:
        missed = known.misfit(fit.coefficients[estimator.sums.place[known.name]])
        if missed > selection.tuning.missed:
            return Status(
                "misfit",
                f"the field found misses the measurements of '{known.name}' by {missed:.2g} of their "
                "standard errors: measurements and equation contradict each other, or the measurements vary "
                "faster than the field's splines",
            )
    return None


def _moving(fit: Fit, sums: WeakSums) -> Status | None:
    """Whether a law, whose size decides the weights of the residuals, still changes with them."""
    for name, law in sums.laws.items():
        here = sums.place[name]
        change, variance = fit.moved[here], law.mean_variance(fit.covariance[here, here])
        size = np.sqrt(change @ law.mass @ change / variance) if variance > 0 else 0.0
        if size > sums.tuning.moving:
            return Status(
                "step limit",
                f"'{name}' still changes by {size:.2g} of its standard errors from one round of weights to "
                "the next: give it bounds, or data with less noise or closer nodes",
            )
    return None


def _partly_left_to_prior(shares: Mapping[str, float]) -> Status | None:
    parts = [f"'{n}' over {100 * s:.0f} %" for n, s in shares.items() if s > WARNED_SHARE]
    message = f"the data say little about {', '.join(parts)} of the domain"
    return Status("converged", message) if parts else None


def _misfit(problem: InverseProblem, fit: Fit, selection: RadiusSelection) -> Status | None:
    """Whether residuals, or whitened ones, exceed both the noise and a share of the equation's terms.

    Where the data are too coarse for their integrals, it is open whether the equation holds, unless damaged
    values make them look so.
    """
    sums = selection.estimator.sums
    excess = float(np.sqrt(np.mean(np.maximum(fit.residuals**2 - fit.variances, 0.0))))
    terms = term_size(sums.rows(fit.space, fit.coefficients).slopes, fit.coefficients, len(fit.residuals))
    share = excess / terms if terms else np.inf
    known = all(problem.data.noise_source(f) == "given" for f in problem.fields)
    values = np.inf if known else float(sum(sums.data.values[f].size for f in problem.fields))
    found = ((fit.misfit, fit.freedom[0]), (fit.whiteness, fit.freedom[1]))
    beyond = any(size > largest_misfit(free, values, sums.tuning) for size, free in found)
    if not beyond or share <= sums.tuning.misfit_share:
        return None
    coarse = None if problem.data.damage else _coarse(problem)
    why = coarse or "the equation, the unknowns' form or the data's resolution is at fault"
    if conditions := contradicting(problem, fit, selection.estimator):
        named = " or ".join(f"'{c}'" for c in conditions)
        why = f"the condition {named} contradicts the data, which agree with it but for a constant"
    return Status(
        "undetermined" if coarse and not conditions else "misfit",
        f"the residuals are {fit.widening:.2g} times what the noise explains, {100 * share:.2g} % of the "
        f"equation's terms: {why}. Standard errors were widened by that factor",
    )


def contradicting(problem: InverseProblem, fit: Fit, estimator: Estimator) -> tuple[Equation, ...]:
    """The conditions at the end where a constant explains most of a misfit; none where that is too little.

    A constant beside a condition is one at the traces of its test functions. By how much it would lower the
    weighted sum of squared residuals is its score statistic (Rao, Proc. Camb. Phil. Soc. 44:50, 1948).
    """
    sums, space, r = estimator.sums, fit.space, fit.residuals
    many = len(r) > sums.tuning.inverted_residuals
    if not problem.system.conditions or many or not np.isfinite(fit.covariance).all():
        return ()
    _, weights, independent = estimator.whitening(space, fit.coefficients)
    plain = sums.rows(space, fit.coefficients).slopes
    slopes, white, within = weights @ plain, weights @ r, fit.covariance
    if not estimator.priors:  # far from the noise the estimate is not that of these weights
        size = np.maximum(np.linalg.norm(plain, axis=0), 1e-300)
        within = np.linalg.pinv(plain.T @ slopes / np.outer(size, size), hermitian=True) / np.outer(
            size, size
        )
        white = white - slopes @ (within @ (plain.T @ white))
    plane = (0,) * len(space.axes)
    candidates: list[tuple[Orders, str, End | None]] = [(plane, "", None)]  # a source, of no condition
    for i, (axis, ends) in enumerate(zip(space.axes, sums.form.ends, strict=True)):
        at = [k for k in axis.weights if isinstance(k, Trace)]
        candidates += [((*plane[:i], k, *plane[i + 1 :]), axis.axis.name, ends[k.end]) for k in at]
    found, one = [], np.ones(sums.data.grid.shape)
    for (orders, name, end), e in product(candidates, range(sums.equations)):
        added = np.zeros(len(r))
        added[sums.part(e, space)] = space.project(one, orders)
        shared = added @ slopes
        left = added @ (weights @ added) - shared @ within @ shared
        found.append(((added @ white) ** 2 / left if left > 0 else 0.0, name, end))
    lowered, name, end = max(found, key=lambda f: f[0])
    if end is None or lowered < sums.tuning.misfit_named * (float(r @ white) - independent):
        return ()
    return tuple(c for c in problem.system.conditions if c.at == {name: end.place})


def largest_misfit(free: float, values: float, tuning: WeakTuning = DEFAULT) -> float:
    """The largest rms of residuals in their standard errors that noise explains.

    The residuals have ``free`` degrees of freedom, and the noise was estimated from so many ``values``,
    infinite where it was given.

    >>> round(largest_misfit(10, np.inf), 2), round(largest_misfit(1000, np.inf), 2)
    (1.72, 1.08)
    """
    free = 1 / (1 / free + tuning.noise_freedom / values)
    return max(tuning.misfit, float(np.sqrt(chi2_upper(tuning.misfit_chance, free) / free)))


def _coarse(problem: InverseProblem) -> str | None:
    """That the grid is too coarse for the engine, and which engine's answer does not depend on it."""
    why = too_coarse(problem)
    return why and f"{why}, so that this engine cannot tell; engine 'joint' does without such integrals"


def _grid_error(problem: InverseProblem, fit: Fit, sums: WeakSums) -> Status | None:
    """Whether the spacing of the grid dominates an unknown's error, and exceeds a share of the unknown."""
    if not len(fit.resolution):
        return None

    def coarse(basis: Basis, level: float) -> bool:
        here = sums.place[basis.name]
        error, value = (v[here] @ basis.mass @ v[here] for v in (fit.resolution, fit.coefficients))
        noise = fit.widening**2 * basis.mean_variance(fit.covariance[here, here])
        return bool(error > noise / 3 and error > level**2 * value)  # above half of the standard error

    levels: tuple[tuple[float, StatusName], ...] = (
        (sums.tuning.grid_undetermined, "undetermined"),
        (sums.tuning.grid_error, "converged"),
    )
    for level, name in levels:
        names = [b.name for b in sums.bases if coarse(b, level)]
        if names:
            return Status(
                name,
                f"{listed(names)} change when the data are integrated by splines of a lower degree: "
                f"{_coarse(problem) or 'the grid hardly resolves the field'}; standard errors were widened "
                "for it",
            )
    return None


def _unsteady(fit: Fit, selection: RadiusSelection) -> Status | None:
    """Whether estimates of numbers at neighbouring radii differ by more than their errors allow."""
    sums, names = selection.estimator.sums, []
    here = np.array([a.radius for a in fit.space.axes])
    along = here > 0
    for name, i in sums.numbers.items():
        for radii, other in selection.tried.items():
            if other.free_directions:
                continue
            near = np.abs(np.log(np.array(radii)[along] / here[along])).max(initial=0.0) < 0.5
            difference = abs(other.coefficients[i] - fit.coefficients[i])
            if near and difference > sums.tuning.unsteady * max(other.sd[i], fit.sd[i]):
                names.append(name)
                break
    if not names:
        return None
    return Status("converged", f"{listed(names)} move with the radius by more than their standard errors")


def _prior_share(
    dataset: xr.Dataset,
    fit: Fit,
    sums: WeakSums,
    basis: Basis,
    there: xr.DataArray,
    gauge: Mapping[str, tuple[str, ...]],
) -> float:
    """Share of the measured domain where a field, or its distance from its mean, is left to its prior."""
    name, here = basis.name, sums.place[basis.name]
    values, sd = dataset[name].values, dataset[f"{name}_sd"].values
    covariance = fit.covariance[here, here]
    if not np.isfinite(covariance).all():
        return 1.0
    centred = basis.without_mean(gauge.get(name, ()))
    dims = dataset[name].dims
    parts = [s.matrix(0, dataset[c].values) for c, s in zip(dims, basis.splines.values(), strict=True)]
    after, before = (
        pointwise_sd(parts, centred @ c @ centred.T) for c in (covariance, prior_covariance(fit, basis))
    )
    lost = undetermined_places(values, sd, after, before)
    measured = there.any([d for d in there.dims if d not in dims]).broadcast_like(dataset[name])
    return float(np.mean(lost[measured.transpose(*dims).values]))


def term_size(slopes: Array, coefficients: Array, count: int) -> float:
    """Rms over ``count`` residuals of the equation's terms ``slopes * coefficients``."""
    return float(np.sqrt(np.sum((slopes * coefficients) ** 2) / count))
