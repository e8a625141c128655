"""Priors of unknown fields: how much they vary, and over which lengths, learnt from the data.

A field on a domain of half-lengths L has the precision

    tau * sum_k binom(s, k) l^(2k) |D^k f|^2,   k = 0..s,

with derivatives per L, which is that of a Matern field of smoothness s - d/2 (Whittle 1954; Lindgren, Rue and
Lindstrom, J. R. Stat. Soc. B 73:423, 2011). s = 1 and s = 2 are the H1 and H2 penalties, l large. The
constant is free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mollifier.engines.weak.basis import Basis

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
# Orders, of those tried, for which the search goes on.
_CLIMBED = 2


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

    @cached_property
    def _seminorms(self) -> list[Array]:
        """Quadratic forms of the mean squared k-th derivatives, k = 0 about the mean."""
        mass = self.basis.penalty(0)
        ones = np.ones(len(mass))  # the splines add up to one
        mean = mass @ ones
        return [mass - (1 - _FREE) * np.outer(mean, mean) / (ones @ mean)] + [
            self.basis.penalty(k) for k in range(1, max(self.orders) + 1)
        ]

    def precision(self, order: int, length: float, free: bool = True) -> Array:
        """The precision for tau = 1, shape (size, size); the constant is held too if it is not free."""
        forms = self._seminorms if free else [self.basis.penalty(0), *self._seminorms[1:]]
        return np.sum(
            [comb(order, k) * 10.0 ** (2 * k * length) * forms[k] for k in range(order + 1)], axis=0
        )


def maximise(
    evidence: Callable[[list[Hyper]], float], priors: list[Prior], start: list[Hyper] | None
) -> tuple[list[Hyper], float]:
    """Strengths, lengths and orders of the greatest evidence; from a start only the first two are moved.

    All priors share an order while it is looked for.
    """
    if start is not None:
        return _climb(evidence, start)
    looks = {}
    for order in sorted(set.intersection(*(set(p.orders) for p in priors))):
        tried = [[Hyper(order, s, ell)] * len(priors) for s in _STRENGTHS for ell in _LENGTHS]
        found = [(evidence(h), i) for i, h in enumerate(tried)]
        value, best = max(found)
        looks[value] = tried[best]
    climbed = [_climb(evidence, looks[v]) for v in sorted(looks)[-_CLIMBED:]]
    return max(climbed, key=lambda pair: pair[1])


def _climb(evidence: Callable[[list[Hyper]], float], start: list[Hyper]) -> tuple[list[Hyper], float]:
    orders = [h.order for h in start]

    def at(x: Array) -> list[Hyper]:
        pairs = np.clip(x.reshape(-1, 2), [_WEAKEST, _SHORTEST], [_STRONGEST, _LONGEST])
        return [Hyper(o, float(s), float(ell)) for o, (s, ell) in zip(orders, pairs, strict=True)]

    centre = np.array([[h.strength, h.length] for h in start]).ravel()
    simplex = np.vstack([centre, centre + np.diag(np.tile([0.7, 0.3], len(start)))])
    options = {"xatol": _PRECISE, "fatol": _PRECISE, "initial_simplex": simplex}
    best = minimize(lambda x: -evidence(at(x)), centre, method="Nelder-Mead", options=options)
    return at(best.x), -float(best.fun)
