"""Priors of unknown fields: how much they vary, and over which lengths, learnt from the data.

For maps of rates in nuclei, whose evidence has an unknown scale of the noise; engines have `field_prior`.
They are those of `matern`; the constant is free. `Seminorm` has one term alone, `tau |D^s
f|^2`; `TotalVariation` weighs that of s = 1 with the inverse of the last iterate's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, reduce

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import minimize

from mollifier.engines.linalg.dense import factored
from mollifier.engines.priors.matern import SEMINORMS, matern_weights
from mollifier.engines.splines.basis import AxisSplines, Basis

Array = NDArray[np.float64]

ORDERS = (1, 2, 4, 8)
# Precision of the constant beside that of the variation about it.
_FREE = 1e-8
# Where the search starts: decades of tau about the data's information, and decades of the length in
# half-lengths.
_STRENGTHS, _LENGTHS = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0), (-1.0, -0.3)
_SHORTEST, _LONGEST = -2.0, 0.7
_WEAKEST, _STRONGEST = -14.0, 8.0
_PRECISE = 0.1
# Of a seminorm the null space is held with such a share of tau, which is no less than this share of its
# stiffest mode (or the null space would drown in rounding); tau ends where that could be felt.
_FREE_SEMINORM, _STIFFEST, _STRONGEST_SEMINORM = 1e-6, 1e-12, 2.0
# Orders, of those tried, for which the search goes on.
_CLIMBED = 2
# Gradients below this share of their rms count as flat, in the total variation.
_FLAT = 0.1
# Mean squared gradient, beside the square of the field's size, that is rounding.
_ROUNDING = 1e-20


@dataclass(frozen=True)
class Hyper:
    """Strength and length of a prior, as powers of ten, and its order."""

    order: int
    strength: float
    length: float


@dataclass(frozen=True, eq=False)
class Prior:
    """The prior of one unknown field.

    Attributes
    ----------
    name
        The unknown.
    basis
        What its coefficients multiply.
    orders
        Orders s that are tried.
    """

    name: str
    basis: Basis
    orders: tuple[int, ...] = ORDERS

    @property
    def stretches(self) -> bool:
        """Whether the length is to be found; it has no meaning for a prior of one term."""
        return True

    @property
    def strongest(self) -> float:
        """The greatest strength, as a power of ten."""
        return _STRONGEST

    def hyper(self, order: int, strength: float, length: float) -> Hyper:
        """As asked for; what this prior leaves no choice of is as it has it."""
        order = order if order in self.orders else self.orders[0]
        return Hyper(order, strength, length if self.stretches else _LONGEST)

    def about(self, coefficients: Array) -> Prior:
        """The prior linearised about a field; most are the same about every one."""
        return self

    @cached_property
    def _seminorms(self) -> list[Array]:
        """Quadratic forms of the mean squared k-th derivatives, k = 0 about the mean."""
        mass = self.basis.penalty(0)
        ones = np.ones(len(mass))  # the splines add up to one
        mean = mass @ ones
        return [mass - (1 - _FREE) * np.outer(mean, mean) / (ones @ mean)] + [
            self.basis.penalty(k) for k in range(1, max(self.orders) + 1)
        ]

    @cached_property
    def _spreads(self) -> dict[tuple[int, float], float]:
        return {}

    def spread(self, order: int, length: float) -> float:
        """Mean variance of the field for tau = 1, its constant held; of the nearest tenth of a length."""
        key = order, round(length, 1)
        if key not in self._spreads:
            held = factored(self.precision(*key, free=False))
            self._spreads[key] = float(
                np.sum(sl.solve_triangular(held, factored(self.basis.mass), lower=True) ** 2)
            )
        return self._spreads[key]

    def precision(self, order: int, length: float, free: bool = True) -> Array:
        """The precision for tau = 1, shape (size, size); the constant is held too if it is not free."""
        forms = self._seminorms if free else [self.basis.penalty(0), *self._seminorms[1:]]
        factors = 10.0 ** (2 * order * length) * matern_weights(order, 10.0**length)
        parts = zip(factors.tolist(), forms[: order + 1], strict=True)
        total = np.zeros_like(forms[0])
        for share, form in parts:
            total += share * form
        return total


@dataclass(frozen=True, eq=False)
class Seminorm(Prior):
    """The mean squared derivatives of one order alone, the first of its orders: H1 or H2."""

    @property
    def stretches(self) -> bool:
        """Its length is infinite."""
        return False

    @property
    def strongest(self) -> float:
        """So that the null space stays free."""
        return _STRONGEST_SEMINORM

    def precision(self, order: int, length: float, free: bool = True) -> Array:
        """The precision for tau = 1, shape (size, size); of order 0, the variation about the mean."""
        if order == 0:
            return super().precision(0, length, free)
        stiffest = float(np.abs(self.seminorm).sum(axis=0).max())
        least = max(_FREE_SEMINORM, _STIFFEST * self.basis.size * stiffest)
        return self.seminorm + (least if free else 1.0) * self.basis.mass

    @cached_property
    def seminorm(self) -> Array:
        """Quadratic form of the mean squared derivatives of its order, per half-length of the domain."""
        return self.basis.penalty(self.orders[0])


@dataclass(frozen=True, eq=False)
class TotalVariation(Seminorm):
    """Total variation, as the H1 form weighted with the inverse of the gradient of a field nearby.

    The mean of ``g |grad f|^2 / sqrt(|grad f0|^2 + eps^2)`` by Gauss quadrature on the cells between knots,
    f0 being the last iterate, g the rms of its gradient and eps a small share of g: lagged diffusivity
    (Vogel and Oman, SIAM J. Sci. Comput. 17:227, 1996). A posterior about f0 is normal, and its standard
    errors are those of this last normal approximation: they take the places of edges as known, and
    may be too small beside them.

    Attributes
    ----------
    weights
        g / sqrt(|grad f0|^2 + eps^2) at the quadrature's points, without a unit, shape (points,); 1, the H1
        form, before there is an iterate.
    """

    weights: Array | None = None

    @cached_property
    def _quadrature(self) -> tuple[Array, list[sp.csr_array]]:
        """Weights of the points, which add up to 1, and at them the derivatives along each coordinate."""
        axes = {n: (splines, *_rule(splines)) for n, splines in self.basis.splines.items()}
        share = np.asarray(reduce(np.kron, [w for _, _, w in axes.values()]), dtype=np.float64)
        slopes = []
        for along in axes:
            parts = [_sampled(splines, n == along, x) for n, (splines, x, _) in axes.items()]
            slopes.append(reduce(lambda one, two: sp.csr_array(sp.kron(one, two)), parts))
        return share, slopes

    def about(self, coefficients: Array) -> TotalVariation:
        """Weights of the gradient of a field; a flat one leaves them as they are."""
        share, slopes = self._quadrature
        square = np.sum([(d @ coefficients) ** 2 for d in slopes], axis=0)
        mean = float(share @ square)
        if not mean > _ROUNDING * float(np.mean(coefficients**2)):
            return self
        return replace(self, weights=1 / np.sqrt(square / mean + _FLAT**2))

    @cached_property
    def seminorm(self) -> Array:
        """Quadratic form of the mean of the weighted square of the gradient, per half-length."""
        share, slopes = self._quadrature
        weights = share if self.weights is None else share * self.weights
        return np.sum([(d.T @ sp.diags_array(weights) @ d).toarray() for d in slopes], axis=0)


def _rule(splines: AxisSplines) -> tuple[Array, Array]:
    """Points and weights of Gauss's rule on the cells of an axis; exact for products of the splines."""
    edges = np.linspace(splines.axis.lower, splines.axis.upper, splines.cells + 1)
    s, w = np.polynomial.legendre.leggauss(splines.degree + 1)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + s)).ravel(), (half * w).ravel() / splines.axis.length


