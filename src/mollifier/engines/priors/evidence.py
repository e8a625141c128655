"""The evidence of priors: the marginal likelihood of a problem that is linearised in its unknowns.

Minus twice the log-likelihood is taken as quadratic about the present unknowns, and every prior of a field is
quadratic too. The integral over the unknowns is then known in closed form (MacKay, Neural Computation 4:415,
1992). Every engine supplies a `LinearisedProblem`; how a prior's precision is formed in an
engine's coefficients is all that differs (`PriorOnCoefficients`): differences of neighbours on a lattice have
every order for cubic splines and nodal values, whose third and fourth derivatives quadrature could not form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from mollifier.engines.linalg.dense import factored, inverted_square, lower_factor
from mollifier.engines.priors.field_prior import EDGES, FieldPrior, field_prior, local_strength
from mollifier.engines.priors.matern import matern_weights
from mollifier.engines.priors.shapes import Choice, Shape, Shapes
from mollifier.engines.priors.tuning import PriorTuning
from mollifier.mollify.arrays import Array


@dataclass(frozen=True, eq=False)
class QuadraticForm:
    """A prior at a strength of one about where the coefficients are, as minus twice a log-density."""

    square: Array  #: Its precision, shape (p, p).
    gradient: Array  #: Half its slope, shape (p,).
    value: float  #: Its value.


class PriorOnCoefficients(ABC):
    """The prior of one unknown field, on a lattice of its values, in the coefficients of an engine."""

    columns: slice  #: Places of the field's coefficients among all unknowns.
    prior: FieldPrior  #: On the lattice.
    #: Precision of every coefficient beside the prior, so that the prior is proper at every strength.
    held: float = 0.0

    @property
    def shapes(self) -> Shapes:
        """From which its shape is chosen."""
        return self.prior.shapes

    @abstractmethod
    def of(self, prior: FieldPrior) -> PriorOnCoefficients:
        """Another prior on the same lattice, in the same coefficients."""

    @abstractmethod
    def on_lattice(self, shift: Array, covariance: Array) -> tuple[Array, Array]:
        """Values (p,) on the lattice and their covariance (p, p).

        Shift (u,) from the present unknowns and covariance (u, u) are those of all unknowns.
        """

    def expect(self, covariance: Array) -> None:
        """Take the covariance (u, u) of all unknowns, by which a prior for edges is expanded."""
        self.prior.expect(self.on_lattice(np.zeros(len(covariance)), covariance)[1])

    def varied(
        self, shape: Shape, shift: Array, covariance: Array, tuning: PriorTuning
    ) -> PriorOnCoefficients:
        """A prior in its place whose strength follows the field's roughness: `local_strength`.

        By a posterior of all unknowns, as in `on_lattice`.
        """
        prior, seen = copy(self.prior), self.on_lattice(shift, covariance)
        prior.localise(local_strength(prior.lattice, *seen, shape.length, tuning))
        return self.of(prior)

    def smooth(self, tuning: PriorTuning) -> PriorOnCoefficients:
        """A Matern prior in its place."""
        return self.of(FieldPrior(self.prior.lattice, "auto", tuning=tuning))

    def with_edges(self, shift: Array, covariance: Array, tuning: PriorTuning) -> PriorOnCoefficients:
        """A prior for edges in its place, about a posterior as in `varied`."""
        prior = field_prior(self.prior.lattice, EDGES, tuning=tuning)
        x, spread = self.on_lattice(shift, covariance)
        prior.expect(spread)
        prior.about(x)
        return self.of(prior)

    @property
    @abstractmethod
    def mean_square(self) -> float:
        """Trace of the quadratic form of the field's mean square about its mean, at a strength of one."""

    @abstractmethod
    def form(self, shape: Shape) -> QuadraticForm:
        """The prior of a shape at a strength of one, about the present coefficients."""

    @abstractmethod
    def log_determinant(self, shape: Shape, strength: float) -> float:
        """Of the precision, ``held`` included."""

    @abstractmethod
    def log_variance(self, shape: Shape, strength: float) -> tuple[float, float]:
        """Logarithm of the mean variance of the field in units of its size squared, and minus its slope.

        The slope is that along the logarithm of the strength.
        """

    def strongest(self, shape: Shape) -> float:
        """Greatest strength whose precision rounds by no more than ``held``."""
        return np.inf

    def log_hyperprior(self, shape: Shape, strength: float) -> float:
        """Logarithm of the hyperprior's density of the logarithm of a strength, up to a constant.

        The field's standard deviation, in units of its size, has a half-Cauchy distribution (Gelman, Bayesian
        Anal. 1:515, 2006): without one, strengths that allow no variation at all would count without end. The
        slope makes it a density along the strength: where the strength no longer matters for the field,
        because ``held`` bounds it, further strengths have no weight.
        """
        log, slope = self.log_variance(shape, strength)
        return log / 2 - float(np.logaddexp(0.0, log)) + float(np.log(max(slope, 1e-300)))


