"""Differences between neighbours on even grids, as sparse matrices."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mollifier.mollify.grid import Axis


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
