"""Where to start from, for unknowns that the equations are not linear in: the best of many values.

Given those, the others follow from linear equations. Each set of values is judged by what the residuals'
squares exceed their variances by, which noise leaves unchanged on average.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.weak.sums import WeakSums
from mollifier.engines.weak.testspace import TestSpace
from mollifier.errors import DataError

Array = NDArray[np.float64]
Found = tuple[float, float, Array]

# Decades looked at, and the steps (in decades) of the search from the best of them.
_DECADES, _STEPS = np.arange(-15, 16), (0.5, 0.25, 0.12, 0.06, 0.03)
_BETWEEN = 9
_SWEEPS, _MOST_STEPS = 3, 20
# Coefficients solved for at each value, and the size of an eigenvalue that is none.
MOST, _SINGULAR = 60, 1e-8
# Values that leave so many times the least squares are out: near a pole, where an expansion in the noise does
# not converge, the variance means nothing.
_WORSE = 4.0


def levels(lower: float, upper: float) -> Array:
    """Values to look at between bounds, either of which may be infinite.

    >>> levels(0.0, np.inf).min(), levels(2.0, 3.0).round(1).tolist()
    (np.float64(1e-15), [2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9])
    """
    if np.isfinite(lower) and np.isfinite(upper):
        between = np.arange(1, _BETWEEN + 1) / (_BETWEEN + 1)
        return lower + (upper - lower) * between
    sizes = 10.0**_DECADES
    both = np.concatenate([sizes, -sizes])
    if np.isfinite(lower):
        both = np.concatenate([both, lower + sizes])
    if np.isfinite(upper):
        both = np.concatenate([both, upper - sizes])
    return np.asarray(np.unique(both[(both > lower) & (both < upper)]), dtype=np.float64)


def begin(
    sums: WeakSums,
    space: TestSpace,
    start: Array,
    held: Collection[str],
    values: Mapping[str, Array],
    bounds: Array,
) -> Array:
    """The best coefficients found.

    Parameters
    ----------
    start
        Of all unknowns.
    held
        Unknowns that the equations are not linear in.
    values
        Those of them that are numbers, and the values to look at first, the given one where there is one.
    bounds
        Shape (2, m).
    """
    fixed = {i for n in held for i in range(sums.place[n].start, sums.place[n].stop)}
    linear = np.array([i for i in range(sums.size) if i not in fixed], dtype=int)
    best = _solved(sums, space, start, linear)
    least = best[0]

    def look(name: str, at: Array, value: float) -> bool:
        nonlocal best, least
        here = sums.place[name].start
        if not bounds[0, here] < value < bounds[1, here]:
            return False
        trial = at.copy()
        trial[here] = value
        found = _solved(sums, space, trial, linear)
        least = min(least, found[0])
        if found[0] > _WORSE * least or not (found[1] < best[1] or best[0] > _WORSE * least):
            return False
        best = found
        return True

    for _ in range(_SWEEPS if len(values) > 1 else 1):
        for name, tried in values.items():
            at = best[2]
            for value in tried:
                look(name, at, float(value))
    for step in _STEPS:
        for name in values:
            here, times = sums.place[name].start, 10.0**step
            for factor in (times, 1 / times):
                for _ in range(_MOST_STEPS):
                    if not look(name, best[2], float(best[2][here] * factor)):
                        break
    return np.clip(best[2], *bounds)


def _solved(sums: WeakSums, space: TestSpace, trial: Array, linear: NDArray[np.intp]) -> Found:
    """Squares of the residuals, what they exceed the noise by, and coefficients, the linear ones found."""
    try:
        rows = sums.rows(space, trial)
        solved = trial.copy()
        if len(linear):
            g = rows.slopes[:, linear].toarray()
            vector, matrix = sums.bias(space, trial, np.ones(len(g)))
            scale = np.sqrt(np.maximum(np.sum(g**2, 0), 1e-300))
            slope = (g.T @ g - matrix[np.ix_(linear, linear)]) / np.outer(scale, scale)
            score = (g.T @ rows.residuals - vector[linear]) / scale
            values, vectors = np.linalg.eigh(slope)
            keep = values > _SINGULAR
            solved[linear] -= vectors[:, keep] @ ((vectors[:, keep].T @ score) / values[keep]) / scale
            rows = sums.rows(space, solved)
    except (DataError, np.linalg.LinAlgError):
        return np.inf, np.inf, trial
    squares = float(rows.residuals @ rows.residuals)
    return squares, squares - float(rows.variances.sum()), solved
