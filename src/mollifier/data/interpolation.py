"""A known variable at other points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.interpolate import (
    LinearNDInterpolator,
    NdBSpline,
    NearestNDInterpolator,
    RegularGridInterpolator,
    make_interp_spline,
)
from scipy.spatial import QhullError

from mollifier.errors import DataError
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid, axis_of


def positions(
    variable: str, names: Sequence[str], points: Mapping[str, ArrayLike]
) -> tuple[Array, tuple[int, ...]]:
    """Points as rows (n, d) in the order of the variable's coordinates, and their broadcast shape."""
    if not isinstance(points, Mapping):
        raise DataError(f"Points were given as {points!r:.60}; a mapping was expected, as in {{'x': 0.5}}.")
    lacking = [c for c in names if c not in points]
    if lacking:
        raise DataError(f"'{variable}' depends on {names}; no points were given along {lacking}.")
    try:
        at = np.broadcast_arrays(*(np.asarray(points[c], dtype=float) for c in names))
    except (TypeError, ValueError) as error:
        raise DataError(f"'{variable}' was requested at points that are no numbers ({error}).") from None
    flat = np.stack([a.ravel() for a in at], axis=-1)
    if not np.isfinite(flat).all():
        raise DataError(f"'{variable}' was requested at points that are not finite numbers; drop them.")
    return flat, at[0].shape


def on_grid(name: str, values: Array, grid: Grid, at: Array, method: str) -> Array:
    """Values (``grid.shape``) at points (n, d): constant past the ends, wrapped where periodic."""
    nodes, at = [], at.copy()
    for i, axis in enumerate(grid):
        x = axis.points
        if axis.periodic:
            pad = min(4, x.size)
            values = np.concatenate(
                [values.take(range(-pad, 0), axis=i), values, values.take(range(pad), axis=i)], axis=i
            )
            x = np.concatenate([x[-pad:] - axis.length, x, x[:pad] + axis.length])
            at[:, i] = axis.lower + np.mod(at[:, i] - axis.lower, axis.length)
        at[:, i] = np.clip(at[:, i], x[0], x[-1])
        nodes.append(x)
    holes = np.isnan(values)
    if method == "cubic" and min(values.shape) >= 4 and not holes.any():
        return _cubic(values, nodes, at)
    result = np.asarray(RegularGridInterpolator(tuple(nodes), values)(at))
    lost = np.isnan(result)
    if lost.any():
        # A finite node beside a missing one still knows its own value.
        index = [
            np.abs(x[None, :] - a[:, None]).argmin(axis=1) for x, a in zip(nodes, at[lost].T, strict=True)
        ]
        close = [
            np.abs(x[j] - a) <= 1e-9 * np.ptp(x) for x, j, a in zip(nodes, index, at[lost].T, strict=True)
        ]
        result[lost] = np.where(np.all(close, axis=0), values[tuple(index)], np.nan)
        bad = int(np.isnan(result).sum())
        if bad:
            raise DataError(
                f"'{name}' was requested at {bad} of {len(at)} points beside its missing values (NaN); fill "
                "it (dataset.interpolate_na) or leave those points out."
            )
    return result


def interpolated(array: xr.DataArray, points: Array) -> Array:
    """A field at points (n, d) in the order of its dimensions, by cubic splines, shape (n,)."""
    grid = Grid(*(axis_of(array[d]) for d in array.dims))
    return on_grid(str(array.name), array.values.astype(float), grid, points, "cubic")


def predicted(array: xr.DataArray, points: Array) -> Array:
    """As `interpolated`; NaN beyond the ends of the field, but for rounding. Axes that wrap have none."""
    inside = np.ones(len(points), dtype=bool)
    for d, x in zip(array.dims, points.T, strict=True):
        nodes = array[d].values
        spare = 1e-6 * np.ptp(nodes)
        beyond = (x < nodes[0] - spare) | (x > nodes[-1] + spare)
        inside &= ~beyond | bool(array[d].attrs.get("periodic"))
    found = np.full(len(points), np.nan)
    if inside.any():
        found[inside] = interpolated(array, points[inside])
    return found


def _cubic(values: Array, nodes: list[Array], at: Array) -> Array:
    """Tensor-product not-a-knot cubic spline, exact; SciPy's grid interpolator solves iteratively."""
    knots = []
    for i, x in enumerate(nodes):
        spline = make_interp_spline(x, values, k=3, axis=i)
        # SciPy keeps the interpolated axis of the coefficients first.
        values = np.moveaxis(np.asarray(spline.c), 0, i)
        knots.append(np.asarray(spline.t))
    return np.asarray(NdBSpline(tuple(knots), values, k=3)(at))


def at_scattered(values: Array, points: Array, at: Array) -> Array:
    """Linear interpolation of ``values`` (n,) at ``points`` (n, d); the nearest value outside their hull."""
    places, where = np.unique(points, axis=0, return_inverse=True)
    where = where.ravel()
    mean = np.bincount(where, weights=values) / np.bincount(where)
    if places.shape[1] == 1:
        return np.interp(at[:, 0], places[:, 0], mean)
    nearest = NearestNDInterpolator(places, mean, rescale=True)(at)
    try:
        linear = LinearNDInterpolator(places, mean, rescale=True)(at)
    except QhullError:
        return np.asarray(nearest)
    return np.where(np.isnan(linear), nearest, linear)
