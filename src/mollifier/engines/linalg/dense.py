"""Factors and inverses of dense matrices that may be indefinite by noise or rounding; products along axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg as sl

from mollifier.mollify.arrays import Array

JITTER = 1e-10  #: Ridge against rounding errors, as a share of a matrix's mean diagonal.

SINGULAR = 1e-11  #: Eigenvalues of a scaled matrix below which they count as zero.

#: Diagonal entry of a semidefinite matrix, over the largest, at which the others of its row round to zero.
_UNUSED = 1e-30


def inverted(matrix: Array) -> Array:
    """Inverse of a positive definite matrix (n, n)."""
    return inverted_square(np.asarray(np.linalg.cholesky(matrix), dtype=np.float64))


def inverted_square(lower: Array) -> Array:
    """Inverse of ``L L'`` by its lower Cholesky factor L, (n, n)."""
    (invert,) = sl.get_lapack_funcs(("potri",), (lower,))
    found, _ = invert(lower.T, lower=0, overwrite_c=1)
    found = found + found.T  # one triangle is zero
    found[np.diag_indices_from(found)] /= 2
    return found


def reciprocal(variances: Array) -> Array:
    """Weights 1/variance, shape (n,); ones where no variance is positive.

    Variances below a thousandth of their median are raised to it: they may be in error.
    """
    largest = variances.max()
    if not largest > 0:
        return np.ones_like(variances)
    return 1 / np.maximum(variances, 1e-3 * np.median(variances[variances > 0]))


def lower_factor(matrix: Array, overwrite: bool = False) -> Array | None:
    """Lower Cholesky factor (n, n); None if the matrix is not positive definite, or not finite.

    With ``overwrite`` the factor takes the place of the matrix, which saves a copy.

    >>> lower_factor(np.diag([4.0, -1.0])) is None
    True
    """
    try:
        # Symmetric: its transpose lies in Fortran's order, which LAPACK takes without a copy.
        found = sl.cholesky(matrix.T, lower=True, overwrite_a=overwrite, check_finite=False)
        found = np.asarray(found, dtype=np.float64)
    except np.linalg.LinAlgError:
        return None
    return found if np.isfinite(found.diagonal()).all() else None


def solved(matrix: Array, right: Array) -> Array:
    """The solution of a semidefinite system (p, p) for right-hand sides (p,) or (p, k), of the same shape.

    By least squares if rounding made the matrix indefinite. Unknowns on which nothing depends, whose rows
    are zero, are zero, as by least squares, and do not make others need them.

    >>> solved(np.diag([4.0, 0.0]), np.array([2.0, 0.0])).tolist()
    [0.5, 0.0]
    """
    diagonal = matrix.diagonal()
    used = diagonal > _UNUSED * diagonal.max(initial=0.0)
    if not used.all() and used.any():
        found = np.zeros_like(right)
        found[used] = solved(matrix[np.ix_(used, used)], right[used])
        return found
    try:
        # Its transpose lies in Fortran's order, which LAPACK takes as it is.
        return np.asarray(sl.cho_solve(sl.cho_factor(matrix.T, lower=True), right), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-14)[0], dtype=np.float64)


def factored(matrix: Array, jitter: float = 1e-14) -> Array:
    """Lower Cholesky factor (n, n); eigenvalues that are negative by estimation or rounding are raised."""
    lift = jitter * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    try:
        return np.linalg.cholesky(matrix + lift)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        raised = np.maximum(values, max(jitter, 1e-10) * np.abs(values).max())
        return np.linalg.cholesky((vectors * raised) @ vectors.T)


def flat_axes(values: Array) -> list[bool]:
    """Along which axes an array is broadcast: it does not vary there, and its sums need no pass over it."""
    return [stride == 0 for stride in values.strides]


def product(a: Array, b: Array) -> Array:
    """Product of two arrays of one shape, broadcast along the axes along which both are."""
    flat = zip(flat_axes(a), flat_axes(b), strict=True)
    cut = tuple(slice(0, 1) if one and other else slice(None) for one, other in flat)
    return np.broadcast_to(a[cut] * b[cut], a.shape)


def contract(values: Array, matrices: Sequence[Array | None]) -> Array:
    """Apply a matrix (m, n) along each axis of an array; None leaves the axis unchanged.

    >>> contract(np.ones((3, 4)), [np.ones((2, 3)), None]).shape
    (2, 4)
    """
    present = [(a, m) for a, m in enumerate(matrices) if m is not None]
    flat, applied = flat_axes(values), {a for a, _ in present}
    values = values[tuple(slice(0, 1) if f and a in applied else slice(None) for a, f in enumerate(flat))]
    for a, m in sorted(present, key=lambda p: (flat[p[0]], p[1].shape[0] / p[1].shape[1])):
        values = _along(values, a, m)
    return values


def contract_sum(
    parts: Sequence[tuple[Array, tuple[Any, ...]]],
    matrix: Callable[[int, Any, bool], Array],
    order: Sequence[int],
) -> Array:
    """The sum of arrays with a matrix applied along each axis, in an order of the axes.

    Arrays that have the same matrices along the axes left are added before these are applied. ``parts`` are
    arrays with the names of their matrices along each axis; ``matrix`` gives one by axis, name and whether
    the array is constant along the axis, when it is the matrix's sums (m, 1).

    >>> ones = np.ones((3, 4))
    >>> parts = [(ones, (1, 2)), (ones, (5, 2))]
    >>> contract_sum(parts, lambda axis, name, _: name * np.ones((1, (3, 4)[axis])), (0, 1)).tolist()
    [[144.0]]
    """
    left = []
    for values, names in parts:
        left.append((values[tuple(slice(0, 1) if f else slice(None) for f in flat_axes(values))], names))
    for axis in order:
        found: dict[tuple, Array] = {}
        for values, names in left:
            one = _along(values, axis, matrix(axis, names[axis], values.shape[axis] == 1))
            key = (*names[:axis], None, *names[axis + 1 :]), one.shape
            found[key] = np.add(found[key], one, out=found[key]) if key in found else one
        left = [(values, names) for (names, _), values in found.items()]
    ((total, _),) = left
    return total


def _along(values: Array, axis: int, matrix: Array) -> Array:
    """A matrix (m, n) applied along an axis, of length 1 where the array is constant."""
    if values.shape[axis] == 1:
        return values * matrix.sum(1).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    lines = values.reshape(-1, values.shape[axis], math.prod(after))
    found = lines[..., 0] @ matrix.T if lines.shape[2] == 1 else matrix @ lines
    return found.reshape(*before, len(matrix), *after)
