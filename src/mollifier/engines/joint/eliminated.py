"""The states eliminated from normal equations, as accurately as the rows of these allow."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mollifier.engines.linalg.banded import BandedCholesky
from mollifier.engines.linalg.dense import solved
from mollifier.mollify.arrays import Array

# Conjugate gradients end where a step lowers no energy by more than this share of it, or after so many steps.
_ENERGY_SHARE, _MOST_STEPS = 1e-8, 100


class Eliminated:
    """A symmetric matrix ``[[core, between], [between', border]]`` with its core ``L L'`` eliminated.

    ``factor`` is L, (n, n); ``between`` is (n, p) and ``border`` (p, p). The whole is the square of the
    matrix ``rows`` (m, n + p), which is given where the core's largest entries, by high derivatives on close
    nodes, exceed the data's part so far that rounding and the factor's ridge would hold the states: the
    unknowns, which these could not follow, would seem too well known.
    """

    def __init__(
        self,
        factor: BandedCholesky,
        between: sp.csr_array,
        border: Array,
        rows: sp.csr_array | None = None,
    ) -> None:
        self.factor = factor
        self.half = factor.forward(between.toarray())  #: ``L^-1 between``, shape (n, p).
        if rows is None or not self.half.size:
            schur = border - self.half.T @ self.half
        else:
            follow = _following(factor, rows, -factor.backward(self.half))
            self.half = -factor.upwards(follow)
            left = rows @ np.vstack([follow, np.eye(follow.shape[1])])
            schur = left.T @ left
        #: Schur complement ``border - between' core^-1 between``, shape (p, p).
        self.schur = (schur + schur.T) / 2

    @property
    def log_determinant(self) -> float:
        """Of the matrix."""
        return self.factor.log_determinant + float(np.linalg.slogdet(self.schur)[1])

    def solve(self, core: Array, border: Array, schur: Array | None = None) -> tuple[Array, Array]:
        """``M^-1 v`` of vectors with parts (n,) or (n, k) and (p,) or (p, k); ``schur`` replaces `schur`."""
        own = self.factor.forward(core)
        inner = border - self.half.T @ own
        after = solved(self.schur if schur is None else schur, inner) if inner.size else inner
        return self.factor.backward(own - self.half @ after), after

    def energies(self, core: Array, border: Array, schur: Array | None = None) -> Array:
        """``v' M^-1 v`` of vectors with parts (n, k) and (p, k), shape (k,); ``schur`` replaces `schur`."""
        own = self.factor.forward(core)
        total = np.sum(np.square(own), axis=0)
        if self.half.shape[1]:
            inner = border - self.half.T @ own
            total = total + np.sum(inner * solved(self.schur if schur is None else schur, inner), axis=0)
        return np.asarray(total, dtype=np.float64)


def _following(factor: BandedCholesky, rows: sp.csr_array, start: Array) -> Array:
    """``-core^-1 between``, (n, p), by conjugate gradients from a start, with the factor as preconditioner.

    Rounding of ``J(J'x)`` is that of J, whose entries are as the square roots of those of ``J'J``.
    """
    size = len(start)
    own = sp.csr_array(rows[:, :size])
    across = own.T.tocsr()
    x = start
    left = rows @ np.vstack([x, np.eye(x.shape[1])])
    residual = -(across @ left)
    along = step = factor.solve(residual)
    slope = np.sum(residual * step, axis=0)
    for _ in range(_MOST_STEPS):
        moved = own @ along
        length = slope / np.maximum(np.sum(np.square(moved), axis=0), 1e-300)
        x, left = x + length * along, left + length * moved
        if np.all(length * slope <= _ENERGY_SHARE * np.sum(np.square(left), axis=0)):
            break
        residual = -(across @ left)
        step = factor.solve(residual)
        before, slope = slope, np.sum(residual * step, axis=0)
        along = step + slope / np.maximum(before, 1e-300) * along
    return x
