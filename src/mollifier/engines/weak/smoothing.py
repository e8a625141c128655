"""Fields mollified with the radius of least estimated risk, and the interpolation error of their grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.interpolate import make_interp_spline

from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline
from mollifier.mollify.matrices import rows_matrix
from mollifier.mollify.operators import TensorOperator
from mollifier.mollify.stencils import rows

_QUINTIC = 5
KERNEL, ACCURACY = BSpline(7), 3  #: Of the mollifier, and of derivatives of values on a grid.


def mollified(values: Array, grid: Grid, cells: float, fewest: int) -> Array:
    """Values mollified along the axes of at least ``fewest`` nodes, where there are such.

    Values broadcast to the shape of the grid; the radius is in cells, and 0 leaves the values as they are.
    """
    full = np.broadcast_to(values, grid.shape)
    long = _long(grid, fewest)
    if not cells or not long:
        return np.array(full)
    last, along = list(range(-len(long), 0)), Grid(*(grid.axes[i] for i in long))
    (found,) = _smoother(along, cells)(np.moveaxis(full, long, last))
    return np.moveaxis(found, last, long)


@lru_cache(maxsize=4)
def _smoother(grid: Grid, cells: float) -> TensorOperator:
    """The mollifier along all axes of a grid."""
    orders, radius = [(0,) * len(grid.axes)], radius_of(grid, cells)
    return TensorOperator(grid, orders, KERNEL, radius, boundary="one-sided", accuracy=ACCURACY)


def radius_of(grid: Grid, cells: float) -> dict[str, float]:
    """Radius of so many cells along each axis, in its unit; at most half of the axis."""
    return {a.name: min(cells * a.spacing, a.length / 2) for a in grid}


def smoothing_cells(
    values: Array,
    grid: Grid,
    variance: Array,
    gaps: Mask | None = None,
    tuning: WeakTuning = DEFAULT,
    most: float = np.inf,
) -> float:
    """The radius, in cells, of the mollifier that suits a field: that of least estimated risk; 0 for none.

    Stein's unbiased estimate of the risk of a linear smoother S is ``mean (u - S u)^2 + 2 s trace(S)/n - s``
    with s the noise variance (Stein, Ann. Stat. 9:1135, 1981). ``tuning.smoothing_cells`` are compared, and
    no smoothing.

    ``values`` and ``variance`` are those of the noisy field and of its noise, and broadcast to the shape of
    the grid. Nodes in ``gaps``, of that shape, do not count. The radius is at most ``most`` cells.

    >>> from mollifier.mollify.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 6.0, 200))
    >>> u = np.sin(grid["x"].points)
    >>> v = u + 0.1 * np.random.default_rng(0).standard_normal(200)
    >>> smoothing_cells(v, grid, np.array(0.01))
    40.0
    """
    noise, long = float(np.mean(variance)), _long(grid, tuning.smoothed_nodes)
    if not noise or not long:
        return 0.0
    there, along = ... if gaps is None else ~gaps, Grid(*(grid.axes[i] for i in long))
    risks = {0.0: noise}  # S = 1 has the risk 2 s - s

    def misfit(cells: float) -> float:
        """The mean square that a smoother leaves; its risk is noted."""
        smooth = mollified(values, grid, cells, tuning.smoothed_nodes)
        smooth -= values  # in place: an array as large as the data
        found = float(np.mean(np.square(smooth, out=smooth)[there]))
        risks[cells] = found + 2 * noise * _mean_own_weight(along, cells) - noise
        return found

    radii = [c for c in tuning.smoothing_cells if c <= most]
    middle = len(radii) // 2
    for cells in radii[middle:]:
        if misfit(cells) - noise >= min(risks.values()):  # wider kernels leave more of the field
            break
    for cells in reversed(radii[:middle]):
        if noise * _noise_left(along, cells) >= min(risks.values()):  # narrower ones leave more of the noise
            break
        misfit(cells)
    return min(risks, key=risks.__getitem__)


def smoothing_matrix(axis: Axis, at: slice, cells: float, fewest: int) -> sp.csr_array:
    """What `mollified` does along one axis, at some of its nodes: shape (some, nodes)."""
    if not cells or axis.size < fewest:
        return sp.csr_array(sp.eye_array(axis.size))[at]
    radius = radius_of(Grid(axis), cells)[axis.name]
    return rows_matrix(rows(axis, axis.points[at], KERNEL, radius, 0, ACCURACY))


def interpolation_variance(
    values: Array, grid: Grid, along: Sequence[str], tuning: WeakTuning = DEFAULT
) -> float:
    """Mean squared error of quintic interpolation between the nodes, which sums over the grid inherit.

    Estimated from the error at every other node when interpolating from the rest. That falls with the sixth
    power of the spacing, so that noise contributes little. ``values`` have the shape of the grid. The axes
    ``along`` count, but for those with fewer than ``tuning.interpolated_nodes`` nodes.
    """
    total = 0.0
    for i, axis in enumerate(grid):
        if axis.name not in along or axis.size < tuning.interpolated_nodes:
            continue
        lines = np.moveaxis(values, i, 0)
        found = make_interp_spline(axis.points[::2], lines[::2], k=_QUINTIC)(axis.points[1:-1:2])
        total += float(np.mean((found - lines[1:-1:2]) ** 2)) / 4.0 ** (_QUINTIC + 1)
    return total


def _long(grid: Grid, fewest: int) -> list[int]:
    return [i for i, a in enumerate(grid) if a.size >= fewest]


def _noise_left(grid: Grid, cells: float) -> float:
    """Mean variance of the smoothed values, in that of the noise: trace(S S')/n."""
    return float(np.prod([np.mean(a.rows[0].noise_gain ** 2) for a in _smoother(grid, cells).axes]))


def _mean_own_weight(grid: Grid, cells: float) -> float:
    """Mean weight of a node in its own smoothed value: trace(S)/n."""
    share = 1.0
    for axis in _smoother(grid, cells).axes:
        r = axis.rows[0]
        share *= float(np.sum(r.weights, where=r.index == np.arange(axis.results)[:, None])) / axis.results
    return share
