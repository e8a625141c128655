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
import scipy.linalg as sl
from numpy.typing import NDArray

from mollifier.engines.weak.known import Known
from mollifier.engines.weak.limits import Limits
from mollifier.engines.weak.linear import JITTER, SINGULAR, factored, inverted, reciprocal, significant, told
from mollifier.engines.weak.prior import Hyper, Prior, maximise
from mollifier.engines.weak.sums import Rows, Sums
from mollifier.engines.weak.testspace import TestSpace, contract

Array = NDArray[np.float64]

# Columns whose spread is summed over the data.
_FEW = 8
_ROUNDS, _STEPS, _SETTLED = 3, 30, 1e-10
# Most linearisations of priors that are not quadratic, and a change in standard errors that ends them.
_LAGS, _STILL = 10, 0.02
# Variance of a row, beside the largest, that is none.
_NOTHING = 1e-12
# An eigenvalue of the information this small beside its own error is none.
_SIGNIFICANT = 5.0


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
        Combinations of unknown numbers that the data do not determine: each maps names to shares.
    residuals, variances
        Shape (rows,).
    resolution
        What the coarseness of the grid may add to the standard errors, shape (m,).
    precisions
        Of the priors of unknown fields about a level of zero.
    told
        Combinations of coefficients that the data tell something of.
    """

    space: TestSpace
    coefficients: Array
    covariance: Array
    misfit: float
    whiteness: float
    priors: dict[str, Hyper] = field(default_factory=dict)
    loose: Sequence[dict[str, float]] = ()
    residuals: Array = field(default_factory=lambda: np.zeros(0))
    variances: Array = field(default_factory=lambda: np.zeros(0))
    log_evidence: float = 0.0
    resolution: Array = field(default_factory=lambda: np.zeros(0))
    precisions: dict[str, Array] = field(default_factory=dict)
    told: int = 0

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
        sums: Sums,
        priors: Sequence[Prior],
        bounds: Array,
        smooth: Sums,
        whole: bool = False,
        known: Sequence[Known] = (),
    ) -> None:
        self.sums, self.priors, self.bounds = sums, tuple(priors), bounds
        self.smooth, self.whole, self.known = smooth, whole, tuple(known)
        self.hyper: dict[str, Hyper] = {}
        self.precisions: dict[str, Array] = {}
        self.learn = True

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

    @property
    def _noisy(self) -> bool:
        return any(float(np.max(v)) > 0 for v in self.sums.measured.variances.values())

    def normal(self, space: TestSpace, coefficients: Array) -> Normal:
        """Score, slope and covariance at given coefficients."""
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
        noise = normal.noise / np.outer(scale, scale)
        v = normal.rows.variances
        # Rows without noise among others with it hold no data: those outside of a window.
        counted = v > _NOTHING * v.max(initial=0.0)
        white = normal.weights.ndim == 2
        parts = np.split(counted if counted.any() else ~counted, self.sums.equations)
        independent = sum(effective_rows(space, part, white) for part in parts)
        error = _SIGNIFICANT * np.sqrt(2.0 / independent)
        loose = self._loose(slope, noise, error)
        evidence, directions = 0.0, len(slope)
        if self.priors:
            # The noise's share of many directions spreads as eigenvalues of a random matrix do: up to
            # (1 + sqrt(m/n))^2 (Marchenko and Pastur 1967).
            crowd = self.sums.size / independent
            kept = significant(slope, noise, max(error, 2 * np.sqrt(crowd) + crowd))
            theta, covariance, evidence = self._settled(
                kept.T @ slope, kept.T @ meat @ kept, kept.T @ target, scale
            )
            directions = self._told(kept, scale)
        else:
            # What the data do not move stays where it is: there are equations that zero would divide by.
            inverse = np.linalg.pinv(slope, rcond=SINGULAR, hermitian=True)
            theta = at * scale - inverse @ (normal.score / scale)
            covariance = inverse @ meat @ inverse
        theta, covariance = theta / scale, covariance / np.outer(scale, scale)
        theta = self._bounded(theta, covariance)
        residuals = normal.rows.residuals + normal.rows.slopes @ (theta - at)
        for combination in loose:
            for name in combination:
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
            dict(self.hyper),
            loose,
            residuals,
            v,
            evidence,
            precisions=dict(self.precisions),
            told=directions,
        )

    def _scale(self, weights: Array) -> Array:
        """Sizes of the coefficients' columns; those of one unknown lie within six decades of another."""
        scale = np.ones(len(weights))
        for place in self.sums.place.values():
            largest = float(np.max(weights[place]))
            if largest > 0:
                scale[place] = np.sqrt(np.maximum(weights[place], 1e-12 * largest))
        return scale

    def _settled(self, slope: Array, meat: Array, target: Array, scale: Array) -> tuple[Array, Array, float]:
        """As `_with_prior`, with priors that are not quadratic linearised about its result until it is still.

        While nothing is learnt they stay as they are, so that errors can be compared.
        """
        found = self._with_prior(slope, meat, target, scale)
        for _ in range(_LAGS if self.learn and len(target) else 0):
            before, field = found[0], found[0] / scale
            priors = tuple(p.about(field[self.sums.place[p.name]]) for p in self.priors)
            if all(new is old for new, old in zip(priors, self.priors, strict=True)):
                break
            self.priors = priors
            found = self._with_prior(slope, meat, target, scale)
            if np.max(np.abs(found[0] - before) / np.sqrt(np.diag(found[1]))) < _STILL:
                break
        return found

    def _with_prior(
        self, slope: Array, meat: Array, target: Array, scale: Array
    ) -> tuple[Array, Array, float]:
        """Posterior mean and covariance (scaled), with strengths that maximise the marginal likelihood.

        Parameters
        ----------
        slope, meat, target
            Of the equations that tell something, shapes (k, m), (k, k), (k,).
        scale
            Of the coefficients, shape (m,).
        """
        size = len(scale)
        if not len(target) and not self.known:
            return np.zeros(size), np.diag(np.full(size, np.inf)), -np.inf
        read, right = self._readings(scale, self.known)
        conditions = [c for k in self.known if (c := k.conditions) is not None] if len(target) else []
        information = np.zeros((size, size))
        if len(target):
            root = factored(meat, JITTER)
            design = sl.solve_triangular(root, slope, lower=True)
            information = design.T @ design
            right = right + design.T @ sl.solve_triangular(root, target, lower=True)
        else:
            information, read = read, information
        ridge = JITTER * np.trace(information) / size * np.eye(size)
        places = [self.sums.place[p.name] for p in self.priors]
        units = [
            max(np.trace(information[w, w]), JITTER * np.trace(information))
            / np.trace(p.precision(0, 0.0) / np.outer(scale[w], scale[w]))
            for p, w in zip(self.priors, places, strict=True)
        ]

        def prior(h: Hyper, i: int) -> Array:
            return 10.0**h.strength * units[i] * self.priors[i].precision(h.order, h.length)

        def posterior(hypers: list[Hyper], precision: Array, right: Array) -> tuple[Array, Array, float]:
            precision, evidence = precision + ridge, 0.0
            for i, (h, w) in enumerate(zip(hypers, places, strict=True)):
                scaled = prior(h, i) / np.outer(scale[w], scale[w])
                evidence += np.log(np.diag(factored(scaled))).sum()
                precision[w, w] += scaled
            factor = factored(precision)
            half = sl.solve_triangular(factor, right, lower=True)
            return factor, half, float(evidence + half @ half / 2 - np.log(np.diag(factor)).sum())

        def worth(hypers: list[Hyper]) -> float:
            # Exact readings are conditions: see `mollifier.engines.joint.known`.
            own = posterior(hypers, *self._readings(scale, conditions))[2] if conditions else 0.0
            return posterior(hypers, information + read, right)[2] - own

        hypers = [self.hyper[p.name] for p in self.priors] if self.hyper else None
        if self.learn or hypers is None:
            hypers, _ = maximise(worth, list(self.priors), hypers)
            self.hyper = {p.name: h for p, h in zip(self.priors, hypers, strict=True)}
        self.precisions = {
            p.name: prior(h, i) for i, (p, h) in enumerate(zip(self.priors, hypers, strict=True))
        }
        factor, half, _ = posterior(hypers, information + read, right)
        theta = sl.solve_triangular(factor.T, half)
        inverse = sl.solve_triangular(factor, np.eye(size), lower=True)
        return theta, inverse.T @ inverse, worth(hypers)

    def _readings(self, scale: Array, known: Sequence[Known]) -> tuple[Array, Array]:
        """What readings tell of the scaled coefficients: precision (m, m), and it times these, (m,)."""
        information, right = np.zeros((len(scale), len(scale))), np.zeros(len(scale))
        for k in known:
            here = self.sums.place[k.name]
            information[here, here] += k.information / np.outer(scale[here], scale[here])
            right[here] += k.right / scale[here]
        return information, right

    def _told(self, kept: Array, scale: Array) -> int:
        """Combinations of coefficients that the equations kept or the readings tell something of."""
        if not self.known:
            return kept.shape[1]
        prior = np.eye(len(scale))
        for name, precision in self.precisions.items():
            here = self.sums.place[name]
            prior[here, here] = precision / np.outer(scale[here], scale[here])
        return told(kept, self._readings(scale, self.known)[0], prior)

    def _bounded(self, theta: Array, covariance: Array) -> Array:
        """The nearest point within the bounds, in the metric of the precision."""
        if not np.isfinite(covariance).all():
            return np.clip(theta, *self.bounds)
        return self._limits.nearest(theta, covariance)

    def _loose(self, slope: Array, noise: Array, error: float) -> list[dict[str, float]]:
        """Combinations of numbers along which the information is no more than its own error."""
        numbers = [b.name for b in self.sums.bases if not b.splines]
        if not numbers:
            return []
        here = np.ix_(*[[self.sums.place[n].start for n in numbers]] * 2)
        values, vectors = np.linalg.eigh(slope[here])
        found = []
        for value, vector in zip(values, vectors.T, strict=True):
            if value <= max(SINGULAR, error * float(vector @ noise[here] @ vector)):
                shares = {n: float(v) for n, v in zip(numbers, vector, strict=True)}
                found.append({n: v for n, v in shares.items() if abs(v) > 0.05})
        return found


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
