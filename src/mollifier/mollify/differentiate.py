"""Derivatives of measured values on a grid: NumPy arrays, torch tensors and xarray.DataArray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mollifier.errors import DataError, GridError, check_known, did_you_mean
from mollifier.io.arguments import typed
from mollifier.mollify.adaptive import ADAPTIVE, AdaptiveOperator
from mollifier.mollify.arrays import nearest
from mollifier.mollify.grid import Grid, axis_of
from mollifier.mollify.kernels import BSpline, Kernel, namespace
from mollifier.mollify.operators import TensorOperator
from mollifier.mollify.orders import Derivative, Jet, Order, parse_orders
from mollifier.mollify.periodic import repeats_first
from mollifier.mollify.radius import Boundary, Radius


@typed("values")
def differentiate(
    values: Any,
    grid: Grid | None = None,
    order: Order | Sequence[Order] = "u",
    *,
    radius: float | str | Mapping[str, float | str],
    noise: float | None = None,
    kernel: Kernel | None = None,
    boundary: Boundary = "one-sided",
    accuracy: int = 3,
) -> Any:
    """Derivatives of measured values, smoothed over the kernel's radius along every axis of the grid.

    Parameters
    ----------
    values
        NumPy array or torch tensor of shape ``(..., *grid.shape)``, or xarray.DataArray. No values may be
        missing.
    grid
        The nodes. A DataArray needs none: its dimensions with a coordinate of numbers are the axes (only
        those that ``radius`` names, if it is a mapping), a coordinate's attribute ``periodic`` holds its
        period, and the other dimensions, as one of names, are kept as they are.
    order
        A name (``"u_xx"``) or multi-index (``{"x": 2}``) for one array; several of them for a jet.
        ``"u"`` is the smoothed field.
    radius
        Half-width of the kernel in the units of each axis: a number, or a mapping by axis name. Larger is
        smoother: noise falls as radius^-(k + 1/2), the smoothing error grows as radius^(accuracy + 1)
        away from the ends. "adaptive", for all axes or one, takes a radius for each place, as wide as no bias
        shows (`mollifier.mollify.adaptive`).
    noise
        Standard deviation of the values' noise, which is white; for a radius that is adaptive, only.
    kernel
        `BSpline(7)` by default.
    boundary
        "one-sided": moment-exact rows up to the ends, several times noisier there. "trim": only the
        points whose whole kernel lies on the grid. Periodic axes wrap.
    accuracy
        Polynomials to degree ``order + accuracy - 1`` are exact. At whole kernels symmetry makes odd
        accuracies one better, so 3 is as exact as 4 there, and quieter at the ends.

    Returns
    -------
    array, tensor or DataArray of the same shape (shorter if trimmed), or a `Jet` of them
        A DataArray keeps its coordinates, and its units where those of values and coordinates are plain.

    Raises
    ------
    DataError
        If values are missing or not real numbers, or their shape is not the grid's.
    GridError
        If coordinates do not increase, the last values along a periodic axis repeat the first, or the grid
        cannot carry the order at this radius.

    Examples
    --------
    >>> from mollifier.mollify.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 101))
    >>> u = grid["x"].points ** 3
    >>> bool(np.allclose(differentiate(u, grid, "u_xx", radius=0.1), 6 * grid["x"].points))
    True
    """
    if boundary == "halo":
        raise GridError(
            "boundary='halo' was given; measured values have no halo outside their grid, so 'one-sided' or "
            "'trim' was expected."
        )
    labelled, field = _is_labelled(values), None
    if labelled:
        grid = _grid_of(values, radius) if grid is None else _matched(values, grid)
        field = None if values.name is None else str(values.name)
    elif grid is None:
        raise GridError(
            f"Values of type {type(values).__name__} carry no coordinates: give the grid, as in "
            "differentiate(values, mf.Grid(mf.Axis('x', 0.0, 1.0, 128)), 'u_xx', radius=0.08)."
        )
    else:
        values = _checked(values)
        if tuple(values.shape[max(values.ndim - len(grid.axes), 0) :]) != grid.shape:
            raise DataError(
                f"Values of shape {tuple(values.shape)} were given; the last {len(grid.axes)} dimensions "
                f"should be {grid.shape}, the nodes along {grid.names}. Transpose the values or reorder the "
                "axes."
            )
    _check_seams(values, grid)
    derivatives = _derivatives(order, grid, field)
    orders = [d.index(grid.names) for d in derivatives]
    kernel = BSpline(7) if kernel is None else kernel
    operator, result = _operator(grid, orders, kernel, radius, noise, boundary, accuracy)
    if labelled:
        results = _labelled(values, field, derivatives, operator, (grid, result))
    else:
        results = operator(values)
    if isinstance(order, str | Mapping | Derivative):
        return results[0]
    return Jet(dict(zip(derivatives, results, strict=True)), grid.names)


def _operator(
    grid: Grid,
    orders: Sequence[tuple[int, ...]],
    kernel: Kernel,
    radius: Any,
    noise: float | None,
    boundary: Boundary,
    accuracy: int,
) -> tuple[Callable[[Any], list[Any]], Grid]:
    """What forms the derivatives, with one radius for all places or one for each, and where they come."""
    by_axis = radius if isinstance(radius, Mapping) else dict.fromkeys(grid.names, radius)
    for name, given in by_axis.items():
        if isinstance(given, str) and given != ADAPTIVE:
            raise GridError(
                f"radius='{given}' was given along '{name}'; a number or '{ADAPTIVE}' was expected."
            )
    if ADAPTIVE not in by_axis.values():
        operator = TensorOperator(grid, orders, kernel, radius, boundary=boundary, accuracy=accuracy)
        return operator, operator.result or grid
    if boundary != "one-sided":
        raise GridError(f"boundary='{boundary}' was given with radius='{ADAPTIVE}', which takes 'one-sided'.")
    lengths: Any = {n: grid[n].length or 1.0 if r == ADAPTIVE else r for n, r in by_axis.items()}
    Radius(grid, lengths)
    each = [AdaptiveOperator(grid, order, kernel, by_axis, noise, accuracy) for order in orders]
    return lambda values: [one(values)[0] for one in each], grid


def _derivatives(order: Order | Sequence[Order], grid: Grid, field: str | None) -> tuple[Derivative, ...]:
    """The derivatives of an order; a name that only looks like one is refused, not taken for a field."""
    derivatives = parse_orders(order, grid.names)
    for d in derivatives:
        name, _, suffix = d.field.rpartition("_")
        if name and not d.total and d.field != field:
            raise GridError(
                f"'{d.field}' is no derivative along "
                f"{', '.join(grid.names)}.{did_you_mean(suffix, grid.names)} Write u_{grid.names[0]}, or a "
                f"multi-index, as in {{'{grid.names[0]}': 1}}."
            )
    return derivatives


def _checked(values: Any) -> Any:
    """Values as an array or tensor of finite real numbers."""
    if namespace(values) is np:
        missing = np.ma.count_masked(values) if isinstance(values, np.ma.MaskedArray) else 0
        values = np.asarray(values)
        real, finite = values.dtype.kind in "iuf", np.isfinite
    else:
        torch = namespace(values)
        missing, finite = 0, torch.isfinite
        real = not (values.is_complex() or values.dtype == torch.bool)
    if not real:
        raise DataError(
            f"Values of type {values.dtype} were given; real numbers were expected. Differentiate the real "
            "and imaginary parts of complex values one by one, and turn text into numbers first."
        )
    missing = int(missing) + int((~finite(values)).sum())
    if missing:
        raise DataError(
            f"{missing} of {int(np.prod(values.shape, dtype=int))} values are missing (NaN, infinite or "
            "masked), and a stencil cannot step over them. Crop or interpolate them, or give the data to an "
            "InverseProblem, which takes missing values as they are."
        )
    return values


def _check_seams(values: Any, grid: Grid) -> None:
    """Refuse NumPy's and xarray's values that hold the first slice of a periodic axis again, at its end."""
    labelled = _is_labelled(values)
    if not labelled and namespace(values) is not np:  # a tensor may be one of a transform, without values
        return
    for i, axis in enumerate(grid):
        if axis.periodic:
            lines = (
                values.transpose(axis.name, ...).values
                if labelled
                else np.moveaxis(values, i - len(grid.axes), 0)
            )
            if repeats_first(lines):
                raise GridError(
                    f"The last values along the periodic axis '{axis.name}' repeat the first, so that its "
                    f"period would be a step too long ({axis.length:g}): leave them out, as in "
                    f"array.isel({axis.name}=slice(-1)) or values[..., :-1]."
                )


def _is_labelled(values: Any) -> bool:
    xarray = sys.modules.get("xarray")
    if xarray is not None and isinstance(values, xarray.Dataset):
        raise DataError(
            f"A Dataset with variables {[str(v) for v in values.data_vars]} was given; name one, as in "
            "dataset['u']."
        )
    return xarray is not None and isinstance(values, xarray.DataArray)


def _labelled(
    array: Any,
    field: str | None,
    derivatives: Sequence[Derivative],
    operator: Callable[[Any], list[Any]],
    grids: tuple[Grid, Grid],
) -> list[Any]:
    """The derivatives of a DataArray, with the grids of nodes and results: axes go last, and back again."""
    names = grids[0].names
    whole = array.transpose(*(d for d in array.dims if d not in names), *names)
    kept: dict[str, slice] = {}
    for nodes, left in zip(*grids, strict=True):
        first = int(nearest(nodes.points, left.points[0]))
        kept[left.name] = slice(first, first + left.size)
    ordered = whole.isel(kept)
    results = []
    for derivative, result in zip(derivatives, operator(_checked(whole.values)), strict=True):
        out = ordered.copy(data=result).transpose(*array.dims)
        out.attrs = _units(array, derivative)
        out.name = Derivative(field or derivative.field, derivative.orders).name
        results.append(out)
    return results


def _grid_of(array: Any, radius: float | str | Mapping[str, float | str]) -> Grid:
    """The axes of a DataArray: its dimensions with a coordinate, or those that the radius names."""
    names = [str(d) for d in array.dims if d in array.coords and array.coords[d].dtype.kind not in "OUST"]
    if isinstance(radius, Mapping):
        check_known(
            radius, names, GridError, "The radius names '{}', which is no dimension with a coordinate."
        )
        names = [n for n in names if n in radius]
    if not names:
        raise GridError(
            f"The array's dimensions {list(map(str, array.dims))} have no coordinates; assign them, as in "
            "array.assign_coords(x=...), or give the grid."
        )
    return Grid(*(axis_of(array.coords[n]) for n in names))


def _matched(array: Any, grid: Grid) -> Grid:
    """The grid given, if the DataArray has its dimensions, sizes and coordinates."""
    dims = [str(d) for d in array.dims]
    for axis in grid:
        check_known(axis.name, dims, GridError, "The array has no dimension '{}'.")
        if array.sizes[axis.name] != axis.size:
            raise DataError(
                f"Dimension '{axis.name}' has {array.sizes[axis.name]} values; the grid has {axis.size} "
                "nodes."
            )
        if axis.name in array.coords:
            x = np.asarray(array.coords[axis.name].values)
            if x.dtype.kind not in "iuf" or not np.allclose(x, axis.points, rtol=0, atol=1e-3 * axis.spacing):
                raise DataError(
                    f"The array's coordinate '{axis.name}' is not the grid's; leave the grid out to take the "
                    "array's."
                )
    return grid


def _units(array: Any, derivative: Derivative) -> dict[str, str]:
    """Units of the derivative, as in K/m^2; nothing where one is missing or composed."""
    unit = array.attrs.get("units")
    if not isinstance(unit, str) or not unit:
        return {}
    for name, count in derivative.orders:
        below = array.coords[name].attrs.get("units") if name in array.coords else None
        if not isinstance(below, str) or not below or any(c in below for c in " */^.-0123456789"):
            return {}
        unit += f"/{below}" + (f"^{count}" if count > 1 else "")
    return {"units": unit}
