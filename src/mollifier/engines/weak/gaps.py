"""Gaps in measured fields: small ones are filled from their surroundings, wide ones are left out.

A filled node counts as a measured one with the same noise. Its value depends on its neighbours, whose noise
thus counts twice; together they carry about the information that a measurement there would. The alternative,
filled nodes without noise and more noise at their neighbours, biases the estimates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
import scipy.sparse as sp
from scipy.sparse.linalg import lsmr

from mollifier.engines.weak.smoothing import mollified
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Mask, filled
from mollifier.mollify.grid import Grid


def wide(missing: Mask, grid: Grid, tuning: WeakTuning = DEFAULT) -> Mask:
    """Missing nodes around which too little is measured: beyond an edge, or deep in a hole.

    ``missing`` has the shape of the grid, as the result has.

    >>> from mollifier.mollify.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 40))
    >>> missing = np.zeros(40, dtype=bool)
    >>> missing[[7, 20]] = missing[30:] = True
    >>> np.flatnonzero(wide(missing, grid)).tolist()
    [30, 31, 32, 33, 34, 35, 36, 37, 38, 39]
    """
    cells = int(tuning.gap_cells)

    def mean(values: Array | Mask) -> Array:
        """Mean over the cells around a node; nodes beyond an end count as zeros."""
        modes: Any = ["wrap" if a.periodic else "constant" for a in grid]
        sizes: Any = [min(2 * cells + 1, 2 * a.size - 1) for a in grid]
        return np.asarray(scipy.ndimage.uniform_filter(values.astype(float), sizes, mode=modes))

    return missing & (mean(~missing) / mean(np.ones(grid.shape)) < tuning.measured_share)


def fill_gaps(values: Array, grid: Grid, beyond: Mask | None = None, tuning: WeakTuning = DEFAULT) -> Array:
    """Fill missing values smoothly, then replace them by the mollified field until they no longer change.

    Values are NaN where missing. Missing nodes ``beyond``, by default none, take the nearest measured value
    and influence no other. Raises `DataError` if no axis is long enough to mollify along.

    >>> from mollifier.mollify.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 60), Axis("t", 0.0, 1.0, 40))
    >>> u = np.sin(3 * grid["x"].points)[:, None] * np.cos(2 * grid["t"].points)
    >>> holes = np.where(np.random.default_rng(0).random(u.shape) < 0.1, np.nan, u)
    >>> bool(np.abs(fill_gaps(holes, grid) - u).max() < 2e-4)
    True
    """
    missing = ~np.isfinite(values)
    found = filled(values)
    beyond = np.zeros_like(missing) if beyond is None else beyond
    gaps = missing & ~beyond
    if not gaps.any():
        return found
    mean, spread = float(values[~missing].mean()), float(np.std(values[~missing])) or 1.0
    if max(grid.shape) < tuning.smoothed_nodes:
        raise DataError(
            f"The longest axis of the grid {grid.shape} is too short to fill gaps; {tuning.smoothed_nodes} "
            "nodes or more were expected. Give data without gaps, or use engine 'joint' or 'network'."
        )
    found = _bridged(found - mean, gaps, beyond, grid, tuning.gap_steps)
    for _ in range(tuning.gap_rounds):
        smooth = mollified(found, grid, tuning.gap_cells, tuning.smoothed_nodes)
        change = float(np.sqrt(np.mean((smooth - found)[gaps] ** 2)))
        found = np.where(gaps, smooth, found)
        if change < tuning.gap_change * spread:
            break
    return found + mean


def _bridged(values: Array, gaps: Mask, beyond: Mask, grid: Grid, most_steps: int) -> Array:
    """Values in gaps that minimise the squared second differences, along each axis relative to their rms.

    This crosses gaps wider than the mollifier, which carries values no further than its radius.
    """
    unknown, parts, right = gaps.ravel(), [], []
    for i, axis in enumerate(grid):
        if axis.size < 3:
            continue
        before, after = np.diff(axis.points)[:-1], np.diff(axis.points)[1:]
        rows = np.stack([1 / before, -1 / before - 1 / after, 1 / after]) * 2 / (before + after)
        place = np.arange(axis.size - 2) + np.arange(3)[:, None]
        one = sp.csr_array((rows.ravel(), (np.tile(place[0], 3), place.ravel())), (axis.size - 2, axis.size))
        left, after_it = (sp.eye_array(int(np.prod(s))) for s in (grid.shape[:i], grid.shape[i + 1 :]))
        whole = sp.csr_array(sp.kron(sp.kron(left, one), after_it))
        whole = whole[abs(whole) @ beyond.ravel().astype(float) == 0]
        touched = abs(whole) @ unknown.astype(float) > 0
        known = whole[~touched] @ values.ravel()
        scale = float(np.sqrt(np.mean(known**2))) if len(known) else 0.0
        if not scale > 0:
            scale = float(np.abs(rows).max())
        parts.append(whole[touched][:, unknown] / scale)
        right.append(-(whole[touched][:, ~unknown] @ values.ravel()[~unknown]) / scale)
    matrix, target = sp.vstack(parts, format="csr"), np.concatenate(right)
    start = values.ravel()[unknown]
    found = lsmr(matrix, target - matrix @ start, atol=1e-8, btol=1e-8, maxiter=most_steps)[0] + start
    filled = values.copy()
    filled[gaps] = found
    return filled
