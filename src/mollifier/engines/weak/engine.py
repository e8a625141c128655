"""The weak engine: from a problem to a solution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np

from mollifier.engines.base import Request
from mollifier.engines.priors.field_prior import field_prior
from mollifier.engines.splines.basis import on_grid
from mollifier.engines.start import trial_values
from mollifier.engines.weak.bases import basis_of, bounds_of, initial_coefficients
from mollifier.engines.weak.conditioning import FieldMeasurements
from mollifier.engines.weak.data import GridData
from mollifier.engines.weak.estimate import Estimator, Fit
from mollifier.engines.weak.form import form_of
from mollifier.engines.weak.integrands import integrands_of
from mollifier.engines.weak.passes import Pace
from mollifier.engines.weak.prepare import grid_data, without_outliers
from mollifier.engines.weak.radius_selection import Radii, RadiusSelection, first_radii, score
from mollifier.engines.weak.settings import WeakSettings
from mollifier.engines.weak.smoothing import interpolation_variance
from mollifier.engines.weak.solution import weak_solution
from mollifier.engines.weak.start import start_values
from mollifier.engines.weak.sums import WeakSums, residuals_of
from mollifier.engines.weak.testspace import TestSpace
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.radius import Radius
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution


def solve_weak(request: Request) -> Solution:
    """Solve by the weak form, with data on a grid.

    The seed only thins large data for display; progress is called after every radius that is tried, and after
    every block of data that are read in blocks. Raises `EquationError` if a term of the equation is no
    derivative of anything simpler, `DataError` if the data are scattered, or a field is measured along a part
    of the axes only, and `ConfigurationError` if the grid is too small for the unknowns.
    """
    problem, settings = request.problem, request.settings
    if settings.training.likelihood != "normal":
        problem = without_outliers(problem, form_of(problem, settings.tuning))
    follow = None if request.progress is None else Pace(request.progress)
    selection, fit = _Run(problem, settings, follow).solved()
    floor = settings.training.noise_floor if problem.unknown_fields else 0.0
    return weak_solution(problem, request.seed, selection, fit, floor)


class _Run:
    """A problem with its data on their grid, and the bases of its unknowns."""

    def __init__(self, problem: InverseProblem, settings: WeakSettings, follow: Pace | None = None) -> None:
        self.problem, self.tuning, self.follow = problem, settings.tuning, follow
        form = form_of(problem, self.tuning)
        blocks = None if follow is None else partial(follow, "blocks")
        self.data = replace(grid_data(problem, form), follow=blocks)
        self.grid = self.data.grid
        self.orders = {c: form.order(i) for i, c in enumerate(self.grid.names)}
        if problem.unknown_fields:
            along = [c for c, order in self.orders.items() if order]
            self.data = _with_noise_floor(self.data, along, settings.training.noise_floor)
        self.integrands = integrands_of(form)
        over = {c for u in problem.unknown_fields.values() for c in u.over or ()}
        self.given = _given_radii(settings, self.grid, self.orders)
        self.first = self.given or first_radii(self.data, self.orders, over)
        self.bases = [basis_of(problem, n, self.grid, self.first, self.integrands) for n in problem.unknowns]

    def selection(self, steps: Sequence[int]) -> RadiusSelection:
        """The estimator on every so many nodes along each axis, with no radius tried."""
        data = self.data.thinned(steps)
        bases = on_grid(self.bases, data.grid)
        kinds = {n: u.prior for n, u in self.problem.unknown_fields.items()}
        priors = {
            b.name: field_prior(b.lattice, kinds[b.name], tuning=self.tuning.priors)
            for b in bases
            if b.splines
        }
        given = self.problem.measurements
        known = [FieldMeasurements.of(b, given[b.name]) for b in bases if b.name in given]
        sums = WeakSums(self.integrands, data, bases)
        # What values share is in the covariance only, not in its diagonal.
        shared = bool(data.effects)
        estimator = Estimator(sums, priors, bounds_of(self.problem, bases), shared, known)
        return RadiusSelection(self.orders, estimator, follow=self.follow)

    def solved(self) -> tuple[RadiusSelection, Fit]:
        """All radii tried, and the fit at the best."""
        whole = self.selection([1] * len(self.first))
        if self.given:
            chosen = whole.clipped(self.given)
            fit = whole.given(self.given, self._start(whole, self.given))
        else:
            searched = self.selection(self._steps())
            first = searched.feasible(self.first)
            chosen, fit = searched.search(first, self._start(searched, first))
            whole.tried = searched.tried
        return whole, _final(whole, chosen, fit)

    def _steps(self) -> list[int]:
        """Steps that thin a large grid for the search, where a radius holds many nodes."""
        steps = [1] * len(self.first)
        while self.grid.size / np.prod(steps) > self.tuning.thinned_nodes:
            cells = [r / (a.spacing * k) for r, a, k in zip(self.first, self.grid, steps, strict=True)]
            widest = int(np.argmax(cells))
            if cells[widest] < 2 * self.tuning.thinned_cells:
                break
            steps[widest] *= 2
        return steps

    def _start(self, selection: RadiusSelection, radii: Radii) -> Array:
        """Coefficients to start from; of unknowns that the equations are not linear in, the best tried."""
        problem, sums, bounds = self.problem, selection.estimator.sums, selection.estimator.bounds
        if self.data.effects:  # far from the solution their covariance is wrong: first as white noise
            white = copy(self)
            white.data = replace(self.data, variances=self.data.all_variances, effects=())
            return white.solved()[1].coefficients
        start = initial_coefficients(problem, sums.bases)
        nonlinear = [b.name for b in sums.bases if b.name not in problem.system.linear_in]
        if not nonlinear or sums.size > self.tuning.start_coefficients:
            return start
        values = {}
        for n in (n for n in nonlinear if n in sums.numbers):
            unknown, tuning = problem.unknowns[n], self.tuning
            tried = trial_values(unknown, tuning.start_decades, tuning.start_between)
            values[n] = tried if unknown.initial is None else start[sums.place[n]]
        return start_values(sums, selection.space(radii), start, nonlinear, values, bounds)


def _final(selection: RadiusSelection, chosen: Radii, fit: Fit) -> Fit:
    """The estimate at the chosen radii; of numbers, with the whole covariance where that is more precise.

    ``fit`` is that at these radii on the nodes that they were chosen on.
    """
    estimator = selection.estimator
    if selection.dense:
        rounds = 2 if estimator.instrumental else 1
        best = estimator.fit(selection.space(chosen), fit.coefficients, rounds)
        estimator.posterior.averaged = True
        estimator.posterior.adapt()
        best = estimator.again(best)
        return _with_grid_errors(best, estimator, selection, chosen)
    whole, density = replace(estimator, whole=True), _invertible(selection, chosen)
    found = None
    if density is not None and not fit.free_directions and estimator.sums.noisy:
        found = _attempted(whole, selection.space(chosen, density), fit.coefficients)
    if found is not None and score(found, whole) < _least_score(fit, estimator):
        return _with_grid_errors(found, whole, selection, chosen, density)
    best = estimator.fit(selection.space(chosen), fit.coefficients, rounds=2 if estimator.instrumental else 1)
    if found is not None and score(found, whole) < score(best, estimator):
        return _with_grid_errors(found, whole, selection, chosen, density)
    best = estimator.fit(best.space, best.coefficients, rounds=2)
    if found is not None:
        best = replace(best, whiteness=found.whiteness, freedom=(best.freedom[0], found.freedom[1]))
    return _with_grid_errors(best, estimator, selection, chosen)


def _least_score(fit: Fit, estimator: Estimator) -> float:
    """The least `score` that a fit on thinned data may have on all: standard errors go with nodes^-1/2."""
    thinned = math.prod(a.axis.size for a in fit.space.axes)
    return score(fit, estimator) - 0.5 * math.log(estimator.sums.data.grid.size / thinned)


def _invertible(selection: RadiusSelection, chosen: Radii) -> float | None:
    """The first density of test functions whose whole covariance can be inverted."""
    for density in selection.tuning.inverted_densities:
        if selection.dense_residuals(selection.space(chosen, density)) <= selection.tuning.inverted_residuals:
            return density
    return None


def _attempted(whole: Estimator, tests: TestSpace, start: Array) -> Fit | None:
    """The fit with the whole covariance; None where it is singular, or leaves numbers undetermined."""
    try:
        found = whole.fit(tests, start, rounds=1)
    except np.linalg.LinAlgError:
        return None
    return None if found.free_directions else found


def _with_grid_errors(
    fit: Fit, estimator: Estimator, selection: RadiusSelection, chosen: Radii, density: float | None = None
) -> Fit:
    """A fit with the errors by the spacing of the grid, as quadrature of lower degrees shows them.

    The error at the first degree is its difference to the second, times the ratio of this difference to that
    of second and third, which is less than 1 where the degrees converge. The mollified fields are integrated:
    noise is no error of quadrature.
    """
    if fit.free_directions or all(a.exact for a in fit.space.axes):
        return fit
    degrees, sums = selection.tuning.quadrature_degrees, estimator.sums
    tried = (replace(selection.tuning, quadrature_degrees=degrees[i:]) for i in range(len(degrees)))
    tests = tuple(replace(selection.space(chosen, density, t), gaps=None) for t in tried)
    found = []
    for residuals in residuals_of(sums.over(sums.data.clear()), tests, fit.coefficients):
        lattices = residuals.reshape(-1, *fit.space.shape)
        found.append(fit.moved_by(np.concatenate([fit.space.rows(one) for one in lattices])))
    first, second = np.diff(found, axis=0)
    for place in sums.place.values():
        ratio = np.linalg.norm(first[place]) / max(np.linalg.norm(second[place]), 1e-300)
        first[place] *= min(1.0, ratio)
    return replace(fit, resolution=first)


def _with_noise_floor(data: GridData, along: Sequence[str], floor: float) -> GridData:
    """Data whose noise is no less than their interpolation error and a share ``floor`` of their variation.

    Data that are more exact than the splines can represent would have errors and radii judged by rounding.
    """
    variances = {}
    for f, v in data.variances.items():
        error = interpolation_variance(data.part.values[f], data.part.grid, along, data.tuning)
        variances[f] = np.maximum(v + error, (floor * np.nanstd(data.part.values[f])) ** 2)
    return replace(data, variances=variances)


def _given_radii(settings: WeakSettings, grid: Grid, orders: dict[str, int]) -> Radii | None:
    """Radii that the user gave, along axes with derivatives; None for 'auto'."""
    radius = settings.collocation.radius
    if isinstance(radius, str):
        return None
    given = Radius(grid, radius)
    return tuple(given[c] if orders[c] else 0.0 for c in grid.names)
