"""Bases of the unknowns, their bounds and their initial coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.engines.splines.laws import LawBasis
from mollifier.engines.start import level_within
from mollifier.engines.weak.integrands import Integrands
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis, Grid
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import MONOTONE, FieldUnknown


def basis_of(
    problem: InverseProblem, name: str, grid: Grid, radii: Sequence[float], integrands: Integrands
) -> Basis:
    """The constant for a number; for a field, splines about as fine as the test functions resolve.

    Along a state, those of a law cover the measured values. ``radii`` are those of the test functions along
    each axis, in its unit.
    """
    unknown, tuning = problem.unknowns[name], integrands.form.tuning
    over = unknown.over or ()
    if not isinstance(unknown, FieldUnknown) or not over:
        return Basis(name, {}, grid)
    highest = max((d.total for d in integrands.unknowns if d.field == name), default=0)
    edged = unknown.prior == "tv"
    degree = max(1 if edged else 5, 1 + highest)
    states = [c for c in over if c in problem.fields]
    if states:
        cells = tuning.law_cells if len(over) == 1 else tuning.law_cells_across
        axes = [Axis(c, *problem.extent(c), cells + 1) if c in states else grid[c] for c in over]
        # Splines on a periodic axis are as many as its cells.
        splines = {
            a.name: AxisSplines(a, max(cells, degree + 1) if a.periodic else cells + degree, degree)
            for a in axes
        }
        return LawBasis(name, splines, grid, MONOTONE[unknown.monotone])
    radius = dict(zip(grid.names, radii, strict=True))
    fewest = {1: tuning.fewest_cells, 2: tuning.fewest_cells_plane}.get(len(over), 0)
    per_cell = tuning.nodes_per_linear_cell if edged else tuning.nodes_per_cell
    cells = {}
    for c in over:
        axis = grid[c]
        count = np.ceil(tuning.splines_per_radius * axis.length / radius[c]) if radius[c] else axis.size
        cells[c] = int(np.clip(count, 4, min(tuning.most_cells, max(axis.size - degree, 1))))
        if name not in problem.measurements:
            cells[c] = max(cells[c], min(fewest, axis.size // per_cell))
    least = {c: degree + 1 if grid[c].periodic else 1 for c in over}
    while np.prod([n + degree for n in cells.values()]) > tuning.most_coefficients:
        widest = max(cells, key=lambda c: cells[c] - least[c])
        if cells[widest] <= least[widest]:
            break
        cells[widest] -= 1
    splines = {
        c: AxisSplines(grid[c], n if grid[c].periodic else n + degree, degree) for c, n in cells.items()
    }
    return Basis(name, splines, grid, MONOTONE[unknown.monotone])


def bounds_of(problem: InverseProblem, bases: Sequence[Basis]) -> Array:
    """Least and greatest value of every coefficient, shape (2, m); infinite without a bound."""
    ends = []
    for b in bases:
        low, high = problem.unknowns[b.name].lower, problem.unknowns[b.name].upper
        ends.append([[-np.inf if low is None else low], [np.inf if high is None else high]])
    return np.repeat(np.concatenate(ends, axis=1, dtype=float), [b.size for b in bases], axis=1)


def initial_coefficients(problem: InverseProblem, bases: Sequence[Basis]) -> Array:
    """Initial values, shape (m,).

    Where none is given, the mean of the field's measurements; else 0 for unknowns that the equations are
    linear in, and for others `level_within` their bounds.
    """
    parts = []
    for b in bases:
        unknown, level = problem.unknowns[b.name], 0.0
        if unknown.initial is not None:
            level = unknown.initial
        elif b.name in problem.measurements:
            level = float(np.mean(problem.measurements[b.name].values))
        elif b.name not in problem.system.linear_in:
            level = level_within(unknown)
        parts.append(np.full(b.size, level))
    return np.concatenate(parts)
