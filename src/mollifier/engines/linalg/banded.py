"""Cholesky factors of banded matrices, with many right-hand sides at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from scipy.linalg import cholesky_banded, solve_triangular

Array = NDArray[np.float64]

# Rows that are solved for at a time: matrix products run faster than LAPACK's solution by columns.
_ROWS = 128


class NotPositiveError(ArithmeticError):
    """A matrix that should be positive definite is not, which rounding errors can cause."""


def banded_order(shape: Sequence[int]) -> NDArray[np.intp]:
    """New place of each node of a grid, flat in C order, that keeps neighbours close: longest axis slowest.

    Examples
    --------
    >>> banded_order((2, 3)).tolist()
    [0, 2, 4, 1, 3, 5]
    """
    axes = np.argsort([-n for n in shape], kind="stable")
    old = np.arange(int(np.prod(shape))).reshape(tuple(shape)).transpose(axes).ravel()
    new = np.empty_like(old)
    new[old] = np.arange(len(old))
    return new.astype(np.intp)


def order_within(used: NDArray[np.bool_], shape: Sequence[int]) -> NDArray[np.intp]:
    """`banded_order` of the nodes in a box, and -1 for the others, shape (nodes,).

    Parameters
    ----------
    used
        Whether each node, flat in C order, is in the box.
    shape
        Of the whole grid.

    Examples
    --------
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

    Parameters
    ----------
    matrix
        Sparse, shape (n, n); only its lower half is read.

    Raises
    ------
    NotPositiveError
        If the matrix is not positive definite.

    Examples
    --------
    >>> a = sp.csr_array(np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]]))
    >>> factor = BandedCholesky(a)
    >>> np.round(a @ factor.solve(np.array([1.0, 2.0, 3.0])), 12).tolist()
    [1.0, 2.0, 3.0]
    >>> round(np.exp(factor.log_determinant))
    18
    """

    def __init__(self, matrix: sp.csr_array) -> None:
        coo = sp.coo_array(sp.csr_array(matrix))
        coo.sum_duplicates()
        row, column = coo.coords
        low = row >= column
        away = (row - column)[low]
        self.size, self.width = matrix.diagonal().size, int(away.max(initial=0))
        # In Fortran's order, so that LAPACK works in place.
        band = np.zeros((self.width + 1, self.size), order="F")
        band[away, column[low]] = coo.data[low]
        try:
            self.band = cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise NotPositiveError(str(error)) from None
        self._flat = self.band.ravel(order="F")
        self._inside: dict[tuple[int, int, int], NDArray[np.bool_]] = {}

    @property
    def log_determinant(self) -> float:
        """Natural logarithm of the matrix's determinant."""
        return 2 * float(np.log(self.band[0]).sum())

    def _block(self, rows: slice, columns: slice) -> Array:
        """A block of the factor as a dense matrix, zero outside the band."""
        first = rows.start - columns.start
        shape = rows.stop - rows.start, columns.stop - columns.start
        key = first, *shape
        if key not in self._inside:
            distance = first + np.arange(shape[0])[:, None] - np.arange(shape[1])
            self._inside[key] = (distance >= 0) & (distance <= self.width)
        # In Fortran's order entry (i, j) of the factor, band[i - j, j], lies at i + j*width.
        start = rows.start + columns.start * self.width
        step = self._flat.itemsize
        view = as_strided(self._flat[start:], shape, (step, self.width * step), writeable=False)
        return np.where(self._inside[key], view, 0.0)

    def solve(self, right: Array) -> Array:
        """The solution for right-hand sides (n,) or (n, k), of the same shape."""
        x = np.array(right, dtype=np.float64).reshape(self.size, -1 if np.size(right) else 0)
        for low in range(0, self.size, _ROWS):
            here, before = slice(low, min(low + _ROWS, self.size)), slice(max(low - self.width, 0), low)
            if before.stop > before.start:
                x[here] -= self._block(here, before) @ x[before]
            x[here] = solve_triangular(self._block(here, here), x[here], lower=True, check_finite=False)
        for low in reversed(range(0, self.size, _ROWS)):
            here = slice(low, min(low + _ROWS, self.size))
            after = slice(here.stop, min(here.stop + self.width, self.size))
            if after.stop > after.start:
                x[here] -= self._block(after, here).T @ x[after]
            square = self._block(here, here)
            x[here] = solve_triangular(square, x[here], lower=True, trans=1, check_finite=False)
        return x.reshape(np.shape(right))


def factored(matrix: sp.csr_array, size: float | None = None) -> BandedCholesky:
    """The factor of a positive semidefinite matrix (n, n) plus the least ridge that makes it definite.

    The ridge leaves undetermined directions unchanged in a step.

    Parameters
    ----------
    matrix
        Sparse, shape (n, n).
    size
        What the ridge is relative to; the largest diagonal entry by default.

    Raises
    ------
    NotPositiveError
        If the largest ridge, 1e-6 of ``size``, does not suffice.
    """
    diagonal = matrix.diagonal()
    size = float(diagonal.max()) if size is None else size
    for ridge in (1e-15, 1e-12, 1e-9, 1e-6):
        try:
            return BandedCholesky(sp.csr_array(matrix + ridge * size * sp.eye_array(len(diagonal))))
        except NotPositiveError:
            continue
    raise NotPositiveError("The normal equations of the states are not positive definite.")