@dataclass(frozen=True, eq=False)
class LinearisedProblem:
    """Minus twice the log-likelihood about the present unknowns, and the priors of the unknown fields."""

    #: Of half of it, shapes (u, u) and (u,), without the priors.
    curvature: Array
    slope: Array
    priors: Mapping[str, PriorOnCoefficients]  #: By unknown field.
    #: Curvature (p, p) and slope (p,) by measurements of a field, included in the whole ones. They are
    #: conditions, not evidence, which is that of all data given them: they show the field where they are
    #: taken, on an edge say, and a prior that explained these values would be over-confident elsewhere.
    conditions: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)

    def with_priors(
        self, choices: Mapping[str, Choice], without: str = "", held: bool = True
    ) -> tuple[Array, Array]:
        """Curvature and slope with the priors of all fields but one, and with ``held`` by default."""
        curvature, slope = self.curvature.copy(), self.slope.copy()
        for name, prior in self.priors.items():
            here = prior.columns
            if held and prior.held:
                curvature[(np.arange(here.start, here.stop),) * 2] += prior.held
            if name != without:
                form, strength = prior.form(choices[name].shape), choices[name].strength
                curvature[here, here] += strength * form.square
                slope[here] += strength * form.gradient
        return curvature, slope

    def posterior(self, parts: Sequence[tuple[float, Mapping[str, Choice]]]) -> tuple[Array, Array]:
        """Mean (u,) and covariance (u, u) of the unknowns' change, averaged over priors with weights."""
        means, covariance = [], np.zeros_like(self.curvature)
        for share, choices in parts:
            precision, slope = self.with_priors(choices)
            unit = np.sqrt(np.diag(precision))
            factor = factored(precision / np.outer(unit, unit))
            means.append(-cho_solve((factor, True), slope / unit) / unit)
            covariance += share * inverted_square(factor) / np.outer(unit, unit)
        shares = np.array([share for share, _ in parts])
        mean = shares @ np.array(means)
        apart = (np.array(means) - mean) * np.sqrt(shares)[:, None]
        return mean, covariance + apart.T @ apart

    def without_others(self, choices: Mapping[str, Choice], name: str) -> tuple[Array, Array, float]:
        """Curvature (p, p) and slope (p,) of one field without its prior, all other unknowns eliminated.

        And the logarithm of the integral over these, -inf where their curvature is not positive.
        """
        curvature, slope = self.with_priors(choices, without=name)
        other = np.ones(len(slope), dtype=bool)
        other[self.priors[name].columns] = False
        if not other.any():
            return curvature, slope, 0.0
        own = np.ix_(~other, ~other)
        factor = lower_factor(curvature[np.ix_(other, other)])
        if factor is None:
            return curvature[own], slope[~other], -np.inf
        between, descent = (
            solve_triangular(factor, part[other], lower=True, check_finite=False)
            for part in (curvature[:, ~other], slope)
        )
        integral = float(descent @ descent) / 2 - float(np.log(np.diag(factor)).sum())
        return curvature[own] - between.T @ between, slope[~other] - between.T @ descent, integral

    def balance(self, name: str, shape: Shape) -> float:
        """Logarithm of the strength at which data and a prior's lowest term are alike, by their traces."""
        here = self.priors[name].columns
        least = 1e-10 * float(np.trace(self.curvature))
        data = max(float(np.trace(self.curvature[here, here])), least, 1e-300)
        lowest = matern_weights(shape.order, shape.length)[0] if np.isfinite(shape.length) else 1.0
        return float(np.log(data / max(lowest * self.priors[name].mean_square, 1e-300)))

    def profile(self, name: str, choices: Mapping[str, Choice]) -> EvidenceProfile:
        """The evidence of one field's prior along its strength, the others as they are."""
        return EvidenceProfile(self, name, choices)

    def log_integral(self, factor: Array, slope: Array) -> float:
        """As `log_integral`, over one field with its prior, by the Cholesky factor of its curvature."""
        return _log_integral(factor, slope)

    def log_evidence(self, choices: Mapping[str, Choice]) -> float:
        """Of all priors, hyperpriors included, up to a constant."""
        name = next(iter(self.priors), "")
        if not name:
            return log_integral(self.curvature, self.slope)
        others = sum(self.log_prior(n, choices[n]) for n in self.priors if n != name)
        return self.profile(name, choices)(float(np.log(choices[name].strength))) + others

    def log_prior(self, name: str, choice: Choice) -> float:
        """What one field's prior adds to the evidence beside its part in curvature and slope."""
        prior, (shape, strength) = self.priors[name], (choice.shape, choice.strength)
        form = prior.form(shape)
        own = prior.log_determinant(shape, strength) / 2 - strength * form.value / 2
        if name in self.conditions:
            curvature, slope = self.conditions[name]
            held = curvature + prior.held * np.eye(len(slope)) + strength * form.square
            known = log_integral(held, slope + strength * form.gradient)
            # Where rounding leaves it unknown the prior does not count.
            own = -np.inf if np.isinf(known) else -known
        return own + prior.log_hyperprior(shape, strength)


