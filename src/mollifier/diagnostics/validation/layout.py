"""Where an equation is solved forward, and what it takes from the estimated states and coefficients there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mollifier.data.interpolation import on_grid
from mollifier.diagnostics.validation import finite
from mollifier.diagnostics.validation.statement import InexpressibleError
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.orders import Derivative

Array = NDArray[np.float64]


def lifted(array: xr.DataArray, grid: Grid) -> Array:
    """A field on a finer grid over the same coordinates, by cubic splines, shape ``grid.shape``."""
    axes = []
    for name in grid.names:
        x, period = array[name].values.astype(float), array[name].attrs.get("periodic")
        even = grid[name]
        upper = x[0] + float(period) if period else x[-1]
        axes.append(Axis(name, x[0], upper, x.size, even.periodic, nodes=None if period else tuple(x)))
    values = array.transpose(*grid.names).values.astype(float)
    points = np.stack([m.ravel() for m in np.meshgrid(*(a.points for a in grid), indexing="ij")], -1)
    return on_grid(str(array.name), values, Grid(*axes), points, "cubic").reshape(grid.shape)


@dataclass(frozen=True)
class Layout:
    """Where the equation is solved, and what it takes from the solution there.

    Attributes
    ----------
    grid
        The coordinates that are discretised: all but the one marched along.
    inner
        Nodes that the equation gives, flat.
    """

    grid: Grid
    inner: NDArray[np.intp]

    @classmethod
    def of(cls, grid: Grid, needed: Mapping[str, Derivative]) -> Layout:
        """With layers as wide as the highest derivative along each axis asks for."""
        orders = {c: max((d.along(c) for d in needed.values()), default=0) for c in grid.names}
        found = cls(grid, np.flatnonzero(finite.inner(grid, orders)))
        if not found.inner.size:
            raise InexpressibleError(f"the solution's grid {grid.shape} is too coarse for its stencils")
        return found

    def matrix(self, d: Derivative) -> sp.csr_array:
        """Rows at the inner nodes, shape (inner, nodes)."""
        return sp.csr_array(finite.matrix(self.grid, {c: d.along(c) for c in self.grid.names})[self.inner])

    def spread(self, values: Array, names: tuple[str, ...]) -> Array:
        """Values over some coordinates at the inner nodes."""
        shape = [a.size if a.name in names else 1 for a in self.grid]
        whole = np.broadcast_to(values.reshape(shape), self.grid.shape)
        return np.asarray(whole.ravel()[self.inner])


def given(
    layout: Layout, fields: Mapping[str, xr.DataArray], needed: Mapping[str, Derivative], march: str
) -> dict[str, Callable[[float], Any]]:
    """Symbols that are not solved for, as functions of the coordinate marched along."""
    found: dict[str, Callable[[float], Any]] = {}
    for symbol, d in needed.items():
        if d.field not in fields:
            continue
        array = fields[d.field]
        names = tuple(c for c in layout.grid.names if c in array.dims)
        part = layout.grid.subgrid(names) if names else None
        orders = {c: d.along(c) for c in names}

        def at_nodes(
            values: Array, part: Grid | None = part, orders: Any = orders, names: Any = names
        ) -> Array:
            if part is None:
                return np.asarray(values)
            return layout.spread(finite.matrix(part, orders) @ values.ravel(), names)

        if march in array.dims:
            slices = [array.isel({march: i}) for i in range(array.sizes[march])]
            stack = np.stack([at_nodes(s.values if part is None else lifted(s, part)) for s in slices])
            found[symbol] = partial(CubicSpline(array[march].values, stack), nu=d.along(march))
        else:
            fixed = at_nodes(array.values if part is None else lifted(array, part))
            found[symbol] = _constant(fixed * (d.along(march) == 0))
    for c in layout.grid.names:
        axis = layout.grid[c]
        found[c] = _constant(layout.spread(axis.points, (c,)))
    if march:
        found[march] = lambda t: t
    return found


def _constant(value: Array) -> Callable[[float], Array]:
    return lambda _: value
