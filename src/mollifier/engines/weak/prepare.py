"""Observations as arrays on their grid: repeats averaged, gaps filled or marked, known data derived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from mollifier.data.errorbars import known as error_bars
from mollifier.data.observations import Observations
from mollifier.engines.weak.form import WeakForm
from mollifier.engines.weak.gaps import CELLS, LONG, fill_gaps, wide
from mollifier.engines.weak.sums import GridData
from mollifier.errors import DataError
from mollifier.mollify.differentiate import differentiate
from mollifier.mollify.grid import Grid
from mollifier.problem.inverse_problem import InverseProblem

Array = NDArray[np.float64]

# Radii that smooth the fields shown, in cells.
# Degree of the splines that show how coarse a grid is, and nodes that they want.
_QUINTIC, _HALVED = 5, 13
_RADII = (2.5, 4.0, 6.0, 10.0, 16.0, 25.0, 40.0)


def grid_data(problem: InverseProblem, form: WeakForm) -> GridData:
    """The arrays that the weak form is summed over.

    Raises
    ------
    DataError
        If the data are scattered, a field does not depend on every coordinate, or known data have gaps where
        the fields have none.
    """
    data = problem.data
    if not data.gridded:
        raise DataError(
            f"The observations are scattered over {', '.join(data.coordinates)}; the weak engine sums "
            f"over a grid. "
            "Use engine 'joint' or 'network', or 'auto'."
        )
    grid = data.grid(problem.coordinates)
    values: dict[str, Array] = {}
    variances: dict[str, Array] = {}
    for f in problem.fields:
        without = [c for c in grid.names if c not in data.coordinates_of(f)]
        if without:
            raise DataError(
                f"The field '{f}' does not depend on {', '.join(without)}; the weak engine wants all "
                f"fields on one grid. "
                "Use engine 'joint' or 'network'."
            )
        values[f], variances[f] = _field(data, f, grid)
    missing = np.any([~np.isfinite(values[f]) for f in problem.fields], axis=0)
    gaps = None
    if missing.any():
        gaps = np.any([wide(~np.isfinite(values[f]), grid) for f in problem.fields], axis=0)
        for f in problem.fields:
            values[f] = fill_gaps(values[f], grid, ~np.isfinite(values[f]) & gaps)
    for v in problem.known:
        values[v] = _known(data, v, grid, gaps)
    for d in form.known:
        if d.total:
            values[d.name] = _differentiated(values[d.field], grid, {c: d.along(c) for c in grid.names})
    return GridData(grid, values, variances, gaps)


def _arranged(data: Observations, name: str, values: Array, grid: Grid, repeats: Sequence[str]) -> Array:
    """An array with repeats first, then the axes of the grid, of length 1 where it does not vary."""
    dims = [str(d) for d in data.dataset[name].dims]
    present = [d for d in (*repeats, *grid.names) if d in dims]
    values = np.transpose(values, [dims.index(d) for d in present])
    shape = [*(values.shape[present.index(r)] for r in repeats if r in present)]
    shape += [values.shape[present.index(c)] if c in present else 1 for c in grid.names]
    return values.reshape(shape)


def _field(data: Observations, name: str, grid: Grid) -> tuple[Array, Array]:
    """Values, NaN in gaps, and variances of their noise on the grid; repeats averaged by their weights."""
    raw = data.dataset[name]
    repeats = [r for r in data.replicates if r in raw.dims]
    values = _arranged(data, name, raw.values, grid, repeats)
    sd = error_bars(data.dataset, name)
    sd = np.asarray(data.noise_sd(name) if sd is None else sd, dtype=float)
    sd = _arranged(data, name, np.broadcast_to(sd, raw.shape), grid, repeats) if sd.ndim else sd
    finite = np.isfinite(values)
    if repeats:
        axes = tuple(range(len(repeats)))
        weight = (
            finite / np.maximum(sd, 1e-300) ** 2 if np.ndim(sd) and (sd > 0).all() else finite.astype(float)
        )
        total = weight.sum(axes)
        mean = np.where(finite, values, 0.0) * weight
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(total > 0, mean.sum(axes) / total, np.nan)
            variance = np.where(
                total > 0, (weight**2 * np.where(finite, sd, 0.0) ** 2).sum(axes) / total**2, np.nan
            )
        finite = np.isfinite(values)
        variances = np.where(finite, variance, np.nanmedian(variance))
    else:
        variances = np.where(finite, sd, np.nanmedian(sd)) ** 2 if np.ndim(sd) else np.asarray(sd**2)
    return values, variances


def _known(data: Observations, name: str, grid: Grid, gaps: NDArray[np.bool_] | None) -> Array:
    """Values on the grid; those in wide gaps of the fields, which nobody will ask for, are made up."""
    raw = data.dataset[name]
    repeats = [r for r in data.replicates if r in raw.dims]
    values = _arranged(data, name, raw.values, grid, repeats)
    values = values.mean(tuple(range(len(repeats)))) if repeats else values
    missing = ~np.isfinite(values)
    asked = missing if gaps is None else missing & ~gaps
    if missing.any() and not asked.any() and not missing.all():
        return fill_gaps(values, grid, missing)
    if asked.any() or missing.all():
        raise DataError(
            f"The known data '{name}' have {int(missing.sum())} missing values; the weak "
            f"engine wants "
            "them everywhere. Fill them, or use engine 'joint' or 'network'."
        )
    return values


def _differentiated(values: Array, grid: Grid, orders: dict[str, int]) -> Array:
    """A derivative of known data over the axes it varies over."""
    present = [i for i, n in enumerate(values.shape) if n > 1]
    sub = Grid(*(grid.axes[i] for i in present))
    radius = {a.name: min(CELLS * a.spacing, a.length / 2) for a in sub}
    chosen = {a.name: orders[a.name] for a in sub if orders[a.name]}
    inner = differentiate(values.squeeze(), sub, chosen, radius=radius)
    return np.asarray(inner).reshape(values.shape)


def smoothed(values: Array, grid: Grid, variance: Array, gaps: NDArray[np.bool_] | None = None) -> Array:
    """The field mollified by its `smoother`."""
    return smoother(values, grid, variance, gaps)(values)


def smoother(
    values: Array, grid: Grid, variance: Array, gaps: NDArray[np.bool_] | None = None
) -> Callable[[Array], Array]:
    """What mollifies a field, with the radius that has the least risk by Stein's unbiased estimate.

    The risk of ``S u`` is ``mean (u - S u)^2 + 2 s trace(S)/n`` less the noise's variance s (Stein, Ann.
    Stat. 9:1135, 1981); radii from 2 to 40 cells are looked at, and none at all. What lies in gaps has no
    risk.
    """
    noise = float(np.mean(variance))
    long = [i for i, a in enumerate(grid) if a.size >= LONG]
    if not noise or not long:
        return lambda field: np.array(np.broadcast_to(field, grid.shape))
    sub, last = Grid(*(grid.axes[i] for i in long)), list(range(-len(long), 0))
    there = ... if gaps is None else ~gaps

    def mollified(field: Array, cells: float) -> Array:
        full = np.broadcast_to(field, grid.shape)
        if not cells:
            return np.array(full)
        moved = differentiate(np.moveaxis(full, long, last), sub, "u", radius=_radius(sub, cells), accuracy=3)
        return np.moveaxis(np.asarray(moved), last, long)

    best, least = 0.0, noise  # S = 1 has the risk 2 s - s
    for cells in _RADII:
        misfit = float(np.mean((values - mollified(values, cells))[there] ** 2))
        risk = misfit + 2 * noise * _own_weight(sub, _radius(sub, cells)) - noise
        if risk < least:
            best, least = cells, risk
    return partial(mollified, cells=best)


def _radius(grid: Grid, cells: float) -> dict[str, float]:
    return {a.name: min(cells * a.spacing, a.length / 2) for a in grid}


def _own_weight(grid: Grid, radius: dict[str, float]) -> float:
    """Mean share that a node has in its own smoothed value."""
    share = 1.0
    for a in grid:
        one = Grid(a)
        share *= float(
            np.mean(np.diag(differentiate(np.eye(a.size), one, "u", radius=radius[a.name], accuracy=3)))
        )
    return share


def coarseness(values: Array, grid: Grid, along: Sequence[str]) -> float:
    """Variance of what interpolation between the nodes leaves of a field, that sums over it are off by.

    Half of the nodes of an axis foretell the others by a quintic spline, whose error falls with the sixth
    power of the spacing. Of noise hardly anything is left.
    """
    total = 0.0
    for i, axis in enumerate(grid):
        if axis.name not in along or axis.size < _HALVED:
            continue
        lines = np.moveaxis(values, i, 0)
        found = make_interp_spline(axis.points[::2], lines[::2], k=_QUINTIC)(axis.points[1:-1:2])
        total += float(np.mean((found - lines[1:-1:2]) ** 2)) / 4.0 ** (_QUINTIC + 1)
    return total
