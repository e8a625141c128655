"""The weak engine in the registry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from mollifier.engines.base import Cost, Engine, Request
from mollifier.engines.gates.alias import too_coarse
from mollifier.engines.weak.form import is_weak
from mollifier.engines.weak.hidden import restored, without_hidden
from mollifier.engines.weak.settings import WeakSettings
from mollifier.engines.weak.tuning import DEFAULT
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

# Nodes from which a grid is dense: below, a fit that solves the equation exactly uses the data better. For
# fields over one of two coordinates the joint engine's error was the smaller one in 9 of 12 runs up to 13,000
# nodes, at about the same cost; its intervals held 95 % of the field, those of the weak engine all of it.
_DENSE, _DENSE_FOR_FIELDS = 2_000, 10_000
_MOST_MISSING = 0.2  # Share of a gridded field that may be missing (docs: engines).
# Seconds: start, per point to a power, per squared coefficient of unknown fields; MiB: start, bytes a point,
# per coefficient (docs: check).
_START, _PER_POINT, _POWER, _FIELD, _MIB, _BYTES, _MIB_FIELD = 1.2, 1.0e-4, 0.75, 7e-5, 300.0, 90.0, 1.5
# Seconds for each law and for each point of it; bytes a point.
_LAW, _LAW_POINT, _LAW_BYTES = 2.0, 1.3e-4, 800.0


class WeakEngine(Engine):
    """Regression on the weak form: every derivative moves onto a test function."""

    name = "weak"
    settings = WeakSettings
    questions = frozenset(
        {
            "data read in blocks (obs.load() takes them into memory)",
            "laws of the state",
            "monotone fields",
            "noise that values share",
        }
    )

    def unsuited(self, problem: InverseProblem) -> str | None:
        """Why: it needs a dense grid, few gaps, and an equation with a weak form."""
        problem, data = self._seen(problem), problem.data.whole or problem.data
        if not data.gridded:
            return f"the data are scattered over {', '.join(problem.coordinates)}"
        partial = [f for f in problem.fields if set(data.coordinates_of(f)) != set(problem.coordinates)]
        if partial:
            return f"'{partial[0]}' is measured over {', '.join(data.coordinates_of(partial[0]))} only"
        if not is_weak(problem.system):
            return "the equation holds products of derivatives, which have no weak form"
        grid = data.grid(problem.coordinates)
        weak_only = any(u.prior == "tv" for u in problem.unknown_fields.values())
        weak_only = weak_only or bool(problem.laws)
        plain = len(grid.names) <= 2 and problem.system.order <= 2
        dense = _DENSE_FOR_FIELDS if problem.unknown_fields and plain else _DENSE
        if grid.size < dense and not weak_only:
            return f"the grid has {grid.size:,} nodes only"
        alone = [n for n, u in problem.unknown_fields.items() if set(u.over or ()) == set(grid.names)]
        if alone and not weak_only and len(grid.names) <= 2:
            return (
                f"'{alone[0]}' varies over all coordinates, so that no sum over the grid takes its noise away"
            )
        short = [a.name for a in grid if a.size < 2 * problem.system.order_along(a.name) + 1]
        if short:
            return f"there are too few nodes along {', '.join(short)} for the orders of the equation"
        seen, inside = problem.data, xr.DataArray(True)
        if problem.interior is not None:
            at = seen.grid(problem.coordinates)
            inside = xr.DataArray(problem.interior.on(at), dims=at.names)
        missing = max(float(seen.dataset[f].isnull().where(inside).mean()) for f in problem.fields)
        if missing > _MOST_MISSING:
            return f"{100 * missing:.0f} % of the grid are missing"
        return None if weak_only or problem.data.whole is not None else too_coarse(problem)

    def advantage(self, problem: InverseProblem) -> str:
        """The size of the grid."""
        size = (problem.data.whole or problem.data).grid(problem.coordinates).size
        return f"the data fill a grid of {size:,} nodes and every derivative moves onto a test function"

    def cost(self, problem: InverseProblem, collocation: Collocation) -> Cost:
        """Powers of the number of points."""
        problem = self._seen(problem)
        points = float((problem.data.whole or problem.data).dataset[problem.fields[0]].size)
        seconds = _START + _PER_POINT * points**_POWER
        coefficients = _coefficients(problem)
        seconds += _FIELD * coefficients**2
        for _ in problem.laws:  # their splines are evaluated at every node
            seconds += _LAW + _LAW_POINT * points
        each = _BYTES * len(problem.fields) + _LAW_BYTES * len(problem.laws)
        return Cost(seconds, _MIB + each * points / 2**20 + _MIB_FIELD * coefficients)

    def solve(self, request: Request) -> Solution:
        """As `mollifier.engines.weak.engine.solve_weak`."""
        from mollifier.engines.weak.engine import solve_weak

        seen = self._seen(request.problem)
        solution = solve_weak(replace(request, problem=seen))
        return solution if seen is request.problem else restored(request.problem, seen, solution)

    def _seen(self, problem: InverseProblem) -> InverseProblem:
        """The problem in weak form, without its hidden states, where that is possible."""
        return without_hidden(problem) or problem


def _coefficients(problem: InverseProblem) -> int:
    """Spline coefficients of all unknown fields but laws, about."""
    sizes = problem.data.dataset.sizes
    fewest = {1: DEFAULT.fewest_cells, 2: DEFAULT.fewest_cells_plane}
    total = 0
    for name, unknown in problem.unknown_fields.items():
        if name not in problem.laws:
            over = unknown.over or ()
            cells = (min(fewest.get(len(over), 8), sizes.get(c, 1) // DEFAULT.nodes_per_cell) for c in over)
            total += min(int(np.prod([n + 3 for n in cells])), DEFAULT.most_coefficients)
    return total


WEAK = WeakEngine()
