"""The weak engine: from a problem to a solution."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.priors.spline_prior import degree as wanted_degree
from mollifier.engines.priors.spline_prior import prior
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.engines.weak.conditioning import FieldMeasurements
from mollifier.engines.weak.estimate import Estimator, Fit
from mollifier.engines.weak.form import WeakForm, weak_form
from mollifier.engines.weak.prepare import coarseness, grid_data, smoothed
from mollifier.engines.weak.radius_selection import (
    DENSITY,
    RadiusSelection,
    first_radii,
    score,
    search,
    suited,
)
from mollifier.engines.weak.solution import weak_solution
from mollifier.engines.weak.start import MOST, begin, levels
from mollifier.engines.weak.sums import GridData, Integrands, WeakSums
from mollifier.mollify.grid import Grid
from mollifier.mollify.radius import Radius
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import Settings
from mollifier.problem.solution import Solution
from mollifier.problem.unknowns import FieldUnknown

Array = NDArray[np.float64]

# Splines within one radius of the first test functions, and the most along an axis and in all.
_SPLINES, _MOST_ALONG, _MOST = 2.0, 60, 900
# Fewest cells along an axis, by the number of coordinates of a field, and the nodes that each has at least: a
# field may vary faster than the state does whose derivative it is. Not where it was read: splines finer than
# what test functions tell would meet a reading by a bump of its own.
_FEWEST, _NODES = {1: 128, 2: 20}, 2
# Rows up to which their whole covariance is inverted, and centres within a radius then: as many as can be.
_ROWS, _DENSITIES = 2500, (DENSITY, 2.5, 2.0)
# Radii are looked for on so many nodes, if as many are left within one of them.
_ENOUGH, _FINE = 150_000, 12.0
# Nodes of an axis from which every other one is left out to see what it changes; changes by more are not
# noise.
_HALVED, _EXPLAINED, _UNRESOLVED = 32, 3.0, 0.05


def solve_weak(
    problem: InverseProblem,
    settings: Settings,
    seed: int = 0,
    progress: Callable[[Any], None] | None = None,
) -> Solution:
    """Solve by the weak form.

    Parameters
    ----------
    problem
        Its data lie on a grid.
    settings
        ``collocation.radius`` fixes the test functions' radius.
    seed
        Recorded; nothing is drawn.
    progress
        Not called: there are no steps to follow.

    Raises
    ------
    EquationError
        If a term of the equation is no derivative of anything simpler.
    DataError
        If the data are scattered or a field is measured on a part of the axes only.
    ConfigurationError
        If the grid is too small for the unknowns.
    """
    begun = time.monotonic()
    asked = _Asked(problem, settings)
    selection, fit = asked.solved([asked.basis(n) for n in problem.unknowns])
    return weak_solution(problem, settings, seed, selection, fit, time.monotonic() - begun)


class _Asked:
    """What is asked, before the bases of the unknown fields are chosen."""

    def __init__(self, problem: InverseProblem, settings: Settings) -> None:
        self.problem, self.form = problem, weak_form(problem.system)
        self.data = grid_data(problem, self.form)
        self.grid = self.data.grid
        channels = self.form.channels
        self.orders = {c: max(ch.orders[i] for ch in channels) for i, c in enumerate(self.grid.names)}
        fields = {f: self.data.values[f] for f in self.form.fields}
        if problem.unknown_fields:
            along = [c for c, order in self.orders.items() if order]
            self.data = _resolved(self.data, along, settings.training.noise_floor)
        self.given = _given(settings, self.grid, self.orders)
        over = {c for u in problem.unknown_fields.values() for c in u.over or ()}
        self.first = self.given or first_radii(
            self.grid, fields, self.data.variances, self.orders, over, self.data.gaps
        )
        self.integrands = Integrands(self.form)
        self.smooth = _smooth(self.data, self.form) if self.integrands.uneven else self.data

    def basis(self, name: str) -> Basis:
        """The functions that stand for an unknown."""
        return _basis(self.problem, name, self.grid, self.first, self.form)

    def selection(self, bases: Sequence[Basis], steps: Sequence[int]) -> RadiusSelection:
        """The estimator on every so many nodes, with no radius tried."""
        part = self.data.thinned(steps)
        these = [replace(b, grid=part.grid) for b in bases]
        kinds = {n: u.prior for n, u in self.problem.unknown_fields.items()}
        priors = [prior(b.name, b, kinds[b.name]) for b in these if b.splines]
        sums = WeakSums(self.integrands, part, these)
        alike = self.smooth is self.data
        smooth = sums if alike else WeakSums(self.integrands, self.smooth.thinned(steps), these)
        given = self.problem.readings
        known = [FieldMeasurements.of(b, given[b.name]) for b in these if b.name in given]
        estimator = Estimator(sums, priors, _bounds(self.problem, these), smooth, known=known)
        return RadiusSelection(self.orders, part.grid, estimator)

    def solved(self, bases: Sequence[Basis]) -> tuple[RadiusSelection, Fit]:
        """All radii tried, and the fit at those chosen."""
        selection = self.selection(bases, [1] * len(self.first))
        if self.given:
            chosen = selection.clipped(self.given)
            fit = selection.given(self.given, _begun(self.problem, selection, self.given))
        else:
            searched = self.selection(bases, _steps(self.grid, self.first))
            first = suited(searched, self.first)
            chosen, fit = search(searched, first, _begun(self.problem, searched, first))
            selection.tried = searched.tried
        final = _final(selection, chosen, fit)
        return selection, replace(final, resolution=self._resolution(bases, final, chosen))

    def _resolution(self, bases: Sequence[Basis], fit: Fit, chosen: tuple[float, ...]) -> Array:
        """What the grid's coarseness may add to the errors of the numbers, shape (m,).

        Where leaving out every other node changes more than noise explains: a third of the change, as for an
        error of second order, or all of it if it is no small one.
        """
        none = np.zeros(len(fit.coefficients))
        steps = [2 if a.size >= _HALVED and r else 1 for a, r in zip(self.grid, chosen, strict=True)]
        if max(steps) == 1 or fit.loose or self.problem.unknown_fields:
            return none
        half = self.selection(bases, steps)
        other = half.attempt(chosen, fit.coefficients, 2)
        if other is None or other.loose:
            return none
        change = np.abs(other.coefficients - fit.coefficients)
        explained = np.sqrt(np.diag(other.covariance) + np.diag(fit.covariance))
        error = np.where(change > _UNRESOLVED * np.abs(fit.coefficients), change, change / 3)
        return np.where(change > _EXPLAINED * explained, error, 0.0)


def _steps(grid: Grid, radii: tuple[float, ...]) -> list[int]:
    """Steps that leave enough nodes to judge radii by, where the grid is large and a radius holds many."""
    steps = [1] * len(radii)
    while grid.size / np.prod(steps) > _ENOUGH:
        cells = [r / (a.spacing * k) for r, a, k in zip(radii, grid, steps, strict=True)]
        widest = int(np.argmax(cells))
        if cells[widest] < 2 * _FINE:
            break
        steps[widest] *= 2
    return steps


def _final(selection: RadiusSelection, chosen: tuple[float, ...], fit: Fit) -> Fit:
    """The estimate at the chosen radii, by the whole covariance where that can be done and tells more."""
    few = selection.estimator
    tests = selection.space(chosen)
    few.posterior.averaged = True
    best = few.fit(tests, fit.coefficients, rounds=2 if selection.fields else 3)
    if best.loose or not best.variances.max() > 0:
        return best
    if selection.fields:
        return best
    density = next((d for d in _DENSITIES if selection.held(selection.space(chosen, d)) <= _ROWS), None)
    if density is None:
        return best
    whole = Estimator(few.sums, few.priors, few.bounds, few.smooth, whole=True)
    try:
        found = whole.fit(selection.space(chosen, density), best.coefficients, rounds=1)
    except np.linalg.LinAlgError:
        return best
    return found if not found.loose and score(found, whole) < score(best, few) else best


def _resolved(data: GridData, along: Sequence[str], floor: float) -> GridData:
    """Data whose noise is no less than what their grid leaves open, or than a share of how they vary.

    On data that are more exact than splines can be, errors and radii would be judged by nothing but rounding.
    """
    values, variances = data.values, data.variances
    return replace(
        data,
        variances={
            f: np.maximum(v + coarseness(values[f], data.grid, along), (floor * np.nanstd(values[f])) ** 2)
            for f, v in variances.items()
        },
    )


def _smooth(data: GridData, form: WeakForm) -> GridData:
    fields = {f: smoothed(data.values[f], data.grid, data.variances[f], data.gaps) for f in form.fields}
    return replace(data, values={**data.values, **fields})


def _given(settings: Settings, grid: Grid, orders: dict[str, int]) -> tuple[float, ...] | None:
    """Radii that the user gave, where one is given for every axis."""
    radius = settings.collocation.radius
    if radius == "auto":
        return None
    given = Radius(grid, radius if not isinstance(radius, str) else 1.0)
    return tuple(given[c] if orders[c] else 0.0 for c in grid.names)


def _basis(problem: InverseProblem, name: str, grid: Grid, radii: tuple[float, ...], form: WeakForm) -> Basis:
    """The constant for a number; splines for a field, about as fine as the test functions can tell."""
    unknown = problem.unknowns[name]
    over = unknown.over or ()
    if not isinstance(unknown, FieldUnknown) or not over:
        return Basis(name, {}, grid)
    radius = dict(zip(grid.names, radii, strict=True))
    rough = 1 + max((d.total for d in form.unknowns if d.field == name), default=0)
    degree = max(wanted_degree(unknown.prior), rough)
    sizes = {}
    for c in over:
        axis = grid[c]
        cells = np.ceil(_SPLINES * axis.length / radius[c]) if radius[c] else axis.size
        cells = int(np.clip(cells, 4, min(_MOST_ALONG, max(axis.size - degree, 1))))
        if name not in problem.readings:
            cells = max(cells, min(_FEWEST.get(len(over), 0), axis.size // _NODES))
        sizes[c] = cells
    least = {c: degree + 1 if grid[c].periodic else 1 for c in sizes}
    while np.prod([n + degree for n in sizes.values()]) > _MOST and any(sizes[c] > least[c] for c in sizes):
        sizes[max(sizes, key=lambda c: sizes[c] - least[c])] -= 1
    splines = {
        c: AxisSplines(grid[c], n if grid[c].periodic else n + degree, degree) for c, n in sizes.items()
    }
    return Basis(name, splines, grid)


def _bounds(problem: InverseProblem, bases: list[Basis]) -> Array:
    low, high = [], []
    for b in bases:
        unknown = problem.unknowns[b.name]
        low.append(np.full(b.size, -np.inf if unknown.lower is None else unknown.lower))
        high.append(np.full(b.size, np.inf if unknown.upper is None else unknown.upper))
    return np.stack([np.concatenate(low), np.concatenate(high)])


def _begun(problem: InverseProblem, selection: RadiusSelection, radii: tuple[float, ...]) -> Array:
    """Where to start; numbers that the equations are not linear in are looked for where none is given."""
    sums, bounds = selection.estimator.sums, selection.estimator.bounds
    start = _start(problem, sums.bases)
    held = [b.name for b in sums.bases if b.name not in problem.system.linear_in]
    if not held or sums.size > MOST:
        return start
    values = {}
    for n in held:
        here = sums.place[n]
        if not problem.unknowns[n].over:
            given = problem.unknowns[n].initial is not None
            values[n] = start[here] if given else levels(*bounds[:, here.start])
    return begin(sums, selection.space(selection.clipped(radii)), start, held, values, bounds)


def _start(problem: InverseProblem, bases: Sequence[Basis]) -> Array:
    """Initial values, or the mean of readings; else zero where linear, or the middle of bounds."""
    linear = problem.system.linear_in
    parts = []
    for b in bases:
        unknown = problem.unknowns[b.name]
        level = 0.0
        if unknown.initial is not None:
            level = unknown.initial
        elif b.name in problem.readings:
            level = float(np.mean(problem.readings[b.name].values))
        elif b.name not in linear:
            low, high = unknown.lower, unknown.upper
            level = (
                (low + high) / 2
                if low is not None and high is not None
                else 1.0
                if low is None
                else low + 1.0
            )
        parts.append(np.full(b.size, level))
    return np.concatenate(parts)
