"""Gaps in measured fields: small ones are filled from around them, wide ones left out.

A filled node is taken to be as noisy as a measured one. Its noise is that of its neighbours, which thus count
for more; both together come near to what a measured node there would add. Tried instead: no noise at filled
nodes and more at their neighbours, by their share in the fills. With a tenth to a fifth of the nodes missing
that biased a diffusivity by its standard error, where this leaves no bias to be seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, uniform_filter
from scipy.sparse.linalg import lsmr

from mollifier.errors import DataError
from mollifier.mollify.differentiate import differentiate
from mollifier.mollify.grid import Grid

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Gaps are filled with the field smoothed over so many cells, as often as it takes.
CELLS, LONG = 4.0, 9
_ROUNDS, _SETTLED, _MOST_STEPS = 60, 1e-6, 1000
# Where less than this share of the nodes within those cells is measured, a fill would extrapolate: a little
# more than half, for edges have steps.
_AROUND = 0.6


def wide(missing: Mask, grid: Grid) -> Mask:
    """Missing nodes around which too little is measured: those beyond an edge, or deep in a hole.

    Examples
    --------
    >>> from mollifier.mollify.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 40))
    >>> missing = np.zeros(40, dtype=bool)
    >>> missing[[7, 20]] = missing[30:] = True
    >>> np.flatnonzero(wide(missing, grid)).tolist()
    [30, 31, 32, 33, 34, 35, 36, 37, 38, 39]
    """
    return missing & (_mean(~missing, grid) / _mean(np.ones(grid.shape), grid) < _AROUND)


def _mean(values: Array | Mask, grid: Grid) -> Array:
    """Mean over the cells around a node; nodes beyond an end count as zeros."""
    modes: Any = ["wrap" if a.periodic else "constant" for a in grid]
    sizes: Any = [min(2 * int(CELLS) + 1, 2 * a.size - 1) for a in grid]
    return np.asarray(uniform_filter(values.astype(float), sizes, mode=modes))


def fill_gaps(values: Array, grid: Grid, beyond: Mask | None = None) -> Array:
    """Missing values bridged smoothly, then replaced by the mollified field until they settle.

    Parameters
    ----------
    values
        Shape of the grid, NaN where missing.
    beyond
        Nodes, all missing, that get the value nearest to them and tell the others nothing; none by default.

    Examples
    --------
    >>> from mollifier.mollify.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 60), Axis("t", 0.0, 1.0, 40))
    >>> u = np.sin(3 * grid["x"].points)[:, None] * np.cos(2 * grid["t"].points)
    >>> holes = np.where(np.random.default_rng(0).random(u.shape) < 0.1, np.nan, u)
    >>> bool(np.abs(fill_gaps(holes, grid) - u).max() < 2e-4)
    True
    """
    missing = ~np.isfinite(values)
    nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
    assert isinstance(nearest, np.ndarray)
    filled = values[tuple(nearest)]
    beyond = np.zeros_like(missing) if beyond is None else beyond
    gaps = missing & ~beyond
    if not gaps.any():
        return filled
    mean, spread = float(values[~missing].mean()), float(np.std(values[~missing])) or 1.0
    filled = _bridged(filled - mean, gaps, beyond, grid)
    for _ in range(_ROUNDS):
        smooth = _smooth(filled, grid)
        change = float(np.sqrt(np.mean((smooth - filled)[gaps] ** 2)))
        filled = np.where(gaps, smooth, filled)
        if change < _SETTLED * spread:
            break
    return filled + mean


def _bridged(values: Array, gaps: Mask, beyond: Mask, grid: Grid) -> Array:
    """Values in gaps that make the squared second differences least, along each axis in units of its own rms.

    What the mollifier carries into a gap ends with its radius: this reaches through wide ones.
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
    found = lsmr(matrix, target - matrix @ start, atol=1e-8, btol=1e-8, maxiter=_MOST_STEPS)[0] + start
    filled = values.copy()
    filled[gaps] = found
    return filled


def _smooth(values: Array, grid: Grid) -> Array:
    """Smoothed along the axes that are long enough."""
    long = [i for i, a in enumerate(grid) if a.size >= LONG]
    if not long:
        raise DataError(f"No axis has {LONG} nodes or more, too few to fill gaps; give data without gaps.")
    last = list(range(-len(long), 0))
    sub = Grid(*(grid.axes[i] for i in long))
    radius = {a.name: CELLS * a.spacing for a in sub}
    smooth = differentiate(np.moveaxis(values, long, last), sub, "u", radius=radius, accuracy=3)
    return np.moveaxis(np.asarray(smooth), last, long)
