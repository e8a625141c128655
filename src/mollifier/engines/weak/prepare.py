"""Observations as arrays on their grid: repeats averaged, gaps filled, known data differentiated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import lsmr

from mollifier.data import Observations
from mollifier.data.errorbars import known as error_bars
from mollifier.engines.weak.form import WeakForm
from mollifier.engines.weak.sums import Measured
from mollifier.errors import DataError
from mollifier.grid import Grid
from mollifier.measured import differentiate
from mollifier.problem import InverseProblem

Array = NDArray[np.float64]

# Gaps are filled with the field smoothed over so many cells, as often as it takes.
_CELLS, _LONG, _ROUNDS, _SETTLED = 4.0, 9, 60, 1e-6
_MOST_STEPS = 1000
# Radii that smooth the fields shown, in cells.
_RADII = (2.5, 4.0, 6.0, 10.0, 16.0, 25.0, 40.0)
# More missing than this is no gap.
_MOST_MISSING = 0.5


def measured(problem: InverseProblem, form: WeakForm) -> Measured:
    """The arrays that the weak form is summed over.

    Raises
    ------
    DataError
        If the data are scattered, a field does not depend on every coordinate, more than half of its values
        are missing, or known data have gaps.
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
        missing = [c for c in grid.names if c not in data.coordinates_of(f)]
        if missing:
            raise DataError(
                f"The field '{f}' does not depend on {', '.join(missing)}; the weak engine wants all "
                f"fields on one grid. "
                "Use engine 'joint' or 'network'."
            )
        values[f], variances[f] = _field(data, f, grid)
    for v in problem.known:
        values[v] = _known(data, v, grid)
    for d in form.known:
        if d.total:
            values[d.name] = _differentiated(values[d.field], grid, {c: d.along(c) for c in grid.names})
    return Measured(grid, values, variances)


def _arranged(data: Observations, name: str, values: Array, grid: Grid, repeats: Sequence[str]) -> Array:
    """An array with repeats first, then the axes of the grid, of length 1 where it does not vary."""
    dims = [str(d) for d in data.dataset[name].dims]
    present = [d for d in (*repeats, *grid.names) if d in dims]
    values = np.transpose(values, [dims.index(d) for d in present])
    shape = [*(values.shape[present.index(r)] for r in repeats if r in present)]
    shape += [values.shape[present.index(c)] if c in present else 1 for c in grid.names]
    return values.reshape(shape)


def _field(data: Observations, name: str, grid: Grid) -> tuple[Array, Array]:
    """Values and variances of their noise on the grid; repeats are averaged by their weights."""
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
    if not finite.all():
        missing = 1 - float(finite.mean())
        if missing > _MOST_MISSING:
            raise DataError(
                f"{100 * missing:.0f} % of '{name}' are missing; the weak engine fills gaps, not fields. "
                f"Use engine "
                "'joint' or 'network'."
            )
        values = fill_gaps(values, grid)
    return values, variances


def _known(data: Observations, name: str, grid: Grid) -> Array:
    raw = data.dataset[name]
    repeats = [r for r in data.replicates if r in raw.dims]
    values = _arranged(data, name, raw.values, grid, repeats)
    values = values.mean(tuple(range(len(repeats)))) if repeats else values
    if not np.isfinite(values).all():
        raise DataError(
            f"The known data '{name}' have {int((~np.isfinite(values)).sum())} missing values; the weak "
            f"engine wants "
            "them everywhere. Fill them, or use engine 'joint' or 'network'."
        )
    return values


def _differentiated(values: Array, grid: Grid, orders: dict[str, int]) -> Array:
    """A derivative of known data over the axes it varies over."""
    present = [i for i, n in enumerate(values.shape) if n > 1]
    sub = Grid(*(grid.axes[i] for i in present))
    radius = {a.name: min(_CELLS * a.spacing, a.length / 2) for a in sub}
    chosen = {a.name: orders[a.name] for a in sub if orders[a.name]}
    inner = differentiate(values.squeeze(), sub, chosen, radius=radius)
    return np.asarray(inner).reshape(values.shape)