class EvidenceProfile:
    """Log-evidence of one field's prior of a shape along the logarithm of its strength, up to a constant.

    The constant is the same for all shapes. The other fields have the priors of ``choices``; of the field
    itself its shape counts.
    """

    def __init__(self, problem: LinearisedProblem, name: str, choices: Mapping[str, Choice]) -> None:
        self.problem, self.name, self.shape = problem, name, choices[name].shape
        self._base = problem.without_others(choices, name)
        self._form = problem.priors[name].form(self.shape)
        # The sum of curvatures, then its factor: most of the time of a new array is its memory's.
        self._sum = np.empty_like(self._form.square)

    def __call__(self, log_strength: float) -> float:
        strength = float(np.exp(log_strength))
        curvature, slope, others = self._base
        np.multiply(self._form.square, strength, out=self._sum)
        self._sum += curvature
        factor = lower_factor(self._sum, overwrite=True)
        if factor is None or np.isinf(others):
            return -np.inf
        found = self.problem.log_integral(factor, slope + strength * self._form.gradient)
        return others + found + self.problem.log_prior(self.name, Choice(self.shape, strength))


def log_integral(curvature: Array, slope: Array) -> float:
    """Logarithm of the integral of ``exp(-x'Hx/2 - s'x)``, up to a constant; -inf where H is not positive.

    >>> bool(np.isclose(log_integral(np.diag([4.0, 9.0]), np.array([2.0, 0.0])), 0.5 - np.log(6)))
    True
    """
    factor = lower_factor(curvature)
    return -np.inf if factor is None else _log_integral(factor, slope)


def _log_integral(factor: Array, slope: Array) -> float:
    """`log_integral` by the Cholesky factor of H."""
    descent = solve_triangular(factor, slope, lower=True, check_finite=False)
    return float(descent @ descent) / 2 - float(np.log(np.diag(factor)).sum())