def _sampled(splines: AxisSplines, slope: bool, points: Array) -> sp.csr_array:
    """Splines at points, or their slopes per half-length of the axis."""
    return sp.csr_array(splines.matrix(int(slope), points) * (splines.axis.length / 2 if slope else 1.0))


def prior(name: str, basis: Basis, kind: str = "auto") -> Prior:
    """The prior of an unknown field, by what `mollifier.FieldUnknown` calls it."""
    if kind == "auto":
        return Prior(name, basis)
    if kind == "tv":
        return TotalVariation(name, basis, (1,))
    return Seminorm(name, basis, (SEMINORMS[kind],))


def degree(kind: str) -> int:
    """Degree of the splines that a kind of prior asks for: low where an edge is to be kept."""
    if kind == "auto":
        return max(ORDERS) + 1
    return 1 if kind == "tv" else SEMINORMS[kind] + 1


def maximise(evidence: Callable[[list[Hyper]], float], priors: list[Prior]) -> tuple[list[Hyper], float]:
    """Strengths, lengths and orders of the greatest evidence, which may have several maxima.

    All priors that leave a choice of order share it while it is looked for.
    """
    looks = {}
    choices = [set(p.orders) for p in priors if len(p.orders) > 1] or [set(priors[0].orders)]
    lengths = _LENGTHS if any(p.stretches for p in priors) else _LENGTHS[:1]
    for order in sorted(set.intersection(*choices)):
        places = [(s, ell) for s in _STRENGTHS for ell in lengths]
        tried = [[p.hyper(order, s, ell) for p in priors] for s, ell in places]
        found = [(evidence(h), i) for i, h in enumerate(tried)]
        value, best = max(found)
        looks[value] = tried[best]
    climbed = [_climb(evidence, looks[v], priors) for v in sorted(looks)[-_CLIMBED:]]
    return max(climbed, key=lambda pair: pair[1])


def _climb(
    evidence: Callable[[list[Hyper]], float], start: list[Hyper], priors: list[Prior]
) -> tuple[list[Hyper], float]:
    orders = [h.order for h in start]
    centre = np.array([[h.strength, h.length] for h in start]).ravel()
    moved = np.array([[True, p.stretches] for p in priors]).ravel()
    most = np.array([[p.strongest, _LONGEST] for p in priors])

    def at(x: Array) -> list[Hyper]:
        whole = centre.copy()
        whole[moved] = x
        pairs = np.clip(whole.reshape(-1, 2), [_WEAKEST, _SHORTEST], most)
        return [Hyper(o, float(s), float(ell)) for o, (s, ell) in zip(orders, pairs, strict=True)]

    first = centre[moved]
    simplex = np.vstack([first, first + np.diag(np.tile([0.7, 0.3], len(start))[moved])])
    options = {"xatol": _PRECISE, "fatol": _PRECISE, "initial_simplex": simplex}
    best = minimize(lambda x: -evidence(at(x)), first, method="Nelder-Mead", options=options)
    return at(best.x), -float(best.fun)