def fill_gaps(values: Array, grid: Grid) -> Array:
    """Missing values bridged smoothly, then replaced by the mollified field until they settle.

    Examples
    --------
    >>> from mollifier.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 60), Axis("t", 0.0, 1.0, 40))
    >>> u = np.sin(3 * grid["x"].points)[:, None] * np.cos(2 * grid["t"].points)
    >>> holes = np.where(np.random.default_rng(0).random(u.shape) < 0.1, np.nan, u)
    >>> bool(np.abs(fill_gaps(holes, grid) - u).max() < 2e-4)
    True
    """
    gaps = ~np.isfinite(values)
    mean = float(values[~gaps].mean())
    centred = np.where(gaps, 0.0, values - mean)
    share = np.clip(_smooth((~gaps).astype(float), grid), 0.05, None)
    filled = np.where(gaps, _smooth(centred, grid) / share, centred)
    filled = _bridged(filled, gaps, grid)
    spread = float(np.std(centred[~gaps])) or 1.0
    for _ in range(_ROUNDS):
        smooth = _smooth(filled, grid)
        change = float(np.sqrt(np.mean((smooth - filled)[gaps] ** 2)))
        filled = np.where(gaps, smooth, filled)
        if change < _SETTLED * spread:
            break
    return filled + mean


def _bridged(values: Array, gaps: NDArray[np.bool_], grid: Grid) -> Array:
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
        left, beyond = (sp.eye_array(int(np.prod(s))) for s in (grid.shape[:i], grid.shape[i + 1 :]))
        whole = sp.csr_array(sp.kron(sp.kron(left, one), beyond))
        touched = abs(whole[:, unknown]).sum(1) > 0
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
    long = [i for i, a in enumerate(grid) if a.size >= _LONG]
    if not long:
        raise DataError(f"No axis has {_LONG} nodes or more, too few to fill gaps; give data without gaps.")
    last = list(range(-len(long), 0))
    sub = Grid(*(grid.axes[i] for i in long))
    radius = {a.name: _CELLS * a.spacing for a in sub}
    smooth = differentiate(np.moveaxis(values, long, last), sub, "u", radius=radius, accuracy=3)
    return np.moveaxis(np.asarray(smooth), last, long)


def smoothed(values: Array, grid: Grid, variance: Array) -> Array:
    """The field mollified, with the radius that has the least risk by Stein's unbiased estimate.

    The risk of ``S u`` is ``mean (u - S u)^2 + 2 s trace(S)/n`` less the noise's variance s (Stein, Ann.
    Stat. 9:1135, 1981); radii from 2 to 40 cells are looked at, and none at all.
    """
    noise = float(np.mean(variance))
    full = np.broadcast_to(values, grid.shape)
    long = [i for i, a in enumerate(grid) if a.size >= _LONG]
    if not noise or not long:
        return np.array(full)
    sub, last = Grid(*(grid.axes[i] for i in long)), list(range(-len(long), 0))
    moved = np.moveaxis(full, long, last)
    best, least = np.array(full), noise  # S = 1 has the risk 2 s - s
    for cells in _RADII:
        radius = {a.name: min(cells * a.spacing, a.length / 2) for a in sub}
        smooth = np.asarray(differentiate(moved, sub, "u", radius=radius, accuracy=3))
        trace = _own_weight(sub, radius)
        risk = float(np.mean((moved - smooth) ** 2)) + 2 * noise * trace - noise
        if risk < least:
            best, least = np.moveaxis(smooth, last, long), risk
    return np.asarray(best)


def _own_weight(grid: Grid, radius: dict[str, float]) -> float:
    """Mean share that a node has in its own smoothed value."""
    share = 1.0
    for a in grid:
        one = Grid(a)
        share *= float(
            np.mean(np.diag(differentiate(np.eye(a.size), one, "u", radius=radius[a.name], accuracy=3)))
        )
    return share
