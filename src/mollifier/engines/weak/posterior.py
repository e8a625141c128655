"""What is known of the unknowns once the priors of fields are added to what the equations tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from mollifier.engines.linalg.dense import JITTER, factored
from mollifier.engines.priors.spline_prior import Hyper, Prior, maximise, mixture
from mollifier.engines.weak.conditioning import FieldMeasurements

Array = NDArray[np.float64]

# Most linearisations of priors that are not quadratic, and a change in standard errors that ends them.
_LAGS, _STILL = 10, 0.02


@dataclass(eq=False)
class Posterior:
    """Posteriors of coefficients under priors whose strengths, lengths and orders are learnt.

    Attributes
    ----------
    priors
        Of unknown fields; those that are not quadratic are linearised about the last field found.
    known
        Readings of unknown fields.
    place
        Unknown -> its coefficients.
    learn
        Whether the priors are learnt anew, or stay as they are, so that errors can be compared.
    averaged
        Whether all strengths and lengths that count are averaged over, not the likeliest taken.
    hyper
        What was learnt of each prior.
    precisions
        Of the priors, at the likeliest strengths.
    units
        What strengths are multiples of: what the data told of each field when they were learnt.
    squares
        Mean squares of the fields last found.
    """

    priors: tuple[Prior, ...]
    known: tuple[FieldMeasurements, ...]
    place: Mapping[str, slice]
    learn: bool = True
    averaged: bool = False
    hyper: dict[str, Hyper] = field(default_factory=dict)
    precisions: dict[str, Array] = field(default_factory=dict)
    units: list[float] = field(default_factory=list)
    squares: dict[str, float] = field(default_factory=dict)

    def settled(self, information: Array, right: Array, scale: Array) -> tuple[Array, Array, float]:
        """Mean and covariance of the scaled coefficients, and the logarithm of the evidence.

        Priors that are not quadratic are linearised about the result until it is still.

        Parameters
        ----------
        information, right
            What the equations tell of the scaled coefficients: precision, shape (m, m), and it times these.
        scale
            Of the coefficients, shape (m,).
        """
        if not np.trace(information) > 0 and not self.known:
            return np.zeros(len(scale)), np.diag(np.full(len(scale), np.inf)), -np.inf
        found = self._found(information, right, scale)
        for _ in range(_LAGS if self.learn else 0):
            before, coefficients = found[0], found[0] / scale
            priors = tuple(p.about(coefficients[self.place[p.name]]) for p in self.priors)
            if all(new is old for new, old in zip(priors, self.priors, strict=True)):
                break
            self.priors = priors
            found = self._found(information, right, scale)
            if np.max(np.abs(found[0] - before) / np.sqrt(np.diag(found[1]))) < _STILL:
                break
        return found

    def _found(self, information: Array, right: Array, scale: Array) -> tuple[Array, Array, float]:
        """As `settled`, with the priors as they are linearised."""
        linear = self._linear(information, right, scale)
        hypers = [self.hyper[p.name] for p in self.priors] if self.hyper else None
        if self.learn or hypers is None:
            hypers, _ = maximise(linear.worth, list(self.priors))
            self.hyper = {p.name: h for p, h in zip(self.priors, hypers, strict=True)}
        self.precisions = {
            p.name: linear.prior(h, i) for i, (p, h) in enumerate(zip(self.priors, hypers, strict=True))
        }
        parts = mixture(linear.worth, list(self.priors), hypers) if self.averaged else [(1.0, hypers)]
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
        return theta, covariance, linear.worth(hypers)

    def _linear(self, information: Array, right: Array, scale: Array) -> _Linear:
        """The problem that is left for given priors: what equations and readings tell together."""
        told = np.trace(information) > 0
        read, extra = self._read(scale, self.known)
        sure = [c for k in self.known if (c := k.conditions) is not None] if told else []
        whole, right = information + read, right + extra
        ridge = JITTER * np.trace(information if told else read) / len(scale) * np.eye(len(scale))
        places = [self.place[p.name] for p in self.priors]
        if self.learn or not self.units:
            source = information if told else read
            self.units = [
                max(np.trace(source[w, w]), JITTER * np.trace(source))
                / np.trace(p.precision(0, 0.0) / np.outer(scale[w], scale[w]))
                for p, w in zip(self.priors, places, strict=True)
            ]
        ones = [scale[w] for w in places]  # the splines add up to one
        levels = [float((o @ right[w]) / (o @ whole[w, w] @ o)) for o, w in zip(ones, places, strict=True)]
        sizes = [self.squares.get(p.name, level**2) for p, level in zip(self.priors, levels, strict=True)]
        conditions = self._read(scale, sure) if sure else None
        return _Linear(
            self.priors, places, self.units, sizes, scale, (whole + ridge, right), conditions, ridge
        )

    def _read(self, scale: Array, known: Sequence[FieldMeasurements]) -> tuple[Array, Array]:
        """What readings tell of the scaled coefficients: precision (m, m), and it times these, (m,)."""
        information, right = np.zeros((len(scale), len(scale))), np.zeros(len(scale))
        for k in known:
            here = self.place[k.name]
            information[here, here] += k.information / np.outer(scale[here], scale[here])
            right[here] += k.right / scale[here]
        return information, right


@dataclass(frozen=True, eq=False)
class _Linear:
    """Precision and right side of all that is told, shapes (m, m) and (m,); priors to be added to them."""

    priors: tuple[Prior, ...]
    places: Sequence[slice]
    units: Sequence[float]
    sizes: Sequence[float]
    scale: Array
    told: tuple[Array, Array]
    conditions: tuple[Array, Array] | None
    ridge: Array

    def prior(self, hyper: Hyper, i: int) -> Array:
        """Precision of the coefficients of the i-th field."""
        return 10.0**hyper.strength * self.units[i] * self.priors[i].precision(hyper.order, hyper.length)

    def solved(
        self, hypers: list[Hyper], told: tuple[Array, Array] | None = None
    ) -> tuple[Array, Array, float]:
        """Factor of the whole precision, the right side divided by it, and the logarithm of the evidence."""
        precision, right = told or self.told
        precision, evidence = precision.copy(), 0.0
        for i, (h, w) in enumerate(zip(hypers, self.places, strict=True)):
            scaled = self.prior(h, i) / np.outer(self.scale[w], self.scale[w])
            evidence += np.log(np.diag(factored(scaled))).sum()
            precision[w, w] += scaled
        factor = factored(precision)
        half = sl.solve_triangular(factor, right, lower=True)
        return factor, half, float(evidence + half @ half / 2 - np.log(np.diag(factor)).sum())

    def worth(self, hypers: list[Hyper]) -> float:
        """Logarithm of the evidence, and of what strengths are worth beforehand.

        Exact readings are conditions: see `mollifier.engines.joint.known`.
        """
        own = 0.0
        if self.conditions is not None:
            own = self.solved(hypers, (self.conditions[0] + self.ridge, self.conditions[1]))[2]
        return self.solved(hypers)[2] - own + self._beforehand(hypers)

    def _beforehand(self, hypers: list[Hyper]) -> float:
        """The standard deviation of a field, in units of its size, has a half-Cauchy distribution.

        Gelman, Bayesian Anal. 1:515, 2006: without one, strengths that allow no variation at all would count
        without end. The joint engine has the same.
        """
        total = 0.0
        for h, p, unit, size in zip(hypers, self.priors, self.units, self.sizes, strict=True):
            variance = p.spread(h.order, h.length) / (10.0**h.strength * unit)
            total += np.log(variance * size) / 2 - np.log(variance + size) if size > 0 else 0.0
        return total
