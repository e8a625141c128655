"""Equations without a coordinate of evolution, solved everywhere at once by Newton's method."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from mollifier.diagnostics.validation.discretisation import Discretisation, Part, on_nodes
from mollifier.diagnostics.validation.forward_problem import NoForwardSolutionError
from mollifier.equations.system import EquationSystem
from mollifier.mollify.grid import Grid

Array = NDArray[np.float64]

_NEWTON, _SETTLED = 40, 1e-10
_LEAST_STEP = 1e-3  # share of a Newton step


def solve_steady(
    states: xr.Dataset,
    fields: Mapping[str, xr.DataArray],
    system: EquationSystem,
    solved: tuple[str, ...],
    grid: Grid,
) -> dict[str, xr.DataArray]:
    """States that obey the equations on a grid, by damped Newton steps from the estimated ones.

    Parameters
    ----------
    states, fields, system, solved, grid
        As of `mollifier.diagnostics.validation.discretisation.Discretisation`.

    Raises
    ------
    NoForwardSolutionError
        If no Newton step reduces the residual before the equation holds.
    """
    discrete = Discretisation(grid, states, fields, [e.residual for e in system.equations], system, solved)
    u: dict[Part, Array] = {(f, 0): on_nodes(states[f], grid).ravel() for f in solved}
    first, size, moved = None, np.inf, np.inf
    for _ in range(_NEWTON):
        env = discrete.environment(0.0, u)
        residual = np.concatenate(discrete.evaluated(env))
        size = float(np.linalg.norm(residual))
        first = size if first is None else first
        if not np.isfinite(size):
            break
        try:
            step = splu(discrete.assembled(discrete.slopes(env), list(u))).solve(residual)
        except RuntimeError:
            raise NoForwardSolutionError("the linearised equation is singular") from None
        better = _damped(discrete, u, step, size)
        if better is None:
            break
        moved = max(float(np.abs(better[p] - u[p]).max()) / (float(np.ptp(u[p])) or 1.0) for p in u)
        u = better
        if moved < _SETTLED:
            break
    # Rounding stops Newton's method long after the equation holds.
    if not np.isfinite(size) or (size > 1e-6 * (first or 1.0) and moved > 1e-6):
        raise NoForwardSolutionError("Newton's method found no solution of the equation with the estimates")
    coords = {a.name: a.points for a in grid}
    return {f: xr.DataArray(u[f, 0].reshape(grid.shape), coords, grid.names) for f in solved}


def _damped(
    discrete: Discretisation, u: Mapping[Part, Array], step: Array, size: float
) -> dict[Part, Array] | None:
    """The values after the longest of halved steps that reduces the residual; None where none does."""
    share = 1.0
    while share > _LEAST_STEP:
        trial = {p: v.copy() for p, v in u.items()}
        for values, part in zip(trial.values(), np.split(step, len(trial)), strict=True):
            values[discrete.inner] -= share * part
        residual = np.concatenate(discrete.evaluated(discrete.environment(0.0, trial)))
        if np.linalg.norm(residual) < size:
            return trial
        share /= 2
    return None
