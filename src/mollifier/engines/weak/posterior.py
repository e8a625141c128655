"""Posterior of the coefficients: the information of the equations, with priors and measurements of fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from mollifier.engines.linalg.dense import JITTER, factored
from mollifier.engines.priors.spline_prior import Hyper, Prior, maximise, mixture
from mollifier.engines.weak.conditioning import FieldMeasurements
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning

Array = NDArray[np.float64]

# Precisions of priors for tau = 1 that are held, so that strengths are compared at no more than one factor.
_HELD = 16


@dataclass(eq=False)
class Posterior:
    """Posteriors of the coefficients under priors whose strengths, lengths and orders are estimated.

    Attributes
    ----------
    priors
        Of unknown fields. Those that are not quadratic are linearised about the last field found.
    known
        Measurements of unknown fields.
    place
        Unknown -> the slice of its coefficients.
    tuning
        Numbers that steer the engine.
    learn
        Whether the priors are estimated anew, or kept so that standard errors can be compared.
    averaged
        Whether the posterior is averaged over plausible strengths and lengths, or taken at the maximum of the
        evidence.
    hyper
        Estimated strength, length and order of each prior.
    precisions
        Of the priors at these strengths.
    units
        Units of the strengths: the information of each field relative to its prior's precision.
    squares
        Mean squares of the fields last found.
    """

    priors: tuple[Prior, ...]
    known: Sequence[FieldMeasurements]
    place: Mapping[str, slice]
    tuning: WeakTuning = DEFAULT
    learn: bool = True
    averaged: bool = False
    hyper: dict[str, Hyper] = field(default_factory=dict)
    precisions: dict[str, Array] = field(default_factory=dict)
    units: list[float] = field(default_factory=list)
    squares: dict[str, float] = field(default_factory=dict)

    def solve(self, information: Array, right: Array, scale: Array) -> tuple[Array, Array, float]:
        """Mean (m,) and covariance (m, m) of the scaled coefficients, and the logarithm of the evidence.

        Priors that are not quadratic are linearised about the result until it no longer changes.

        Parameters
        ----------
        information, right
            Of the equations for the scaled coefficients: precision, shape (m, m), and its product with the
            estimate.
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
        """As `solve`, with the priors as they are."""
        linear = self._linear(information, right, scale)
        hypers = [self.hyper[p.name] for p in self.priors] if self.hyper else None
        if self.learn or hypers is None:
            hypers, _ = maximise(linear.log_evidence, list(self.priors))
            self.hyper = {p.name: h for p, h in zip(self.priors, hypers, strict=True)}
        self.precisions = {
            p.name: linear.prior(h, i) for i, (p, h) in enumerate(zip(self.priors, hypers, strict=True))
        }
        parts = mixture(linear.log_evidence, list(self.priors), hypers) if self.averaged else [(1.0, hypers)]
        means, covariance = [], np.zeros_like(information)
        for share, these in parts:
            factor, half, _ = linear.solved(these)
            inverse = sl.solve_triangular(factor, np.eye(len(scale)), lower=True)
            means.append(sl.solve_triangular(factor.T, half))
            covariance += share * (inverse.T @ inverse)
        shares = np.array([share for share, _ in parts])
        theta = shares @ np.array(means)
        apart = (np.array(means) - theta) * np.sqrt(shares)[:, None]
        covariance += apart.T @ apart
        if self.learn:
            for p in self.priors:
                here = theta[self.place[p.name]] / scale[self.place[p.name]]
                self.squares[p.name] = float(here @ p.basis.mass @ here)
        return theta, covariance, linear.log_evidence(hypers)

    def _linear(self, information: Array, right: Array, scale: Array) -> _Linear:
        """The information of equations and measurements together, to which priors are added."""
        informative = np.trace(information) > 0
        measured, extra = self._measured(scale, self.known)
        exact = [e for k in self.known if (e := k.exact) is not None] if informative else []
        whole, right = information + measured, right + extra
        source = information if informative else measured
        ridge = JITTER * np.trace(source) / len(scale) * np.eye(len(scale))
        places = [self.place[p.name] for p in self.priors]
        if self.learn or not self.units:
            self.units = [
                max(np.trace(source[w, w]), JITTER * np.trace(source))
                / np.trace(p.precision(0, 0.0) / np.outer(scale[w], scale[w]))
                for p, w in zip(self.priors, places, strict=True)
            ]
        ones = [scale[w] for w in places]  # the splines add up to one
        levels = [float((o @ right[w]) / (o @ whole[w, w] @ o)) for o, w in zip(ones, places, strict=True)]
        sizes = [self.squares.get(p.name, level**2) for p, level in zip(self.priors, levels, strict=True)]
        conditions = None
        if exact:
            precision, exact_right = self._measured(scale, exact)
            conditions = precision + ridge, exact_right
        return _Linear(self.priors, places, self.units, sizes, scale, (whole + ridge, right), conditions)

    def _measured(self, scale: Array, known: Sequence[FieldMeasurements]) -> tuple[Array, Array]:
        """Information (m, m) of measurements for the scaled coefficients, and its product with them, (m,)."""
        information, right = np.zeros((len(scale), len(scale))), np.zeros(len(scale))
        for k in known:
            here = self.place[k.name]
            information[here, here] += k.information / np.outer(scale[here], scale[here])
            right[here] += k.right / scale[here]
        return information, right


