"""The posterior of the coefficients, from the equations, the measurements of fields and the priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from mollifier.engines.linalg.dense import JITTER, factored
from mollifier.engines.priors.evidence import LinearisedProblem
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice
from mollifier.engines.priors.spline_prior import SplineCoefficients, SplinePrior
from mollifier.engines.weak.conditioning import FieldMeasurements
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning

Array = NDArray[np.float64]


@dataclass(eq=False)
class Posterior:
    """Posteriors of coefficients under priors chosen by the evidence.

    Attributes
    ----------
    priors
        Of unknown fields; those that are not quadratic are linearised about the last field found.
    known
        Measurements of unknown fields.
    place
        Unknown -> its coefficients.
    tuning
        Numbers that steer the engine.
    learn
        Whether the priors are chosen anew, or stay as they are, so that errors can be compared.
    averaged
        Whether all priors that count are averaged over; else the one of the greatest evidence is taken.
    choices
        The priors chosen.
    precisions
        Of these priors, in the coefficients.
    squares
        Mean squares of the fields last found.
    """

    priors: tuple[SplinePrior, ...]
    known: Sequence[FieldMeasurements]
    place: Mapping[str, slice]
    tuning: WeakTuning = DEFAULT
    learn: bool = True
    averaged: bool = False
    choices: dict[str, Choice] = field(default_factory=dict)
    precisions: dict[str, Array] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    def solve(self, information: Array, right: Array, scale: Array) -> tuple[Array, Array, float]:
        """Mean and covariance of the scaled coefficients, and the logarithm of the evidence.

        Priors that are not quadratic are linearised about the result until it no longer changes.

        Parameters
        ----------
        information, right
            Precision of the scaled coefficients by the equations, shape (m, m), and it times these, (m,).
        scale
            Of the coefficients, shape (m,).
        """
        if not np.trace(information) > 0 and not self.known:
            return np.zeros(len(scale)), np.diag(np.full(len(scale), np.inf)), -np.inf
        found = self._solve_linearised(information, right, scale)
        for _ in range(self.tuning.prior_rounds if self.learn else 0):
            before, coefficients = found[0], found[0] / scale
            priors = tuple(p.about(coefficients[self.place[p.name]]) for p in self.priors)
            if all(new is old for new, old in zip(priors, self.priors, strict=True)):
                break
            self.priors = priors
            found = self._solve_linearised(information, right, scale)
            change = np.abs(found[0] - before) / np.sqrt(np.diag(found[1]))
            if np.max(change) < self.tuning.prior_change:
                break
        return found

    def _solve_linearised(self, information: Array, right: Array, scale: Array) -> tuple[Array, Array, float]:
        """As `solve`, with the priors as they are linearised."""
        problem = self._linear(information, right, scale)
        search = PriorSearch(problem, list(problem.priors), self.tuning.priors)
        if self.learn or not self.choices:
            self.choices = search.anew()
        for p in self.priors:
            chosen = self.choices[p.name]
            self.precisions[p.name] = chosen.strength * p.precision(chosen.shape)
        parts = search.mixture(self.choices) if self.averaged else [(1.0, self.choices)]
        means, covariance = [], np.zeros_like(information)
        for weight, choices in parts:
            curvature, slope = problem.with_priors(choices)
            factor = factored(curvature)
            inverse = sl.solve_triangular(factor, np.eye(len(scale)), lower=True)
            means.append(-inverse.T @ (inverse @ slope))
            covariance += weight * (inverse.T @ inverse)
        weights = np.array([weight for weight, _ in parts])
        theta = weights @ np.array(means)
        apart = (np.array(means) - theta) * np.sqrt(weights)[:, None]
        covariance += apart.T @ apart
        if self.learn:
            for p in self.priors:
                here = theta[self.place[p.name]] / scale[self.place[p.name]]
                self.squares[p.name] = float(here @ p.basis.mass @ here)
        return theta, covariance, problem.log_evidence(self.choices)

    def _linear(self, information: Array, right: Array, scale: Array) -> LinearisedProblem:
        """The problem for given priors, about coefficients of zero: equations and measurements together."""
        informed = np.trace(information) > 0
        measured, extra = self._measured(scale, self.known)
        whole, right = information + measured, right + extra
        ridge = JITTER * np.trace(information if informed else measured) / len(scale)
        whole[np.diag_indices_from(whole)] += ridge
        priors, conditions = {}, {}
        for p in self.priors:
            here = self.place[p.name]
            one = scale[here]  # the splines add up to one
            level = float((one @ right[here]) / (one @ whole[here, here] @ one))
            size = self.squares.get(p.name, level**2)
            priors[p.name] = SplineCoefficients(here, p, one, size)
        for k in self.known if informed else ():
            if (exact := k.exact) is not None:
                here = self.place[k.name]
                own, pull = self._measured(scale, [exact])
                conditions[k.name] = own[here, here] + ridge * np.eye(here.stop - here.start), -pull[here]
        return LinearisedProblem(whole, -right, priors, conditions)

    def _measured(self, scale: Array, known: Sequence[FieldMeasurements]) -> tuple[Array, Array]:
        """Precision of the scaled coefficients by measurements, shape (m, m), and it times these, (m,)."""
        information, right = np.zeros((len(scale), len(scale))), np.zeros(len(scale))
        for k in known:
            here = self.place[k.name]
            information[here, here] += k.information / np.outer(scale[here], scale[here])
            right[here] += k.right / scale[here]
        return information, right
