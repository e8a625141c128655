"""Differences of neighbours on a lattice, as rows of sparse matrices.

For the coefficients of a spline their squares are the penalty of P-splines (Eilers and Marx, Stat. Sci.
11:89, 1996): every order is there whatever the spline's degree, and past the edges of the domain too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from mollifier.engines.priors.matern import mixed
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.matrices import kron


def differences_along(lattice: Grid, counts: Mapping[str, int]) -> sp.csr_array:
    """Differences of the orders ``counts`` along the axes of a lattice, over their spacing, (rows, p)."""
    return kron([differences(a, counts[a.name]) for a in lattice])


@lru_cache(maxsize=64)
def derivative_rows(lattice: Grid, order: int) -> sp.csr_array:
    """Rows, shape (m, p), whose squares add up to the mean squared derivatives of an order.

    For order 0 to the mean squared distance from the mean, so that a constant is free. Along a discrete axis
    there are no derivatives: each of its nodes has rows of its own.
    """
    if not order:
        return sp.csr_array(contrasts(lattice.size) / np.sqrt(lattice.size))
    parts = [sp.csr_array((0, lattice.size))]
    apart = {a.name: 0 for a in lattice if a.discrete}
    for along, times in mixed([n for n in lattice.names if n not in apart], order):
        counts = apart | along
        if all(counts[a.name] < a.size or not counts[a.name] for a in lattice):
            matrix = differences_along(lattice, counts)
            parts.append(sp.csr_array(matrix * np.sqrt(times / matrix.indptr[1:].size)))
    return sp.csr_array(sp.vstack(parts))


def differences(axis: Axis, order: int) -> sp.csr_array:
    """Differences of an order between even nodes, over that power of their spacing, shape (rows, nodes).

    >>> differences(Axis("x", 0.0, 1.0, 3), 1).toarray().tolist()
    [[-2.0, 2.0, 0.0], [0.0, -2.0, 2.0]]
    """
    n = axis.size
    taps = np.diff(np.eye(order + 1), order, axis=0)[0] / axis.spacing**order
    rows = n if axis.periodic else n - order
    index = (np.arange(rows)[:, None] + np.arange(order + 1)) % n
    place = (np.repeat(np.arange(rows), order + 1), index.ravel())
    return sp.csr_array((np.tile(taps, rows), place), shape=(rows, n))


def contrasts(size: int) -> sp.csr_array:
    """Orthonormal rows that a constant vector has no part in, shape (size - 1, size).

    Each compares the means of two halves of a run of entries, whose halves are compared in turn (Haar), so
    that few entries are not zero.

    >>> rows = contrasts(5)
    >>> bool(np.allclose((rows.T @ rows).toarray(), np.eye(5) - 1 / 5)), rows.nnz
    (True, 12)
    """
    values: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    runs = [(0, size)]
    for low, high in runs:
        middle = (low + high) // 2
        if middle == low:
            continue
        left, right = middle - low, high - middle
        scale = np.sqrt(left * right / (left + right))
        values.append(np.repeat([scale / left, -scale / right], [left, right]))
        columns.append(np.arange(low, high))
        runs += [(low, middle), (middle, high)]
    edges = np.cumsum([0, *(len(v) for v in values)])
    parts = (np.concatenate(v) if v else np.empty(0) for v in (values, columns))
    return sp.csr_array((*parts, edges), shape=(len(values), size))


def at_strength(rows: sp.csr_array, local: Array) -> sp.csr_array:
    """Rows (m, p) at a factor on the strength at nodes (p,): that of a row is the mean over its nodes."""
    ends = abs(rows)
    return sp.csr_array(sp.diags_array(np.sqrt(ends @ local / (ends @ np.ones(len(local))))) @ rows)
