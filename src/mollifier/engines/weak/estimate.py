"""Estimating equations: least squares without the bias that noise adds, and the errors of the estimate.

With residuals r of covariance C, their slopes G and weights W the score is ``g = G' W r - n`` and its slope
``A = G' W G - N``, where n and N are the means that noise adds to the products. Without a prior the estimate
solves g = 0 and its covariance is the sandwich ``A^-1 B A^-1`` with ``B = G' W C W G``.

For unknown fields the slopes are instrumental variables (`mollifier.engines.weak.instruments`) and W is C^-1:
then n and N are zero, and A and B both are the information. The prior's precision is added to it, and the
prior's strength maximises the marginal likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mollifier.engines.identifiability.undetermined import LOST, Direction, free_directions
from mollifier.engines.linalg.blocks import BlockInverse
from mollifier.engines.linalg.dense import SINGULAR, reciprocal
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.priors.shapes import Choice
from mollifier.engines.splines.limits import Limits
from mollifier.engines.weak.conditioning import FieldMeasurements
from mollifier.engines.weak.instruments import instruments
from mollifier.engines.weak.posterior import Posterior
from mollifier.engines.weak.sums import WeakRows, WeakSums
from mollifier.engines.weak.testspace import TestSpace
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Mask


@dataclass(frozen=True, eq=False)
class Fit:
    """An estimate with its covariance."""

    space: TestSpace  #: The test functions.
    coefficients: Array  #: Of all unknowns, shape (m,).
    #: Of the coefficients, shape (m, m); infinite on the diagonal where nothing is determined.
    covariance: Array
    #: Rms of the residuals in units of their standard errors: 1 where the equation holds to the noise.
    misfit: float
    #: Rms of the whitened residuals where their whole covariance was inverted, else `misfit`.
    whiteness: float
    #: Degrees of freedom of misfit and whiteness: independent residuals less fitted coefficients.
    freedom: tuple[float, float]
    priors: dict[str, Choice] = field(default_factory=dict)  #: The prior of each unknown field, as estimated.
    free_directions: Sequence[Direction] = ()  #: Changes of unknown numbers that the data do not show.
    #: Weak residuals and their noise variances, shape (rows,).
    residuals: Array = field(default_factory=lambda: np.zeros(0))
    variances: Array = field(default_factory=lambda: np.zeros(0))
    log_evidence: float = 0.0  #: Logarithm of the marginal likelihood.
    #: Errors of the coefficients by the spacing of the grid, shape (m,) or (0,) for none.
    resolution: Array = field(default_factory=lambda: np.zeros(0))
    #: Of the priors of unknown fields about a level of zero, shape (coefficients, coefficients).
    precisions: dict[str, Array] = field(default_factory=dict)
    #: Of the slope of the score, shape (m, m), and ``W G``, shape (rows, m).
    inverse: Array = field(default_factory=lambda: np.zeros((0, 0)))
    weighted: Array = field(default_factory=lambda: np.zeros((0, 0)))
    #: By how much the equations changed the coefficients in the last round, shape (m,).
    moved: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def widening(self) -> float:
        """By how much the residuals exceed what noise explains, at least 1."""
        return max(1.0, self.misfit, self.whiteness)

    @property
    def brief(self) -> Fit:
        """The fit without what each residual takes memory for: many radii are tried."""
        none = np.zeros(0)
        return replace(self, residuals=none, variances=none, inverse=none, weighted=none)

    def moved_by(self, change: Array) -> Array:
        """By how much a change of the residuals (rows,) moves the coefficients, shape (m,)."""
        return -self.inverse @ (self.weighted.T @ change)

    @property
    def sd(self) -> Array:
        """Standard errors of the coefficients, wider where the residuals exceed the noise."""
        sd = np.sqrt(np.diag(self.covariance)) * self.widening
        return np.hypot(sd, self.resolution) if len(self.resolution) else sd


@dataclass(frozen=True, eq=False)
class EstimatingEquations:
    """The estimating equations at given coefficients."""

    space: TestSpace  #: The test functions.
    #: r with G, and the noise variance of each residual, shape (rows,).
    rows: WeakRows
    variances: Array
    #: W as its diagonal (rows,) or as a whole, and ``W G`` of shape (rows, m).
    weights: Array | BlockInverse
    weighted: Array
    #: g of shape (m,), and A, N and B of shape (m, m).
    score: Array
    slope: Array
    noise: Array
    meat: Array
    #: Number of independent residuals, ``trace(W C)``; of diagonal weights the number of all.
    independent: float


@dataclass(eq=False)
class Estimator:
    """Solves the estimating equations of a problem.

    Weights are evaluated at the smoothed fields of the sums: weights that follow the noise would bias the
    estimate. They are the inverse of the ``whole`` covariance, or of its diagonal; with unknown fields always
    of the whole. ``bounds`` (2, m) are the least and the greatest value of every coefficient, and ``known``
    the measurements of unknown fields.
    """

    sums: WeakSums
    priors: Mapping[str, FieldPrior]
    bounds: Array
    whole: bool = False
    known: Sequence[FieldMeasurements] = ()
    _last: tuple[EstimatingEquations, Array] = field(init=False)

    @cached_property
    def posterior(self) -> Posterior:
        """Priors and measurements of unknown fields, with what was estimated of the priors."""
        return Posterior(self.priors, tuple(self.known), self.sums.place, self.sums.tuning)

    @property
    def degrees(self) -> int:
        """Number of coefficients without a prior, at least 1."""
        return max(sum(b.size for b in self.sums.bases if b.name not in self.priors), 1)

    @property
    def instrumental(self) -> bool:
        """Whether the slopes are instrumental variables."""
        return bool(self.priors or self.sums.data.effects)

    @cached_property
    def _limits(self) -> Limits:
        return Limits.of(self.sums.bases, self.sums.place, self.bounds)

    def normal(self, space: TestSpace, coefficients: Array) -> EstimatingEquations:
        """The estimating equations at given coefficients (m,)."""
        if self.instrumental:
            return self._instrumental(space, coefficients)
        sums = self.sums
        rows, variances = sums.rows(space, coefficients), sums.variances(space, coefficients)
        g = rows.slopes
        if self.whole:
            _, weights, independent = self.whitening(space, coefficients)
            weighted = weights @ g
        else:
            weights, independent = reciprocal(variances), float(len(g))
            weighted = g * weights[:, None]
        vector, noise = sums.bias(space, coefficients, weights)
        score = weighted.T @ rows.residuals - vector
        slope = g.T @ weighted - noise
        if not variances.max() > 0:  # without noise the remaining residuals estimate their own variance
            part = weighted * rows.residuals[:, None]
            meat = part.T @ part
            noise = sums.rounded().bias(space, coefficients, weights)[1]
        elif sums.size <= sums.tuning.few_coefficients:
            meat = sums.score_covariance(space, coefficients, weighted)
        else:
            meat = weighted.T @ (sums.covariance(space, coefficients) @ weighted)
        return EstimatingEquations(
            space, rows, variances, weights, weighted, score, slope, noise, meat, independent
        )

    def whitening(self, space: TestSpace, coefficients: Array) -> tuple[Array, BlockInverse, float]:
        """Diagonal (rows,) of the residuals' covariance C, inverse W, with a ridge, and ``trace(W C)``."""
        covariance, ridge = self.sums.covariance(space, coefficients, smoothed=True), self.sums.tuning.ridge
        weights, diagonal = BlockInverse.of(covariance, ridge), covariance.diagonal
        lost = ridge * weights.near.diagonal @ (diagonal + diagonal.mean())
        return diagonal, weights, len(diagonal) - float(lost)

    def _instrumental(self, space: TestSpace, coefficients: Array) -> EstimatingEquations:
        """The estimating equations with instrumental variables as slopes, for unknown fields."""
        sums = self.sums
        rows = sums.rows(space, coefficients)
        r = rows.residuals
        # Laws of zero leave most of the noise out of the covariance, and other fields of zero may leave all.
        started = coefficients.any() or (not sums.laws and sums.variances(space, coefficients).max() > 0)
        if started and sums.noisy:
            variances, weights, independent = self.whitening(space, coefficients)
        else:  # without noise the remaining residuals estimate their own variance
            variances, independent = sums.variances(space, coefficients), float(len(r))
            weights = BlockInverse.whole(np.eye(len(r)) / max(float(np.mean(r**2)), 1e-300))
        g = instruments(sums, space, coefficients, r, weights @ r)
        weighted = weights @ g
        slope = g.T @ weighted
        none = np.zeros_like(slope)
        score = weighted.T @ r
        return EstimatingEquations(
            space, rows, variances, weights, weighted, score, slope, none, slope, independent
        )

    def fit(self, space: TestSpace, start: Array, rounds: int | None = None) -> Fit:
        """Iterate weights and coefficients from a start (m,).

        ``rounds`` is the number of iterations, by default ``tuning.rounds``; they end early where the
        coefficients no longer change. Where a slope depends on the unknowns there are ``tuning.most_rounds``.
        Several rounds with instrumental slopes, which are not those of the residuals and so approach the
        solution in steps, go on until it has settled.
        """
        tuning, coefficients, self.posterior.anew = self.sums.tuning, start, True
        result, least = None, rounds or tuning.rounds if self.sums.integrands.linear else tuning.most_rounds
        most = max(least, tuning.instrumental_rounds) if self.instrumental and least > 1 else least
        for number in range(1, most + 1):
            self._last = self.normal(space, coefficients), coefficients
            result = self._damped(self._step(*self._last))
            moved, coefficients = np.abs(result.moved), result.coefficients
            with np.errstate(all="ignore"):
                errors = np.sqrt(np.diag(result.covariance))
                exact = moved <= tuning.tolerance_sd * errors + tuning.tolerance * np.abs(coefficients)
                settled = moved <= tuning.settled_sd * errors
            if exact.all() or (number >= least and settled.all()):
                break
        assert result is not None
        return result

    def _damped(self, fit: Fit) -> Fit:
        """A fit whose change of coefficients is halved until the equations are nearly linear over it.

        What the slopes leave out of the change of the residuals would move the coefficients in turn, by no
        more than a share of the step: the natural monotonicity test (Deuflhard, Newton Methods for Nonlinear
        Problems, 2004, section 3.3).
        """
        (normal, at), tuning, found = self._last, self.sums.tuning, fit.coefficients
        scale = self._scale(np.diag(normal.slope + normal.noise))
        for _ in range(0 if self.sums.integrands.linear else tuning.halvings):
            step = found - at
            with suppress(DataError):  # a step to where a term is not finite
                there = self.sums.rows(normal.space, found).residuals
                bent = fit.moved_by(there - normal.rows.residuals - normal.rows.slopes @ step)
                if np.linalg.norm(scale * bent) <= tuning.bent * np.linalg.norm(scale * step):
                    break
            found = (at + found) / 2
        return replace(fit, coefficients=found, moved=fit.coefficients - at)

    def again(self, fit: Fit) -> Fit:
        """The last fit by the priors as they are now, without another round of weights."""
        return replace(self._step(*self._last), moved=fit.moved)

    def _step(self, normal: EstimatingEquations, at: Array) -> Fit:
        """The solution of the estimating equations linearised at the coefficients ``at``."""
        scale = self._scale(np.diag(normal.slope + normal.noise))
        if self.priors:
            right = normal.slope @ at - normal.score
            theta, inverse, evidence = self.posterior.solve(normal.slope, right, scale)
            covariance, fitted = inverse.copy(), float(np.sum(normal.slope * inverse))
        else:
            # The pseudo-inverse leaves directions without data where they are: zero could be divided by.
            relative = np.outer(scale, scale)
            inverse = np.linalg.pinv(normal.slope / relative, rcond=SINGULAR, hermitian=True) / relative
            theta, evidence, fitted = at - inverse @ normal.score, 0.0, float(len(at))
            covariance = inverse @ normal.meat @ inverse
        theta = self._bounded(theta, covariance)
        residuals = normal.rows.residuals + normal.rows.slopes @ (theta - at)
        counted = self._counted(normal.variances)
        free = self._free_directions(normal, counted)
        for direction in free:
            for name in direction.change:
                covariance[(self.sums.numbers[name],) * 2] = np.inf
        return Fit(
            normal.space,
            theta,
            covariance,
            *self._misfit(residuals, normal, counted, fitted, covariance),
            dict(self.posterior.choices),
            free,
            residuals,
            normal.variances,
            evidence,
            precisions=dict(self.posterior.precisions),
            inverse=inverse,
            weighted=normal.weighted,
        )

    def _scale(self, weights: Array) -> Array:
        """Scales of the coefficients; those of one unknown lie within six decades of each other."""
        scale = np.ones(len(weights))
        for place in self.sums.place.values():
            largest = float(np.max(weights[place]))
            if largest > SINGULAR * LOST:
                scale[place] = np.sqrt(np.maximum(weights[place], 1e-12 * largest))
        return scale

    def _counted(self, variances: Array) -> Mask:
        """Residuals that hold data: those without noise among others with it lie outside of a window."""
        return variances > self.sums.tuning.zero_variance * variances.max(initial=0.0)

    def _misfit(
        self, r: Array, normal: EstimatingEquations, counted: Mask, fitted: float, covariance: Array
    ) -> tuple[float, float, tuple[float, float]]:
        """Misfit, whiteness and freedom of a `Fit` whose equations determine ``fitted`` coefficients.

        ``covariance`` is that of the coefficients.
        """
        if not counted.any():
            return 1.0, 1.0, (1.0, 1.0)
        variances = normal.variances[counted]
        ratio = float(np.mean(r[counted] ** 2 / variances))
        rows = self._independent(normal, counted, white=False)
        explained = fitted / rows
        if self.priors and np.isfinite(covariance).all():  # the residuals left have the covariance C - G S G'
            g = normal.rows.slopes[counted]
            explained = float(np.mean(np.sum((g @ covariance) * g, axis=1) / variances))
        free = max(rows * (1 - explained), 1.0)
        misfit = float(np.sqrt(ratio * rows / free))
        if not isinstance(normal.weights, BlockInverse):
            return misfit, misfit, (free, free)
        white = max(normal.independent - fitted, 1.0)
        return misfit, float(np.sqrt(r @ (normal.weights @ r) / white)), (free, white)

    def _independent(self, normal: EstimatingEquations, counted: Mask, white: bool) -> float:
        """Number of independent residuals among those counted, of all equations."""
        parts = np.split(counted, self.sums.equations)
        return sum(normal.space.independent(part, white) for part in parts)

    def _bounded(self, theta: Array, covariance: Array) -> Array:
        """The nearest point within the bounds, in the metric of the precision."""
        if not np.isfinite(covariance).all():
            return np.clip(theta, *self.bounds)
        return self._limits.nearest(theta, covariance)

    def _free_directions(self, normal: EstimatingEquations, counted: Mask) -> list[Direction]:
        """Changes of numbers that the data do not show; residuals that are ``counted`` carry the noise."""
        numbers = self.sums.numbers
        here = np.ix_(*[[*numbers.values()]] * 2)
        counted = counted if counted.any() else ~counted
        independent = self._independent(normal, counted, isinstance(normal.weights, BlockInverse))
        return free_directions(
            [*numbers], normal.slope[here], normal.noise[here], lambda _: independent, SINGULAR**0.5
        )
