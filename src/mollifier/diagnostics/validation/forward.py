"""The equation solved forward with the estimates, on even grids, by finite differences.

With a coordinate of evolution: the method of lines and SciPy's implicit Radau method. Without one: sparse
Newton steps. Values at the start and in a layer as wide as a stencil at the ends are those of the estimated
states, corrected until they fit the data; all others come from the equation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from mollifier.data.selection import Samples
from mollifier.diagnostics.validation import forward_problem as posed
from mollifier.diagnostics.validation.corrections import corrected, errors_of
from mollifier.diagnostics.validation.forward_problem import UNIFORM, ForwardProblem, NoForwardSolutionError
from mollifier.diagnostics.validation.solvers import Solver, solve_on
from mollifier.diagnostics.validation.verdict import noise
from mollifier.equations.system import EquationSystem
from mollifier.mollify.arrays import Array, rms
from mollifier.problem.solution import Solution

# Finer grids are tried until the forward solution changes by less than this share of the noise.
_FINE, _LEVELS = 0.1, (1, 2, 4, 8)
# Above this share of the noise the change is reported.
_COARSE = 1 / 3
_LEAST = 16  # nodes along each axis


@dataclass(frozen=True, eq=False)
class Forward:
    """A forward solution and its prediction of the measurements."""

    fields: xr.Dataset  #: The states that were solved for.
    #: Observed state -> prediction less measurement in units of the noise, shape (n,), and where, shape (n,
    #: d): measurements away from the start and the ends, whose values are given.
    errors: Mapping[str, Array]
    points: Mapping[str, Array]
    #: Unknown -> by how many standard errors it lies from where the data fit best.
    shifts: Mapping[str, float]
    #: Term that the equations may lack -> by how many standard errors its coefficient is not zero.
    lacking: Mapping[str, float]
    notes: tuple[str, ...]  #: How it was made.
    resolved: bool  #: Whether a finer grid is known to change it little.


def forward(solution: Solution, system: EquationSystem) -> Forward:
    """Solve on finer and finer grids until the predictions change by less than a tenth of the noise.

    It raises `NoForwardSolutionError` where the solution blows up, or no Newton step helps, or the answer
    lacks what the equations need.
    """
    evolution = posed.evolution_of(system)
    solved = posed.solved_fields(system) if evolution is None else evolution.fields
    fields = posed.coefficients(solution, system)
    states = solution.dataset[[f for f in solution.states if f in system.names.fields]]
    missing = [f for f in solved if f not in states or not np.isfinite(states[f].values).all()]
    if missing:
        raise NoForwardSolutionError(f"the estimated {', '.join(missing)} is not finite everywhere")
    problem = ForwardProblem(states, fields, system, evolution, solved)
    data = {f: _measured(solution, problem, f) for f in solved if f in solution.observed}
    refined, solver, values, change = _resolved(problem, data)
    shape = [n for c, n in next(iter(values.values())).sizes.items() if c != UNIFORM]
    notes = [f"solved forward on {' x '.join(map(str, shape))} nodes"]
    if solver.restarts:
        notes.append(f"the equation lets errors grow: it was restarted {solver.restarts} times on the way")
    resolved = bool(np.isfinite(change)) and change <= _COARSE
    if not resolved:
        text = f"{change:.2g} times the noise" if np.isfinite(change) else "an unknown amount"
        notes.append(f"a grid twice as fine changes the forward solution by {text}: it is hardly resolved")
    shifts: Mapping[str, float] = {}
    lacking: Mapping[str, float] = {}
    if data:
        values, shifts, lacking, moved = corrected(
            problem, refined, solver, values, data, _directions(solution, fields)
        )
        notes.append(
            f"its start and ends were fitted to the data, which moved it by {moved:.2g} times the noise"
        )
    errors = {f: errors_of(values[f], d) for f, d in data.items()}
    found = {f: v.isel({UNIFORM: 0}, drop=True) if UNIFORM in v.dims else v for f, v in values.items()}
    points = {f: d.over(found[f].dims) for f, d in data.items()}
    return Forward(xr.Dataset(found), errors, points, shifts, lacking, tuple(notes), resolved)


def _resolved(
    problem: ForwardProblem, data: Mapping[str, Samples]
) -> tuple[int, Solver, dict[str, xr.DataArray], float]:
    """The level of refinement that is fine enough, its solver and solution, and what it changed."""
    change, before, found = np.inf, None, None
    sizes = [n for c, n in problem.states.sizes.items() if c != UNIFORM]
    levels = [n for n in _LEVELS if n == _LEVELS[-1] or n * min(sizes) >= _LEAST]
    for n in levels:
        if before is not None and not problem.affordable(n):
            break
        try:
            solver, values = solve_on(problem, n)
        except NoForwardSolutionError:
            if found is None:
                raise
            break  # too many steps on a finer grid; the coarser one is known to hold to what it changed
        found = n, solver, values
        errors = [errors_of(values[f], d) for f, d in data.items()]
        if before is not None:
            change = max((rms(new - old) for new, old in zip(errors, before, strict=True)), default=0.0)
            if change < _FINE:
                break
        before = errors
    assert found is not None  # the last level is always tried where no other is
    return *found, change


def _measured(solution: Solution, problem: ForwardProblem, name: str) -> Samples:
    """Measurements within the grid and away from its start and ends, where the states are given."""
    fit, states = solution.fit, problem.states
    keep = np.isfinite(fit[name].values)
    over = tuple(map(str, states[name].dims))
    for c in over:
        if c == UNIFORM or states[c].attrs.get("periodic"):
            continue
        x, nodes = fit[c].values.astype(float), states[c].values
        gap = float(np.max(np.diff(nodes)))
        keep &= x > nodes[0] + 0.5 * gap
        if c != problem.along and any(d.along(c) for ds in problem.system.derivatives.values() for d in ds):
            keep &= x < nodes[-1] - 0.5 * gap
    points = np.stack([np.zeros(keep.size) if c == UNIFORM else fit[c].values for c in over], axis=-1)
    values = fit[name].values - np.asarray(fit.get(f"{name}_shared", 0.0))
    return Samples(over, points.astype(float), values, noise(solution, name)).part(np.flatnonzero(keep))


def _directions(solution: Solution, fields: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """One standard error of each unknown that has one: of a field, everywhere."""
    found = {n: xr.DataArray(e.sd) for n, e in solution.estimates.items() if e.sd is not None}
    for n in solution.unknown_fields:
        if f"{n}_sd" in solution.dataset:
            found[n] = solution.dataset[f"{n}_sd"]
    return {n: v for n, v in found.items() if n in fields and np.isfinite(v.values).all() and (v > 0).any()}
