"""Quadratic forms of priors on a lattice of values, and their eigenvalues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, reduce
from itertools import product

import numpy as np
import scipy.sparse as sp

from mollifier.engines.priors.differences import at_strength, derivative_rows
from mollifier.engines.priors.matern import matern_weights
from mollifier.engines.priors.shapes import Shape
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid

_ROUNDING = 1e-24  # Eigenvalues below this share of the largest are none.
# Lowest eigenvalue but that of a constant, over the highest, from which rounding of the highest changes its
# logarithm by less than 1e-4 (by about 2e-16 over the ratio in one and two axes, orders 1 to 4).
_LEAST_RATIO = 1e-11


class Form:
    """The quadratic form of a prior at a strength of one, ``x'Px``; a constant is free.

    It is scaled so that the factor of the highest derivatives is one.

    The coefficients are on a lattice, flat in C order, along scaled coordinates. ``weights`` are those of the
    squares of the rows, (m,), and ``local`` is a factor on the strength at the nodes, (p,); 1 by default.
    """

    def __init__(
        self, lattice: Grid, shape: Shape, weights: Array | None = None, local: Array | None = None
    ) -> None:
        factors = matern_weights(shape.order, shape.length).tolist()
        parts = [derivative_rows(lattice, k) * np.sqrt(f) for k, f in enumerate(factors) if f]
        if local is not None:
            parts = [at_strength(rows, local) for rows in parts]
        if weights is not None:
            parts = [sp.csr_array(sp.diags_array(np.sqrt(weights)) @ sp.vstack(parts))]
        #: What turns x into numbers whose sum of squares is x'Px, shape (m, p).
        self.matrix = sp.csr_array(sp.vstack(parts))
        self._size, self._parts, self._weighted = lattice.size, parts, weights is not None
        self._same = (lattice, shape) if weights is None and local is None else None

    @cached_property
    def variance(self) -> float:
        """Mean variance of what it does not leave free, at a strength of one."""
        kept = self.spectrum[self.spectrum > _ROUNDING * self.spectrum[-1]]
        return float(np.sum(1 / kept)) / self._size

    @cached_property
    def square(self) -> Array:
        """The precision P at a strength of one, shape (p, p)."""
        if self._same is not None:
            return _square(*self._same)
        return np.sum([_squared(rows) for rows in self._parts], axis=0)

    @cached_property
    def spectrum(self) -> Array:
        """Eigenvalues of P, shape (p,), none negative."""
        if self._same is not None:
            return _spectrum(*self._same)
        # One with weights is of the first order, and a new one in every step.
        return _eigenvalues([self.square], None if self._weighted else lambda: [self.matrix])

    def rows(self, x: Array) -> Array:
        """Numbers whose sum of squares is x'Px."""
        return self.matrix @ x

    def gradient(self, x: Array) -> Array:
        """Half the slope ``Px`` of the form at coefficients x (p,)."""
        return self.matrix.T @ (self.matrix @ x)


def _squared(rows: sp.csr_array) -> Array:
    """R'R of rows R (m, p), full where one of them reaches over all columns."""
    longest = np.diff(rows.indptr).max(initial=0)
    return rows.T @ rows.toarray() if longest == rows.shape[1] else (rows.T @ rows).toarray()


def _square(lattice: Grid, shape: Shape) -> Array:
    """P of a form that is the same in every problem, shape (p, p)."""
    constant, *factors = matern_weights(shape.order, shape.length).tolist()
    square = sp.eye_array(lattice.size) * (constant / lattice.size)
    square += sum(_mean_square(lattice, k) * f for k, f in enumerate(factors, 1) if f)
    return square.toarray() - constant / lattice.size**2


@lru_cache(maxsize=64)
def _mean_square(lattice: Grid, order: int) -> sp.csr_array:
    """Quadratic form (p, p) of the mean squared derivatives of an order above zero."""
    rows = derivative_rows(lattice, order)
    return sp.csr_array(rows.T @ rows)


@lru_cache(maxsize=256)
def _spectrum(lattice: Grid, shape: Shape) -> Array:
    """Eigenvalues of a form that is the same in every problem.

    Reversing an axis leaves the form unchanged, so that its eigenvectors are even or odd along each axis: in
    two coordinates there are four problems of a quarter of the size.
    """
    columns, factors = _parities(lattice), matern_weights(shape.order, shape.length)
    terms = [(f, _in_parities(lattice, k)) for k, f in enumerate(factors.tolist()) if f]
    squares = [np.sum([f * blocks[i] for f, blocks in terms], axis=0) for i in range(len(columns))]
    return _eigenvalues(squares, lambda: [Form(lattice, shape).matrix @ c for c in columns])


@lru_cache(maxsize=16)
def _in_parities(lattice: Grid, order: int) -> list[Array]:
    """Quadratic forms of the mean squared derivatives of an order, in the columns of `_parities` each."""
    return [_squared(sp.csr_array(derivative_rows(lattice, order) @ c)) for c in _parities(lattice)]


@lru_cache(maxsize=16)
def _parities(lattice: Grid) -> list[sp.csr_array]:
    """Orthonormal columns (p, k) of what is even or odd along each axis, by all combinations of these."""
    halves = [_even_and_odd(axis.size) for axis in lattice]
    return [sp.csr_array(reduce(sp.kron, parts)) for parts in product(*halves)]


def _even_and_odd(size: int) -> list[sp.csr_array]:
    """Orthonormal columns (size, k) of what is even about the middle of an axis, and of what is odd.

    >>> [m.shape for m in _even_and_odd(5)], [m.shape for m in _even_and_odd(1)]
    ([(5, 3), (5, 2)], [(1, 1)])
    """
    whole = sp.eye_array(size, format="csr")
    even, odd = whole + whole[::-1], whole - whole[::-1]
    parts = [even[:, : (size + 1) // 2], odd[:, : size // 2]]
    scaled = [p / np.sqrt(np.asarray(p.multiply(p).sum(axis=0))) for p in parts if p.shape[1]]
    return [sp.csr_array(p) for p in scaled]


def _eigenvalues(squares: Sequence[Array], rows: Callable[[], Sequence[sp.csr_array]] | None) -> Array:
    """Eigenvalues of all squares R'R, (k, k), in increasing order, none negative.

    They are the squares of singular values of the rows R, (m, k), if ``rows`` gives these and rounding of the
    highest would be felt in the lowest.
    """
    values = np.sort(np.maximum(np.concatenate([np.linalg.eigvalsh(s) for s in squares]), 0.0))
    if rows and values[1:2] <= _LEAST_RATIO * values[-1]:
        roots = [np.linalg.svd(np.linalg.qr(r.toarray(), mode="r"), compute_uv=False) for r in rows()]
        found = np.sort(np.square(np.concatenate(roots)))
        values = np.append(np.zeros(len(values) - len(found)), found)
        values[values < _ROUNDING * values[-1]] = 0.0
    values[0] = 0.0
    return values
