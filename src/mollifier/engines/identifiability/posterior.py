"""Rough values and precision of the unknowns, from the equation's information, priors and measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from mollifier.engines.identifiability.slopes import Linearised, SampledBasis, Sums, correlation, splines
from mollifier.engines.identifiability.structure import Terms
from mollifier.engines.linalg.dense import SINGULAR, inverted
from mollifier.mollify.arrays import Array
from mollifier.mollify.orders import Derivative

#: Prior standard deviation of a number, in units of the size at which its term balances the others.
WIDE = 30.0

_ROUNDS = 3
_INFORMATION_SDS = 3.0  # Of a mean of squares, by which information has to exceed the noise's.


class SampledPosterior:
    """Normal distribution of the parameters of all unknowns, at the precision that the samples allow.

    ``terms`` are those of the equations at some of the samples, ``basis`` is what the p parameters multiply,
    and ``scale`` the prior standard deviation of each field; that of a number is wider by `WIDE`.
    """

    def __init__(self, terms: Terms, basis: SampledBasis, scale: Mapping[str, float]) -> None:
        self.terms, self.basis, self.scale = terms, basis, scale
        wide = {n: WIDE if n in terms.problem.scalars else 1.0 for n in basis.parts}
        self.prior_sd = np.concatenate(
            [np.full(p.stop - p.start, scale[n] * wide[n]) for n, p in basis.parts.items()]
        )

    @cached_property
    def prior(self) -> Array:
        """Precision of the prior, (p, p): independent numbers, smooth fields."""
        whole = np.diag(self.prior_sd**-2.0)
        for name, part in self.basis.parts.items():
            if part.stop - part.start > 1:
                precision = np.linalg.inv(correlation(self.terms.problem, name))
                whole[part, part] = precision / self.scale[name] ** 2
        return whole

    @cached_property
    def measurements(self) -> tuple[Array, Array]:
        """What measurements of unknown fields add to the precision, (p, p), and to the score, (p,)."""
        basis, problem = self.basis, self.terms.problem
        whole, score = np.zeros((basis.size, basis.size)), np.zeros(basis.size)
        for name, samples in problem.measurements.items():
            part = basis.parts[name]
            if part.stop - part.start > 1:
                b = splines(problem, name, samples.places, Derivative(name))
                whole[part, part] += (b.T * samples.sd**-2.0) @ b
                score[part] += b.T @ (samples.values * samples.sd**-2.0)
        return whole, score

    def precision(self, sums: Sums) -> Array:
        """Of the posterior, (p, p): information, less what chance may leave of the noise's, and priors."""
        sd = self.prior_sd
        chance = min(_INFORMATION_SDS * np.sqrt(2 / max(self.terms.independent, 1.0)), 1.0)
        scaled = (sums.information - chance * sums.noise) * sd[:, None] * sd
        values, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
        information = (vectors * np.maximum(values, 0.0)) @ vectors.T / (sd[:, None] * sd)
        return information + self.prior + self.measurements[0]

    def solve(self, equations: Sequence[Linearised], theta: Array) -> tuple[Array, Sums]:
        """Rough values, (p,), by Gauss-Newton steps with corrected scores from ``theta``, and their sums."""
        problem = self.terms.problem
        linear = set(problem.system.linear_in) == set(problem.unknowns)
        known = np.zeros(self.basis.size, dtype=bool)
        for name, part in self.basis.parts.items():
            known[part] = not linear or name in problem.measurements
        centre = self.prior @ np.where(known, theta, 0.0)
        sums = self._summed(equations, theta)
        for _ in range(_ROUNDS):
            after = inverse(self.precision(sums)) @ (sums.score + centre + self.measurements[1])
            far = not linear and np.abs(after - theta).max() > 10 * np.abs(theta).max()
            if far or not np.isfinite(after).all():
                break
            theta = after
            sums = self._summed(equations, theta)
        return theta, sums

    def _summed(self, equations: Sequence[Linearised], theta: Array) -> Sums:
        weight = self.terms.independent / self.terms.count
        parts = [e.sums(self.basis, theta, weight) for e in equations if e.symbols]
        return Sums(
            np.sum([p.information for p in parts], axis=0),
            np.sum([p.noise for p in parts], axis=0),
            np.sum([p.score for p in parts], axis=0),
            np.concatenate([p.noise_of_rows for p in parts]),
        )


def inverse(matrix: Array) -> Array:
    """Of a positive definite matrix (n, n) whose rows may be of very different units.

    Its diagonal is positive: eigenvalues that rounding made less than its own size are raised to that.

    >>> bool((np.diag(inverse(np.array([[1.0, 1 + 1e-15], [1 + 1e-15, 1.0]]))) > 0).all())
    True
    """
    size = 1 / np.sqrt(np.diag(matrix))
    scaled = matrix * size[:, None] * size
    try:
        found = inverted(scaled)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
        found = (vectors / np.maximum(values, SINGULAR)) @ vectors.T
    return found * size[:, None] * size