@dataclass(frozen=True, eq=False)
class _Linear:
    """Linear equations for the scaled coefficients, to which the precisions of priors are added.

    ``data`` and ``conditions`` are pairs of a precision (m, m) and a right side (m,): of all data, and of the
    exact measurements alone, None if there are none. ``sizes`` are mean squares of the fields.
    """

    priors: tuple[Prior, ...]
    places: Sequence[slice]
    units: Sequence[float]
    sizes: Sequence[float]
    scale: Array
    data: tuple[Array, Array]
    conditions: tuple[Array, Array] | None

    def prior(self, hyper: Hyper, i: int) -> Array:
        """Precision of the coefficients of the i-th field."""
        return 10.0**hyper.strength * self.units[i] * self.priors[i].precision(hyper.order, hyper.length)

    @cached_property
    def _unit_prior(self) -> Callable[[int, int, float], tuple[Array, float]]:
        """Precision of the i-th field's scaled coefficients for tau = 1, and half its log determinant."""

        @lru_cache(maxsize=_HELD)
        def found(i: int, order: int, length: float) -> tuple[Array, float]:
            scale = self.scale[self.places[i]]
            unit = self.priors[i].precision(order, length) / np.outer(scale, scale)
            return unit, float(np.log(np.diag(factored(unit))).sum())

        return found

    def solved(
        self, hypers: list[Hyper], equations: tuple[Array, Array] | None = None
    ) -> tuple[Array, Array, float]:
        """Factor L of the posterior precision, ``L^-1 right``, and the logarithm of the evidence.

        ``equations`` are those of the data by default.
        """
        precision, right = equations or self.data
        precision, evidence = precision.copy(), 0.0
        for i, (h, w) in enumerate(zip(hypers, self.places, strict=True)):
            times, (unit, half) = 10.0**h.strength * self.units[i], self._unit_prior(i, h.order, h.length)
            evidence += half + len(unit) * np.log(times) / 2
            precision[w, w] += times * unit
        factor = factored(precision)
        half = sl.solve_triangular(factor, right, lower=True)
        return factor, half, float(evidence + half @ half / 2 - np.log(np.diag(factor)).sum())

    def log_evidence(self, hypers: list[Hyper]) -> float:
        """Logarithm of the evidence given the exact measurements, and of the hyperprior.

        Exact measurements, as on an edge, determine the finest modes there. A prior that had to explain them
        too would become narrow for the coarse modes elsewhere, of which they hold no information.
        """
        given = 0.0 if self.conditions is None else self.solved(hypers, self.conditions)[2]
        return self.solved(hypers)[2] - given - self._negative_log_hyperprior(hypers)

    def _negative_log_hyperprior(self, hypers: list[Hyper]) -> float:
        """The standard deviation of a field, in units of its size, has a half-Cauchy distribution.

        Source: Gelman, Bayesian Anal. 1:515, 2006. With a flat hyperprior the evidence would not fall off
        towards strengths that allow no variation at all. The joint engine has the same hyperprior.
        """
        total = 0.0
        for h, p, unit, size in zip(hypers, self.priors, self.units, self.sizes, strict=True):
            variance = p.spread(h.order, h.length) / (10.0**h.strength * unit)
            total -= np.log(variance * size) / 2 - np.log(variance + size) if size > 0 else 0.0
        return total
