"""Equations without a coordinate of evolution, solved everywhere at once by Newton's method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from mollifier.diagnostics.validation.corrections import Modes
from mollifier.diagnostics.validation.discretisation import Discretisation, Part, Term, on_nodes
from mollifier.diagnostics.validation.forward_problem import NoForwardSolutionError
from mollifier.equations.system import EquationSystem
from mollifier.mollify.grid import Grid

Array = NDArray[np.float64]

_NEWTON, _SETTLED = 40, 1e-10
_LEAST_STEP = 1e-3  # share of a Newton step


class Steady:
    """Equations without a coordinate of evolution, on a grid.

    Parameters
    ----------
    states, fields, system, solved, grid
        As of `mollifier.diagnostics.validation.discretisation.Discretisation`.
    """

    times = np.zeros(1)
    restarts = 0

    def __init__(
        self,
        states: xr.Dataset,
        fields: Mapping[str, xr.DataArray],
        system: EquationSystem,
        solved: tuple[str, ...],
        grid: Grid,
    ) -> None:
        residuals = [e.residual for e in system.equations]
        self.discrete, self.grid = Discretisation(grid, states, fields, residuals, system, solved), grid
        self.values: dict[Part, Array] = {(f, 0): on_nodes(states[f], grid).ravel() for f in solved}

    def solve(self) -> dict[str, xr.DataArray]:
        """States that obey the equations, by damped Newton steps from the estimated ones."""
        discrete, u = self.discrete, self.values
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
            raise NoForwardSolutionError("Newton's method found no solution with the estimates")
        self.values = u
        coords = {a.name: a.points for a in self.grid}
        return {
            f: xr.DataArray(v.reshape(self.grid.shape), coords, self.grid.names) for (f, _), v in u.items()
        }

    @property
    def terms(self) -> dict[str, Term]:
        """What the equations may lack, by name."""
        return self.discrete.terms(self.values)

    def responses(
        self, modes: Modes, directions: Mapping[str, xr.DataArray], terms: Sequence[str], step: float
    ) -> Iterator[dict[str, Array]]:
        """Of each state, shape (nodes, columns), as of `Solver`."""
        discrete, parts = self.discrete, list(self.values)
        given = modes.given([f for f, _ in parts], parts, self.grid, 0.0, len(directions) + len(terms))
        ways = [discrete.direction(n, a) for n, a in directions.items()]
        known = self.terms if terms else {}
        added = [known[n] for n in terms]
        env = discrete.environment(0.0, self.values)
        rows = discrete.slopes(env)
        source = np.concatenate(discrete.sources(env, rows, given, ways, added, self.values, step))
        inner = -splu(discrete.assembled(rows, parts)).solve(source)
        for part, values in zip(parts, np.split(inner, len(parts)), strict=True):
            given[part][discrete.inner] = values
        yield {f: given[f, 0] for f, _ in parts}


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
