"""Cholesky factors of banded matrices, with many right-hand sides at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.lib.stride_tricks import as_strided
from scipy.linalg import cholesky_banded
from scipy.linalg.blas import dtrsm

from mollifier.mollify.arrays import Array, Index, Mask

# Rows that are solved for at a time: matrix products run faster than LAPACK's solution by columns.
_ROWS = 128


class NotPositiveError(ArithmeticError):
    """A matrix that should be positive definite is not, which rounding errors can cause."""


def banded_order(shape: Sequence[int]) -> Index:
    """New place of each node of a grid, flat in C order, that keeps neighbours close: longest axis slowest.

    >>> banded_order((2, 3)).tolist()
    [0, 2, 4, 1, 3, 5]
    """
    axes = np.argsort([-n for n in shape], kind="stable")
    old = np.arange(int(np.prod(shape))).reshape(tuple(shape)).transpose(axes).ravel()
    new = np.empty_like(old)
    new[old] = np.arange(len(old))
    return new.astype(np.intp)


def order_within(used: Mask, shape: Sequence[int]) -> Index:
    """`banded_order` of the nodes in a box, and -1 for the others, shape (nodes,).

    ``used`` is whether each node of a grid of this shape, flat in C order, is in the box.

    >>> order_within(np.array([False, True, True, False]), (4,)).tolist()
    [-1, 0, 1, -1]
    """
    box = used.reshape(tuple(shape))
    sizes = [
        int(box.any(axis=tuple(i for i in range(box.ndim) if i != axis)).sum()) for axis in range(box.ndim)
    ]
    order = np.full(used.size, -1, dtype=np.intp)
    order[used] = banded_order(sizes)
    return order


class BandedCholesky:
    """The factor of a symmetric positive definite matrix whose entries lie near the diagonal.

    Of the sparse matrix (n, n) only the lower half is read. Raises `NotPositiveError` if it is not positive
    definite.
    With a ``ridge``, that is added to the diagonal.

    >>> a = sp.csr_array(np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]]))
    >>> factor = BandedCholesky(a)
    >>> np.round(a @ factor.solve(np.array([1.0, 2.0, 3.0])), 12).tolist()
    [1.0, 2.0, 3.0]
    >>> round(np.exp(factor.log_determinant))
    18
    """

    def __init__(self, matrix: sp.csr_array, ridge: float = 0.0) -> None:
        matrix, self.ridge = sp.csr_array(matrix), ridge
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        self.size = matrix.indptr.size - 1
        row, column = np.repeat(np.arange(self.size), np.diff(matrix.indptr)), matrix.indices
        low = row >= column
        row, column = row[low], column[low]
        away = row - column
        self.width = int(away.max(initial=0))
        # In Fortran's order, so that LAPACK works in place.
        band = np.zeros((self.width + 1, self.size), order="F")
        band[away, column] = matrix.data[low]
        band[0] += ridge
        try:
            band = cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise NotPositiveError(str(error)) from None
        #: Natural logarithm of the matrix's determinant.
        self.log_determinant = 2 * float(np.log(band[0]).sum())
        self._columns = self._dense_columns(band.ravel(order="F"))

    def _dense_columns(self, flat: Array) -> list[tuple[slice, Array, slice, Array]]:
        """Some columns at a time, their square on the diagonal, the rows below it, and their block.

        Blocks are dense, zero outside the band, so that solutions are matrix products.
        """
        found, inside = [], {}
        for low in range(0, self.size, _ROWS):
            here = slice(low, min(low + _ROWS, self.size))
            rows = slice(low, min(here.stop + self.width, self.size))
            shape = rows.stop - low, here.stop - low
            if shape not in inside:
                distance = np.arange(shape[0])[:, None] - np.arange(shape[1])
                inside[shape] = (distance >= 0) & (distance <= self.width)
            # In Fortran's order entry (i, j) of the factor, band[i - j, j], lies at i + j*width.
            step = flat.itemsize
            view = as_strided(flat[low * (1 + self.width) :], shape, (step, self.width * step))
            block = np.where(inside[shape], view, 0.0)
            count = shape[1]
            square = np.asfortranarray(block[:count])
            found.append((here, square, slice(here.stop, rows.stop), block[count:]))
        return found

    def solve(self, right: Array) -> Array:
        """The solution for right-hand sides (n,) or (n, k), of the same shape."""
        return self.backward(self.forward(right))

    def upwards(self, x: Array) -> Array:
        """``L' x`` of the factor L; shapes as of `solve`."""
        x = self._wide(x)
        for here, square, after, below in self._columns:
            x[here] = square.T @ x[here] + below.T @ x[after]
        return x

    def backward(self, right: Array) -> Array:
        """``L'^-1 right``; shapes as of `solve`."""
        x = self._wide(right)
        for here, square, after, below in reversed(self._columns):
            x[here] -= below.T @ x[after]
            if x.size:
                x[here] = dtrsm(1.0, square, x[here], lower=1, trans_a=1)
        return x.reshape(np.shape(right))

    def forward(self, right: Array) -> Array:
        """``L^-1 right`` of the factor L, with ``L L'`` the matrix; shapes as of `solve`.

        Rows above a right-hand side's first entry stay zero, and are left out.
        """
        x = self._wide(right)
        first = np.where(x.any(axis=0), (x != 0).argmax(axis=0), self.size)
        order = np.argsort(first, kind="stable")
        x, starts = x[:, order], first[order]
        for here, square, after, below in self._columns:
            some = slice(int(np.searchsorted(starts, here.stop)))
            if some.stop:
                x[here, some] = dtrsm(1.0, square, x[here, some], lower=1)
                x[after, some] -= below @ x[here, some]
        found = np.empty_like(x)
        found[:, order] = x
        return found.reshape(np.shape(right))

    def _wide(self, right: Array) -> Array:
        """Right-hand sides as a new array (n, k)."""
        return np.array(right, dtype=np.float64).reshape(self.size, -1 if np.size(right) else 0)


def factored(matrix: sp.csr_array, size: float | None = None) -> BandedCholesky:
    """The factor of a positive semidefinite matrix (n, n) plus the least ridge that makes it definite.

    The ridge leaves undetermined directions unchanged in a step. It is relative to ``size``, by default
    the largest diagonal entry. Raises `NotPositiveError` if the largest ridge, 1e-6 of it, does not
    suffice.
    """
    diagonal = matrix.diagonal()
    size = float(diagonal.max()) if size is None else size
    for ridge in (1e-15, 1e-12, 1e-9, 1e-6):
        try:
            return BandedCholesky(matrix, ridge * size)
        except NotPositiveError:
            continue
    raise NotPositiveError("The normal equations of the states are not positive definite.")
