"""Corrections of estimated states: smooth functions, and how a forward solution responds to them.

The start and the ends of a forward solution are those of the estimated states, whose errors it carries on.
They are fitted to the data with the equation as a constraint: Gauss-Newton steps for the coefficients of
smooth functions. The response of the solution to these, and to the estimates, comes from the linearised
equation along the solution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from mollifier.data.interpolation import interpolated, on_grid
from mollifier.data.selection import Samples
from mollifier.diagnostics.validation.forward_problem import UNIFORM, ForwardProblem, NoForwardSolutionError
from mollifier.diagnostics.validation.modes import SmoothModes
from mollifier.diagnostics.validation.solvers import Solver, solve_on
from mollifier.mollify.arrays import Array, rms
from mollifier.mollify.grid import Grid, axis_of

# Functions along the coordinate of evolution, and along each other one, by the number of coordinates.
# With 16 for 64 the start of two solitons in a box kept errors that moved a coefficient by 7 standard
# errors.
_COUNTS = (8, 16, 6, 4)
_FINE = (8, 64, 12, 6)
# Functions along the coordinate of evolution where only its start counts: a value and a slope.
_START_COUNTS = 2
# Standard deviations of the corrections' prior that are tried, in units of the noise; of fields that are
# not measured, in units of a share of their range.
_SCALES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_SHARE = 0.01
# Most Gauss-Newton steps; they end where the sum of squares is as linearised, to such a share.
_STEPS = 4
_SETTLED = 0.01
# Values of all responses at one time; larger grids are given fewer functions.
_MOST_VALUES = 400_000
# Measurements of a state that the corrections are fitted to; of more, a random choice.
_MOST_POINTS = 20_000
# Difference, in standard errors of an estimate, over which the equation is linearised.
_DIFFERENCE = 0.1


def errors_of(field: xr.DataArray, data: Samples) -> Array:
    """A field's difference to measurements in units of the noise, shape (n,)."""
    if UNIFORM in field.dims:
        field = field.isel({UNIFORM: 0}, drop=True)
    return (interpolated(field, data.over(field.dims)) - data.values) / data.sd


def modes_of(states: xr.Dataset, along: str, solver: Solver, fields: int) -> SmoothModes:
    """As many functions as the grid allows; few along the evolution where only its start is corrected.

    Those alone that differ from zero where states are given: at the start and the ends, or at any time where
    the evolution is restarted.
    """
    axes = {c: axis_of(states[c]) for c in map(str, states.dims) if c != UNIFORM}
    ends = not along or solver.restarts or any(not a.periodic for c, a in axes.items() if c != along)
    place = min(len(axes), len(_COUNTS)) - 1
    most = _FINE[place]
    late = _COUNTS[place] if ends else _START_COUNTS
    given = np.setdiff1d(np.arange(solver.grid.size), solver.discrete.inner)
    starts = max(k for _, k in solver.parts) + 1
    while True:
        counts = {c: min(most, late if c == along else most, a.size) for c, a in axes.items()}
        counts = {c: n - int(axes[c].periodic and n % 2 == 0) for c, n in counts.items()}
        modes = SmoothModes(axes, counts, along)
        if not solver.restarts:
            modes = modes.touching(solver.grid, given, starts)
        if most <= 2 or solver.grid.size * fields * modes.size <= _MOST_VALUES:
            return modes
        most -= 1


def corrected(
    problem: ForwardProblem,
    refined: int,
    solver: Solver,
    values: dict[str, xr.DataArray],
    data: Mapping[str, Samples],
    directions: Mapping[str, xr.DataArray],
) -> tuple[dict[str, xr.DataArray], dict[str, float], dict[str, float], float]:
    """Forward solutions with the states corrected until they fit the data.

    The problem was solved at a refinement, by ``solver`` with the solution ``values``. The directions are one
    standard error of each unknown.

    Returns the solution; by how many standard errors each unknown lies from where the data fit best, with the
    states corrected for each; by how many each term that the equations may lack differs from zero; and by how
    much of the noise the corrections moved the solution.
    """
    states, solved, along = problem.states, problem.solved, problem.along
    modes = modes_of(states, along, solver, len(solved))
    some = {f: np.random.default_rng(0).permutation(d.values.size) for f, d in data.items()}
    data = {f: d.part(np.sort(some[f][:_MOST_POINTS])) for f, d in data.items()}
    noise = {f: float(np.median(d.sd)) for f, d in data.items()}
    units = [noise.get(f) or _SHARE * float(np.ptp(states[f].values)) or 1.0 for f in solved]
    spread = np.repeat(units, modes.size)
    laws = any(v.ndim for v in directions.values())
    terms = {} if laws else solver.discrete.terms(solver.parts)
    at, own = np.zeros(len(spread)), dict(states.data_vars)
    errors = first = np.concatenate([errors_of(values[f], d) for f, d in data.items()])
    cost, responses = np.inf, np.zeros((errors.size, 0))
    for _ in range(_STEPS):
        slices = solver.responses(modes, directions, list(terms.values()), _DIFFERENCE)
        responses = sampled(slices, solver, along, data)
        if not np.isfinite(responses).all():
            return values, {}, {}, 0.0
        if not at.any():
            spread *= most_likely(responses[:, : len(at)] * spread, errors, _SCALES)
            cost = _cost(errors, at, spread)
        step = fitted(responses[:, : len(at)], errors, spread, at)[0]
        trial, expected = at + step, _cost(errors + responses[:, : len(at)] @ step, at + step, spread)
        for f, c in zip(solved, np.split(trial, len(solved)), strict=True):
            own[f] = states[f] + modes.correction(states[f], c)
        try:
            better = solve_on(replace(problem, states=states.assign(own)), refined)
        except NoForwardSolutionError:
            break
        after = np.concatenate([errors_of(better[1][f], d) for f, d in data.items()])
        reached = _cost(after, trial, spread)
        if not reached < cost:
            break
        (solver, values), at, errors, cost = better, trial, after, reached
        if reached < (1 + _SETTLED) * expected:
            break
    free = np.concatenate([spread, np.full(len(directions), np.inf)])
    own_columns, extra = np.split(responses, [len(free)], axis=1)
    step, sd = fitted(own_columns, errors, free, np.concatenate([at, np.zeros(len(directions))]))
    lacking = _scores(own_columns, extra, errors, free, np.concatenate([at, np.zeros(len(directions))]))
    here = slice(len(at), None)
    shifts = step[here] / np.maximum(sd[here], 1.0)
    named = dict(zip(directions, map(float, shifts), strict=True))
    return values, named, dict(zip(terms, lacking, strict=True)), rms(errors - first)


