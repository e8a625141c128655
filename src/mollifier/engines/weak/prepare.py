"""Observations as arrays on their grid: replicates averaged, gaps filled or marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from mollifier.data.errorbars import known as error_bars
from mollifier.data.lazy import is_lazy
from mollifier.data.observations import Observations
from mollifier.engines.likelihood import REJECTED
from mollifier.engines.weak.data import GridData, GridEffect
from mollifier.engines.weak.form import WeakForm
from mollifier.engines.weak.gaps import fill_gaps, wide
from mollifier.engines.weak.smoothing import radius_of
from mollifier.engines.weak.tuning import WeakTuning
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.differentiate import differentiate
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.problem.inverse_problem import InverseProblem


def grid_data(problem: InverseProblem, form: WeakForm) -> GridData:
    """The arrays that the weak form is summed over: gaps filled or marked, known data differentiated.

    Raises `DataError` if the data are scattered, a field does not depend on every coordinate, or known data
    have gaps where the fields have none.
    """
    data = problem.data.whole or problem.data
    if not data.gridded:
        raise DataError(
            f"The observations are scattered over {', '.join(data.coordinates)}; the weak engine sums over a "
            "grid. Use engine 'joint' or 'network', or 'auto'."
        )
    grid = data.grid(problem.coordinates)
    values: dict[str, Array] = {}
    variances: dict[str, Array] = {}
    for f in problem.fields:
        without = [c for c in grid.names if c not in data.coordinates_of(f)]
        if without:
            raise DataError(
                f"The field '{f}' does not depend on {', '.join(without)}; all fields on one grid were "
                "expected by the weak engine. Use engine 'joint' or 'network'."
            )
        values[f], variances[f] = _field(data, f, grid)
    gaps, tuning = None, form.tuning
    if any(map(is_lazy, values.values())):
        _check_blocks(problem, form)
    elif np.any([~np.isfinite(values[f]) for f in problem.fields]):
        gaps = np.any([wide(~np.isfinite(values[f]), grid, tuning) for f in problem.fields], axis=0)
        gaps = gaps if problem.interior is None else gaps | ~problem.interior.on(grid)
        for f in problem.fields:
            values[f] = fill_gaps(values[f], grid, ~np.isfinite(values[f]) & gaps, tuning)
    for v in problem.known:
        values[v] = _known(data, v, grid, gaps, tuning)
    for d in form.known:
        if d.total:
            values[d.name] = _differentiated(values[d.field], grid, d, tuning.gap_cells)
    effects = tuple(e for f in problem.fields for e in _effects(data, f, grid))
    return GridData(grid, values, variances, gaps, tuning, effects=effects)


def _check_blocks(problem: InverseProblem, form: WeakForm) -> None:
    """Refuse what sums over blocks have no rule for."""
    data = problem.data
    refused = {
        "repeats": data.replicates,
        "noise that values share": [f for f in problem.fields if data.noise_effects(f)],
        "derivatives of known data": [d.name for d in form.known if d.total],
    }
    for what, names in refused.items():
        if names:
            raise DataError(
                f"The data are read in blocks, which take no {what} ({', '.join(names)}); load them: "
                "obs.load(), or no chunks."
            )


def _effects(data: Observations, field: str, grid: Grid) -> Iterator[GridEffect]:
    """The declared random effects of a field's noise on the grid."""
    for e in data.noise_effects(field):
        factors = e.factors({a.name: a.points for a in grid})
        yield GridEffect(field, e.sd, e.gain, tuple(factors))


def without_outliers(problem: InverseProblem, form: WeakForm, rounds: int = 3) -> InverseProblem:
    """The problem without values that are far from the smoothed fields, in robust standard deviations."""
    for _ in range(rounds):
        data, dataset = grid_data(problem, form), problem.data.dataset
        near = xr.DataArray(True)
        for f, smooth in data.smoothed.items():
            away = dataset[f].drop_vars(dataset[f].coords) - xr.DataArray(smooth, dims=data.grid.names)
            away = abs(away)
            near = near & ~(away > REJECTED * float(away.median()) / 0.6745)
        if bool(near.all()):
            break
        problem = replace(problem, data=problem.data.mask(near))
    return problem


def _arranged(data: Observations, name: str, values: Any, grid: Grid, repeats: Sequence[str]) -> Array:
    """An array with replicates first, then the axes of the grid, of length 1 where it does not vary."""
    dims = [str(d) for d in data.dataset[name].dims]
    present = [d for d in (*repeats, *grid.names) if d in dims]
    values = np.transpose(values, [dims.index(d) for d in present])
    shape = [*(values.shape[present.index(r)] for r in repeats if r in present)]
    shape += [values.shape[present.index(c)] if c in present else 1 for c in grid.names]
    return values.reshape(shape)


def _field(data: Observations, name: str, grid: Grid) -> tuple[Array, Array]:
    """Values, NaN in gaps, and noise variances on the grid; replicates averaged by inverse variance."""
    raw = data.dataset[name]
    repeats = [r for r in data.replicates if r in raw.dims]
    values = _arranged(data, name, raw.data, grid, repeats)
    own = raw.attrs.get("standard_error")
    sd = np.asarray(
        error_bars(data.dataset, name) if isinstance(own, str) else data.noise_sd(name), dtype=float
    )
    sd = _arranged(data, name, np.broadcast_to(sd, raw.shape), grid, repeats) if sd.ndim else sd
    if is_lazy(values):
        return values, np.asarray(sd**2)
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


def _known(data: Observations, name: str, grid: Grid, gaps: Mask | None, tuning: WeakTuning) -> Array:
    """Values on the grid; missing ones in small gaps, and where no sum reaches, are filled."""
    raw = data.dataset[name]
    repeats = [r for r in data.replicates if r in raw.dims]
    values = _arranged(data, name, raw.data, grid, repeats)
    values = values.mean(tuple(range(len(repeats)))) if repeats else values
    if is_lazy(values):
        return values
    missing = ~np.isfinite(values)
    if not missing.any():
        return values
    along = Grid(*(grid.axes[i] for i, n in enumerate(values.shape) if n > 1))
    deep = wide(missing.squeeze(), along, tuning)
    needed = deep.reshape(missing.shape) if gaps is None else deep.reshape(missing.shape) & ~gaps
    if needed.any() or missing.all():
        raise DataError(
            f"The known data '{name}' have {int(missing.sum())} missing values, some in gaps too wide to be "
            "filled by the weak engine. Fill them, or use engine 'joint' or 'network'."
        )
    return fill_gaps(values.squeeze(), along, deep, tuning).reshape(values.shape)


def _differentiated(values: Array, grid: Grid, derivative: Derivative, cells: float) -> Array:
    """A derivative of known data along the axes that they vary over."""
    along = Grid(*(grid.axes[i] for i, n in enumerate(values.shape) if n > 1))
    orders = {a.name: derivative.along(a.name) for a in along if derivative.along(a.name)}
    found = differentiate(values.squeeze(), along, orders, radius=radius_of(along, cells))
    return np.asarray(found).reshape(values.shape)
