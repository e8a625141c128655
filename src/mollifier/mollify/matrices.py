"""Rows as sparse matrices, for solvers that need their entries, and products over axes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
import scipy.sparse as sp

from mollifier.mollify.arrays import Array, Index
from mollifier.mollify.stencils import Rows

# Share of the largest weight below which one is the rounding of zero: a kernel at its radius.
_ROUNDING = 1e-30


def product_matrix(rows: Sequence[Rows]) -> sp.csr_array:
    """The tensor product of rows along each axis, shape (results, nodes), both flat in C order."""
    return kron([rows_matrix(r) for r in rows])


def kron(along: Sequence[sp.sparray]) -> sp.csr_array:
    """The tensor product of matrices along each axis, rows and columns flat in C order."""
    return sp.csr_array(reduce(lambda a, b: sp.kron(a, b, format="csr"), along))


def row_products(left: Array, right: Array) -> Array:
    """Products of every column of two matrices, row by row: (n, a) and (n, b) to (n, a*b).

    >>> row_products(np.array([[1.0, 2.0]]), np.array([[1.0, 10.0]])).tolist()
    [[1.0, 10.0, 2.0, 20.0]]
    """
    return (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)


def product_taps(along: Sequence[tuple[Array, Index]], sizes: Sequence[int]) -> tuple[Array, Index]:
    """Weights and flat index, (n, taps) each, of the product of taps along axes of some sizes."""
    (weights, flat), *others = along
    for size, (more, index) in zip(sizes[1:], others, strict=True):
        weights = row_products(weights, more)
        flat = (flat[:, :, None] * size + index[:, None, :]).reshape(len(flat), -1)
    return weights, flat


@lru_cache(maxsize=64)
def rows_matrix(rows: Rows) -> sp.csr_array:
    """The rows along one axis, shape (results, nodes): the same object for the same rows."""
    sizes = np.abs(rows.weights)
    kept = np.where(sizes > _ROUNDING * sizes.max(initial=0.0), rows.weights, 0.0)
    return taps_matrix(kept, rows.index, rows.nodes)


def taps_matrix(weights: Array, index: Index, columns: int) -> sp.csr_array:
    """Rows of equally many weights, shape (m, taps); zeros that pad them are dropped, repeats summed."""
    m, taps = weights.shape
    # Copies: dropping zeros works in place.
    matrix = sp.csr_array(
        (weights.flatten(), index.flatten(), np.arange(0, m * taps + 1, taps)), shape=(m, columns)
    )
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix
