"""The equation solved forward with the estimates, on even grids, by finite differences.

With a coordinate of evolution: the method of lines and SciPy's implicit Radau method. Without one: sparse
Newton steps. Values at the start and in a layer as wide as a stencil at the ends are those of the estimated
states; all others come from the equation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.diagnostics.validation.discretisation import axis_of, interpolated
from mollifier.diagnostics.validation.forward_problem import (
    Evolution,
    NoForwardSolutionError,
    coefficients,
    evolution_of,
    solved_fields,
)
from mollifier.diagnostics.validation.method_of_lines import MethodOfLines
from mollifier.diagnostics.validation.misfit import noise, places
from mollifier.diagnostics.validation.steady import solve_steady
from mollifier.equations.system import EquationSystem
from mollifier.mollify.grid import Grid
from mollifier.problem.solution import Solution

Array = NDArray[np.float64]

# Finer grids are tried until the forward solution changes by less than this share of the noise.
_FINE, _LEVELS = 0.1, (1, 2, 4, 8)
# Above this share of the noise the change is reported.
_COARSE = 1 / 3
_MOST_NODES = {1: 801, 2: 6_000, 3: 12_000}
_MOST_NUMBERS = 4_000_000
_LEAST = 16  # nodes along each axis
_UNIFORM = "uniform"


@dataclass(frozen=True, eq=False)
class Forward:
    """A forward solution and its prediction of the measurements.

    Attributes
    ----------
    fields
        The states that were solved for.
    errors, points
        Observed state -> prediction less measurement in units of the noise, shape (n,), and where, shape
        (n, d): measurements away from the start and the ends, whose values are given.
    notes
        How it was made.
    """

    fields: xr.Dataset
    errors: Mapping[str, Array]
    points: Mapping[str, Array]
    notes: tuple[str, ...]


def forward(solution: Solution, system: EquationSystem) -> Forward:
    """Solve on finer and finer grids until the predictions change by less than a tenth of the noise.

    Parameters
    ----------
    solution
        Whose estimates and states are used.
    system
        Its equations.

    Raises
    ------
    NoForwardSolutionError
        As `solve_forward`, and if the solution lacks what the equations need.
    """
    evolution = evolution_of(system)
    along = "" if evolution is None else evolution.coordinate
    solved = solved_fields(system) if evolution is None else evolution.fields
    fields = coefficients(solution, system)
    states = solution.dataset[[f for f in solution.states if f in system.names.fields]]
    missing = [f for f in solved if f not in states or not np.isfinite(states[f].values).all()]
    if missing:
        raise NoForwardSolutionError(f"the estimated {', '.join(missing)} is not finite everywhere")
    rows = {f: _rows(solution, states, f, system, along) for f in solved if f in solution.observed}
    sd = {f: noise(solution, f)[keep] for f, keep in rows.items()}
    change, found, restarts, values, points = np.inf, {}, 0, {}, {}
    for n in _LEVELS:
        if n < _LEVELS[-1] and n * min(states.sizes.values()) < _LEAST:
            continue
        if found and not _affordable(states, along, n):
            break
        found, restarts = solve_forward(states, fields, system, evolution, solved, n)
        for v in found.values():
            for d in v.dims:
                v[d].attrs.update(states[d].attrs)
        before, points = values, {f: places(solution, found[f].dims)[keep] for f, keep in rows.items()}
        values = {f: interpolated(found[f], points[f]) for f in rows}
        if before:
            change = max(_rms((values[f] - before[f]) / sd[f]) for f in rows)
            if change < _FINE:
                break
    notes = [f"solved forward on {' x '.join(str(s) for s in next(iter(found.values())).shape)} nodes"]
    if restarts:
        notes.append(f"the equation lets errors grow: it was restarted {restarts} times on the way")
    if not np.isfinite(change) or change > _COARSE:
        text = f"{change:.2g} times the noise" if np.isfinite(change) else "an unknown amount"
        notes.append(f"a grid twice as fine changes the forward solution by {text}: it is hardly resolved")
    errors = {f: (values[f] - solution.fit[f].values[keep]) / sd[f] for f, keep in rows.items()}
    return Forward(xr.Dataset(found), errors, points, tuple(notes))


def _affordable(states: xr.Dataset, along: str, refined: int) -> bool:
    sizes = {c: (n - 1) * refined + 1 for c, n in states.sizes.items()}
    space = [n for c, n in sizes.items() if c != along]
    most = _MOST_NODES.get(len(space), _MOST_NODES[3]) * (1 if along else 4)
    return (
        float(np.prod(space)) <= most and float(np.prod([float(n) for n in sizes.values()])) <= _MOST_NUMBERS
    )


def _rows(
    solution: Solution, states: xr.Dataset, name: str, system: EquationSystem, along: str
) -> NDArray[np.bool_]:
    """Measurements within the grid and away from its start and ends, where the states are given."""
    fit = solution.fit
    keep = np.isfinite(fit[name].values)
    for c in map(str, states[name].dims):
        if states[c].attrs.get("periodic"):
            continue
        x, nodes = fit[c].values.astype(float), states[c].values
        gap = float(np.max(np.diff(nodes)))
        keep &= x > nodes[0] + 0.5 * gap
        if c != along and any(d.along(c) for ds in system.derivatives.values() for d in ds):
            keep &= x < nodes[-1] - 0.5 * gap
    return keep


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def solve_forward(
    states: xr.Dataset,
    fields: Mapping[str, xr.DataArray],
    system: EquationSystem,
    evolution: Evolution | None,
    solved: tuple[str, ...],
    refined: int,
) -> tuple[dict[str, xr.DataArray], int]:
    """States that obey the equations on one grid, and how often the evolution was restarted.

    Parameters
    ----------
    states
        Estimated states: starts, ends, and what is not solved for.
    fields
        Everything else that the equations name.
    evolution, solved
        As of `mollifier.diagnostics.validation.forward_problem`.
    refined
        Cells along each axis for one of the solution's.

    Raises
    ------
    NoForwardSolutionError
        If the equation cannot be solved: its solution blows up, or no Newton step helps.
    """
    names = tuple(c for c in map(str, states.dims) if evolution is None or c != evolution.coordinate)
    if not names:  # an ordinary differential equation: the same everywhere along a coordinate that is added
        wide = states.expand_dims({_UNIFORM: [0.0, 1.0]})
        found, restarts = solve_forward(wide, fields, system, evolution, solved, refined)
        return {f: v.isel({_UNIFORM: 0}, drop=True) for f, v in found.items()}, restarts
    for f in solved:
        if set(states[f].dims) != set(states.dims):
            raise NoForwardSolutionError(f"'{f}' does not vary over all coordinates")
    sizes = {}
    for c in names:
        n, periodic = states.sizes[c], bool(states[c].attrs.get("periodic"))
        sizes[c] = n * refined if periodic else (n - 1) * refined + 1
    grid = Grid(*(axis_of(states[c], sizes[c]) for c in names))
    if evolution is None:
        return solve_steady(states, fields, system, solved, grid), 0
    return MethodOfLines(states, fields, system, evolution, grid, refined).solve()
