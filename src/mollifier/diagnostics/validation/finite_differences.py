"""Central finite differences on even grids, of fourth order, as sparse matrices.

The forward solution takes its derivatives from here alone, so that an error of an engine's derivatives shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import factorial

import numpy as np
import scipy.sparse as sp

from mollifier.mollify.arrays import Mask
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.matrices import kron


def reach(order: int) -> int:
    """Nodes that a stencil needs on either side; none for the value.

    >>> [reach(order) for order in range(5)]
    [0, 2, 2, 3, 3]
    """
    return (order + 1) // 2 + 1 if order else 0


@lru_cache(maxsize=32)
def weights(order: int) -> tuple[float, ...]:
    """Weights at unit spacing, exact for polynomials as far as the nodes reach.

    >>> [round(12 * w) for w in weights(2)]
    [-1, 16, -30, 16, -1]
    """
    offsets = np.arange(-reach(order), reach(order) + 1, dtype=float)
    moments = np.vander(offsets, increasing=True).T
    derivative = np.zeros(len(offsets))
    derivative[order] = factorial(order)
    return tuple(np.linalg.solve(moments, derivative))


def along(axis: Axis, order: int) -> sp.csr_array:
    """The derivative along one even axis, shape (size, size); rows whose stencil leaves the axis are zero."""
    n, r = axis.size, reach(order)
    if not order:
        return sp.csr_array(sp.identity(n))
    places = np.arange(n) if axis.periodic else np.arange(r, n - r)
    columns = (places[:, None] + np.arange(-r, r + 1)) % n
    values = np.tile(np.array(weights(order)) / axis.spacing**order, len(places))
    entries = (values, (np.repeat(places, 2 * r + 1), columns.ravel()))
    return sp.csr_array(sp.coo_array(entries, shape=(n, n)))


def matrix(grid: Grid, orders: Mapping[str, int]) -> sp.csr_array:
    """A mixed derivative on a grid, shape (grid.size, grid.size), nodes in C order.

    >>> x = Axis("x", 0.0, 2 * np.pi, 40, periodic=True)
    >>> slope = matrix(Grid(x), {"x": 1}) @ np.sin(x.points)
    >>> bool(np.abs(slope - np.cos(x.points)).max() < 3e-5)
    True
    """
    return kron([along(axis, orders.get(axis.name, 0)) for axis in grid])


def inner(grid: Grid, orders: Mapping[str, int]) -> Mask:
    """Nodes, shape ``grid.shape``, where stencils up to these orders along each axis stay on the grid."""
    keep = np.ones(grid.shape, dtype=bool)
    for i, axis in enumerate(grid):
        r = 0 if axis.periodic else reach(orders.get(axis.name, 0))
        near = np.zeros(axis.size, dtype=bool)
        near[r : axis.size - r] = True
        keep &= near.reshape([-1 if j == i else 1 for j in range(len(grid.shape))])
    return keep