def _scores(responses: Array, extra: Array, errors: Array, spread: Array, at: Array) -> list[float]:
    """Standard errors between zero and each further coefficient, with all others fitted (Rao's score test).

    ``extra`` are the responses to these, shape (n, j); zero for those that the others make up for.
    """
    prior = np.diag(1.0 / spread)
    basis = np.linalg.qr(np.concatenate([responses, prior]))[0]
    errors = np.concatenate([errors, at / spread])
    found = []
    for column in extra.T:
        column = np.concatenate([column, np.zeros(len(at))])
        left = column - basis @ (basis.T @ column)
        size, own = np.linalg.norm(left), np.linalg.norm(column)
        found.append(float(-(left @ errors) / size) if size > 1e-3 * own else 0.0)
    return found


def _cost(errors: Array, at: Array, spread: Array) -> float:
    return float(np.sum(errors**2) + np.sum((at / spread) ** 2))


def sampled(
    slices: Iterator[dict[str, Array]], solver: Solver, along: str, data: Mapping[str, Samples]
) -> Array:
    """Responses (nodes, columns) of each state at successive times as those of the errors: (n, columns).

    They are interpolated linearly; measurements of one state follow those of another.
    """
    times, early = solver.times, next(slices)
    found = {f: _interpolated(early[f], solver.grid, d.over(solver.grid.names)) for f, d in data.items()}
    for before, after, late in zip(times[:-1], times[1:], slices, strict=True):
        for f, d in data.items():
            at = d.places[along]
            here = (at > before) & (at <= after)
            if here.any():
                share = ((at[here] - before) / (after - before))[:, None]
                space = d.over(solver.grid.names)[here]
                ends = [_interpolated(v[f], solver.grid, space) for v in (early, late)]
                found[f][here] = (1 - share) * ends[0] + share * ends[1]
        early = late
    return np.concatenate([found[f] / d.sd[:, None] for f, d in data.items()])


def _interpolated(values: Array, grid: Grid, points: Array) -> Array:
    """Values (nodes, columns) at points (n, d), linearly; NaN where one of them is not finite."""
    if not np.isfinite(values).all():
        return np.full((len(points), values.shape[1]), np.nan)
    return on_grid("responses", values.reshape(*grid.shape, -1), grid, points, "linear")


def most_likely(responses: Array, errors: Array, scales: Sequence[float]) -> float:
    """The scale of normal coefficients at which errors of white noise and responses are most likely.

    The responses are to the coefficients of scale 1, shape (n, k); the errors in units of the noise, (n,).
    """
    values, vectors = np.linalg.eigh(responses.T @ responses)
    values, parts = np.maximum(values, 0.0), (vectors.T @ (responses.T @ errors)) ** 2

    def log_evidence(scale: float) -> float:
        grown = 1 + scale**2 * values
        return float(np.sum(scale**2 * parts / grown) - np.sum(np.log(grown)))

    return max(scales, key=log_evidence)


def fitted(responses: Array, errors: Array, spread: Array, at: Array) -> tuple[Array, Array]:
    """The step of coefficients that fits errors under independent normal priors, and its standard errors.

    The responses of the errors to the coefficients have the shape (n, k), the errors are in units of the
    noise; priors have standard deviations ``spread``, infinite for none, and the coefficients are ``at``.
    """
    precision = 1.0 / spread**2
    information = responses.T @ responses + np.diag(precision)
    covariance = np.linalg.pinv(information, rcond=1e-12, hermitian=True)
    step = -covariance @ (responses.T @ errors + precision * at)
    return np.asarray(step), np.sqrt(np.maximum(np.diag(covariance), 0.0))
