"""Estimating equations: least squares without the bias that noise adds, and what it leaves uncertain.

With rows r of covariance C, slopes G and weights W the score is ``g = G' W r - n`` and its slope ``A = G' W
G - N``, where n and N are what noise adds to the products on average. Without a prior the estimate solves g
= 0 and its covariance is the sandwich ``A^-1 B A^-1``, ``B = G' W C W G``. With one, the score is taken as
what was measured: it is normal with covariance B, so that the information is ``A B^-1 A``, the prior's
precision is added to it, and the prior's strength maximises the marginal likelihood. The two agree where the
prior is weak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.identifiability.undetermined import Direction, free_directions
from mollifier.engines.linalg.dense import SINGULAR, contract, inverted, reciprocal
from mollifier.engines.priors.spline_prior import Hyper, Prior
from mollifier.engines.splines.limits import Limits
from mollifier.engines.weak.conditioning import FieldMeasurements
from mollifier.engines.weak.instruments import Instruments
from mollifier.engines.weak.posterior import Posterior
from mollifier.engines.weak.sums import Rows, WeakSums
from mollifier.engines.weak.testspace import TestSpace

Array = NDArray[np.float64]

# Columns whose spread is summed over the data.
_FEW = 8
_ROUNDS, _STEPS, _SETTLED = 3, 30, 1e-10
# Variance of a row, beside the largest, that is none.
_NOTHING = 1e-12
# Mean square of residuals that divides.
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Fit:
    """An estimate with its covariance.

    Attributes
    ----------
    coefficients
        Of all unknowns, shape (m,).
    covariance
        Shape (m, m); infinite on the diagonal where nothing is determined.
    misfit
        Rms of the residuals in units of their standard errors: 1 where the equation holds to the noise.
    whiteness
        Rms of the whitened residuals where the covariance was inverted whole, else `misfit`.
    priors
        What was learnt of each unknown field's prior.
    loose
        Changes of unknown numbers that the data do not show.
    residuals, variances
        Shape (rows,).
    resolution
        What the coarseness of the grid may add to the standard errors, shape (m,).
    precisions
        Of the priors of unknown fields about a level of zero.
    """

    space: TestSpace
    coefficients: Array
    covariance: Array
    misfit: float
    whiteness: float
    priors: dict[str, Hyper] = field(default_factory=dict)
    loose: Sequence[Direction] = ()
    residuals: Array = field(default_factory=lambda: np.zeros(0))
    variances: Array = field(default_factory=lambda: np.zeros(0))
    log_evidence: float = 0.0
    resolution: Array = field(default_factory=lambda: np.zeros(0))
    precisions: dict[str, Array] = field(default_factory=dict)

    @property
    def sd(self) -> Array:
        """Standard errors of the coefficients, wider where the residuals exceed the noise."""
        sd = np.sqrt(np.diag(self.covariance)) * max(1.0, self.misfit)
        return np.hypot(sd, self.resolution) if len(self.resolution) else sd


@dataclass(frozen=True, eq=False)
class Normal:
    """The estimating equations at one place: score, its slope, and its covariance."""

    rows: Rows
    weights: Array
    score: Array
    slope: Array
    noise: Array
    meat: Array


class Estimator:
    """Solves the estimating equations of a problem.

    Parameters
    ----------
    sums
        Of the problem.
    priors
        Of unknown fields.
    bounds
        Least and greatest value of every coefficient, shape (2, m).
    smooth
        The sums over smoothed fields, for the weights: those of noisy fields would follow the noise, and bias
        the estimate.
    whole
        Invert the whole covariance of the rows for weights; else each is weighed by its own variance.
    known
        Readings of unknown fields.
    """

    def __init__(
        self,
        sums: WeakSums,
        priors: Sequence[Prior],
        bounds: Array,
        smooth: WeakSums,
        whole: bool = False,
        known: Sequence[FieldMeasurements] = (),
    ) -> None:
        self.sums, self.priors, self.bounds = sums, tuple(priors), bounds
        self.smooth, self.whole, self.known = smooth, whole, tuple(known)
        self.posterior = Posterior(self.priors, self.known, sums.place)

    @property
    def degrees(self) -> int:
        """Coefficients that only the data can determine."""
        smooth = {p.name for p in self.priors}
        return max(sum(b.size for b in self.sums.bases if b.name not in smooth), 1)

    @cached_property
    def curved(self) -> bool:
        """Whether a slope depends on the unknowns."""
        names = [d.name for d in self.sums.form.unknowns]
        return any(str(s) in names for e in self.sums.integrands.slopes.values() for s in e.free_symbols)

    @cached_property
    def _limits(self) -> Limits:
        return Limits.of(self.sums.bases, self.sums.place, self.bounds)

    @cached_property
    def _instruments(self) -> Instruments:
        return Instruments.of(self.sums, self.smooth)

    @property
    def _noisy(self) -> bool:
        return any(float(np.max(v)) > 0 for v in self.sums.data.variances.values())

    def normal(self, space: TestSpace, coefficients: Array) -> Normal:
        """Score, slope and covariance at given coefficients."""
        if self.priors:
            return self._independent(space, coefficients)
        sums = self.sums
        rows = sums.rows(space, coefficients)
        g = rows.slopes
        if self.whole:
            weights = inverted(self.smooth.covariance(space, coefficients, known=True))
        else:
            own = rows.variances if self.smooth is sums else self.smooth.variances(space, coefficients)
            weights = reciprocal(own)
        covariance = None if sums.size <= _FEW else sums.covariance(space, coefficients)
        weighted = weights @ g.toarray() if weights.ndim == 2 else g.multiply(weights[:, None]).toarray()
        vector, matrix = sums.bias(space, coefficients, weights)
        score = weighted.T @ rows.residuals - vector
        product = np.asarray(g.T @ weighted)
        if covariance is not None:
            meat = weighted.T @ (covariance @ weighted)
        else:
            meat = sums.spread(space, coefficients, weighted)
        slope = product - matrix
        if not rows.variances.max() > 0:  # without noise, what is left over speaks for itself
            part = weighted * rows.residuals[:, None]
            meat = part.T @ part
            matrix = sums.rounded().bias(space, coefficients, weights)[1]
        return Normal(rows, weights, np.asarray(score), slope, matrix, meat)

    def _independent(self, space: TestSpace, coefficients: Array) -> Normal:
        """The same for unknown fields: slopes from fields that are independent of the residuals."""
        rows = self.sums.rows(space, coefficients)
        if rows.variances.max() > 0:
            weights = inverted(self.smooth.covariance(space, coefficients, known=True))
        else:  # without noise, what is left over speaks for itself
            weights = np.eye(len(rows.residuals)) / max(float(np.mean(rows.residuals**2)), _TINY)
        weighed = weights @ rows.residuals
        g = self._instruments.slopes(space, coefficients, rows.residuals, weighed)
        slope = np.asarray(g.T @ (weights @ g.toarray()))
        return Normal(rows, weights, np.asarray(g.T @ weighed), slope, np.zeros_like(slope), slope)

    def fit(self, space: TestSpace, start: Array, rounds: int = _ROUNDS) -> Fit:
        """Iterate weights and coefficients from a start; to the end where the equations are not linear."""
        coefficients = start
        result = None
        for _ in range(_STEPS if self.curved else rounds):
            normal = self.normal(space, coefficients)
            result = self._solve(space, normal, coefficients)
            moved = result.coefficients - coefficients
            coefficients = result.coefficients
            with np.errstate(all="ignore"):
                still = np.abs(moved) <= 1e-3 * np.sqrt(np.diag(result.covariance)) + _SETTLED * np.abs(
                    coefficients
                )
            if still.all():
                break
        assert result is not None
        return result

    def _solve(self, space: TestSpace, normal: Normal, at: Array) -> Fit:
        """One step from the estimating equations."""
        scale = self._scale(np.diag(normal.slope + normal.noise))
        slope = normal.slope / np.outer(scale, scale)
        meat = normal.meat / np.outer(scale, scale)
        target = slope @ (at * scale) - normal.score / scale
        v = normal.rows.variances
        # Rows without noise among others with it hold no data: those outside of a window.
        counted = v > _NOTHING * v.max(initial=0.0)
        white = normal.weights.ndim == 2
        parts = np.split(counted if counted.any() else ~counted, self.sums.equations)
        independent = sum(effective_rows(space, part, white) for part in parts)
        loose = self._free_directions(normal, independent)
        evidence = 0.0
        if self.priors:
            theta, covariance, evidence = self.posterior.settled(slope, target, scale)
        else:
            # What the data do not move stays where it is: there are equations that zero would divide by.
            inverse = np.linalg.pinv(slope, rcond=SINGULAR, hermitian=True)
            theta = at * scale - inverse @ (normal.score / scale)
            covariance = inverse @ meat @ inverse
        theta, covariance = theta / scale, covariance / np.outer(scale, scale)
        theta = self._bounded(theta, covariance)
        residuals = normal.rows.residuals + normal.rows.slopes @ (theta - at)
        for direction in loose:
            for name in direction.change:
                here = self.sums.place[name].start
                covariance[here, here] = np.inf
        misfit = float(np.sqrt(np.mean(residuals[counted] ** 2 / v[counted]))) if counted.any() else 1.0
        whiteness = (
            float(np.sqrt(residuals @ normal.weights @ residuals / max(counted.sum(), 1)))
            if white
            else misfit
        )
        return Fit(
            space,
            theta,
            covariance,
            misfit,
            whiteness,
            dict(self.posterior.hyper),
            loose,
            residuals,
            v,
            evidence,
            precisions=dict(self.posterior.precisions),
        )

    def _scale(self, weights: Array) -> Array:
        """Sizes of the coefficients' columns; those of one unknown lie within six decades of another."""
        scale = np.ones(len(weights))
        for place in self.sums.place.values():
            largest = float(np.max(weights[place]))
            if largest > 0:
                scale[place] = np.sqrt(np.maximum(weights[place], 1e-12 * largest))
        return scale

    def _bounded(self, theta: Array, covariance: Array) -> Array:
        """The nearest point within the bounds, in the metric of the precision."""
        if not np.isfinite(covariance).all():
            return np.clip(theta, *self.bounds)
        return self._limits.nearest(theta, covariance)

    def _free_directions(self, normal: Normal, independent: float) -> list[Direction]:
        """Changes of numbers that the data do not show; ``independent`` residuals carry the noise."""
        numbers = [b.name for b in self.sums.bases if not b.splines]
        here = np.ix_(*[[self.sums.place[n].start for n in numbers]] * 2)
        return free_directions(
            numbers, normal.slope[here], normal.noise[here], lambda _: independent, SINGULAR**0.5
        )


def effective_rows(space: TestSpace, counted: NDArray[np.bool_], white: bool) -> float:
    """Number of independent residuals among the overlapping ones of those that count, shape (tests,).

    The square of the trace over the trace of the square of their covariance.
    """
    if white:
        return float(counted.sum())
    squares = []
    for axis in space.axes:
        w = axis.weights[0] / np.linalg.norm(axis.weights[0], axis=1, keepdims=True)
        squares.append((w @ w.T) ** 2)
    here = space.lattice(counted.astype(float))
    return float(here.sum() ** 2 / max(np.sum(here * contract(here, squares)), 1e-300))
