"""Bounds of unknowns and of their slopes: the nearest estimate whose values, not coefficients, satisfy them.

Coefficients of splines of high degree may be far outside the range of the field's values: bounds on
coefficients would distort fields whose values satisfy the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl
from scipy.optimize import lsq_linear, nnls

from mollifier.engines.linalg.dense import JITTER
from mollifier.engines.splines.basis import Basis
from mollifier.mollify.arrays import Array

# Points per spline along an axis at which bounds are enforced; most bounds that are added to the active set
# in one round; most rounds.
_PLACES, _AT_ONCE, _ROUNDS = 2, 100, 30
_MISSED = 1e-3  # Share of a value's standard error by which it may violate a bound.


def _non_negative(matrix: Array, right: Array) -> Array:
    """Non-negative least squares (m, n), (m,): by an active set or, where that cycles, by reflections.

    >>> _non_negative(np.eye(2), np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    try:
        return nnls(matrix, right)[0]
    except RuntimeError:
        return np.asarray(lsq_linear(matrix, right, (0.0, np.inf)).x)


@dataclass(frozen=True, eq=False)
class Limits:
    """Inequalities ``low <= rows @ coefficients <= high``, of shapes (n,), (n, m) and (m,)."""

    rows: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, bases: Sequence[Basis], places: dict[str, slice], bounds: Array) -> Limits:
        """Bounds of numbers, and of fields and their slopes at the points of a fine grid.

        ``bases`` are those of all unknowns, ``places`` those of their coefficients by name, and ``bounds``
        (2, m) are the lower and the upper one of each coefficient's unknown.
        """
        size = bounds.shape[1]
        rows, low, high = [np.zeros((0, size))], [np.zeros(0)], [np.zeros(0)]
        for basis in bases:
            here = places[basis.name]
            axes = [
                np.linspace(s.axis.lower, s.axis.upper, _PLACES * s.size + 1) for s in basis.splines.values()
            ]
            mesh = [m.ravel() for m in np.meshgrid(*axes, indexing="ij")]
            values = basis.rows(dict(zip(basis.splines, mesh, strict=True))) if mesh else np.ones((1, 1))
            limited = [(values, *bounds[:, here.start])]
            if basis.slope:
                (splines,) = basis.splines.values()
                limited.append((basis.slope * splines.matrix(1, axes[0]), 0.0, np.inf))
            for part, least, most in limited:
                if np.isfinite([least, most]).any():
                    whole = np.zeros((len(part), size))
                    whole[:, here] = part
                    rows.append(whole)
                    low.append(np.full(len(part), least))
                    high.append(np.full(len(part), most))
        return cls(np.concatenate(rows), np.concatenate(low), np.concatenate(high))

    def nearest(self, theta: Array, covariance: Array) -> Array:
        """The point within the limits that is nearest to ``theta`` (m,), in the metric of the precision.

        The dual problem has one non-negative multiplier for each bound. Violated bounds are added to the
        active set until none is left. ``covariance`` (m, m) is the inverse of the precision.

        >>> positive = Limits(np.eye(2), np.zeros(2), np.full(2, np.inf))
        >>> positive.nearest(np.array([-1.0, 2.0]), np.array([[1.0, 0.5], [0.5, 1.0]])).round(6)
        array([-0. ,  2.5])
        """
        found, active = theta, np.zeros((0, len(theta)))
        ends = np.zeros(0)
        spread = np.einsum("ij,ij->i", self.rows @ covariance, self.rows)
        error = np.sqrt(np.maximum(spread, np.finfo(float).tiny))
        for _ in range(_ROUNDS):
            values = self.rows @ found
            below, above = (self.low - values) / error, (values - self.high) / error
            violation = np.maximum(below, above)
            worst = np.argsort(-violation)[:_AT_ONCE]
            worst = worst[violation[worst] > _MISSED]
            if not len(worst):
                break
            sign = np.where(below[worst] > above[worst], 1.0, -1.0)
            ends = np.append(ends, np.where(sign > 0, self.low[worst], -self.high[worst]) / error[worst])
            active = np.concatenate([active, self.rows[worst] * (sign / error[worst])[:, None]])
            gain = covariance @ active.T
            dual = active @ gain
            dual[np.diag_indices_from(dual)] += JITTER
            lower = np.asarray(np.linalg.cholesky(dual), dtype=np.float64)
            right = sl.solve_triangular(lower, ends - active @ theta, lower=True)
            found = theta + gain @ _non_negative(lower.T, right)
        return found
