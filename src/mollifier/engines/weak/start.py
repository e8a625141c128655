"""Start values of unknowns that the equations are not linear in: the best of many values tried.

Given those, the others follow from linear equations. Each trial is judged by the sum of squared residuals
over that of their noise variances, which chance moves by as much whatever the values: less these variances,
it would by more the greater they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from mollifier.engines.start import search_values
from mollifier.engines.weak.sums import WeakSums
from mollifier.engines.weak.testspace import TestSpace
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Index

Trial = tuple[float, float, Array]


def start_values(
    sums: WeakSums,
    space: TestSpace,
    start: Array,
    nonlinear: Collection[str],
    values: Mapping[str, Array],
    bounds: Array,
) -> Array:
    """The best coefficients (m,) found.

    ``start`` (m,) are the coefficients of all unknowns and ``bounds`` (2, m) theirs. ``nonlinear`` are the
    unknowns that the equations are not linear in; those of them that are numbers have ``values`` to try
    first.
    """
    tuning = sums.tuning
    fixed = {i for n in nonlinear for i in range(sums.place[n].start, sums.place[n].stop)}
    linear = np.array([i for i in range(sums.size) if i not in fixed], dtype=int)
    best = _solved(sums, space, start, linear)
    least = best[0]

    def improves(name: str, value: float) -> bool:
        nonlocal best, least
        here = sums.place[name].start
        if not bounds[0, here] < value < bounds[1, here]:
            return False
        trial = best[2].copy()
        trial[here] = value
        found = _solved(sums, space, trial, linear)
        least = min(least, found[0])
        most = tuning.start_worse * least
        if found[0] > most or not (found[1] < best[1] or best[0] > most):
            return False
        best = found
        return True

    times = [10.0**step for step in tuning.start_steps]
    factors = [(t, 1 / t, -1.0) for t in times]  # no step of a fit would cross infinity
    present = {n: sums.place[n].start for n in values}
    search_values(
        values, tuning.start_sweeps, factors, tuning.start_moves, lambda n: best[2][present[n]], improves
    )
    return np.clip(best[2], *bounds)


def _solved(sums: WeakSums, space: TestSpace, trial: Array, linear: Index) -> Trial:
    """Sum of squared residuals, the same over the noise, and the coefficients, the linear ones solved for."""
    try:
        rows = sums.rows(space, trial)
        solved = trial.copy()
        if len(linear):
            g = rows.slopes[:, linear]
            vector, matrix = sums.bias(space, trial, np.ones(len(g)))
            scale = np.sqrt(np.maximum(np.sum(g**2, 0), 1e-300))
            slope = (g.T @ g - matrix[np.ix_(linear, linear)]) / np.outer(scale, scale)
            score = (g.T @ rows.residuals - vector[linear]) / scale
            values, vectors = np.linalg.eigh(slope)
            keep = values > sums.tuning.start_singular
            solved[linear] -= vectors[:, keep] @ ((vectors[:, keep].T @ score) / values[keep]) / scale
            rows = sums.rows(space, solved)
        noise = float(sums.variances(space, solved).sum())
    except (DataError, np.linalg.LinAlgError):
        return np.inf, np.inf, trial
    squares = float(rows.residuals @ rows.residuals)
    return squares, squares / noise if noise > 0 else squares, solved
