"""Matern priors of fields, as sums of mean squared derivatives.

A field on a domain of half-lengths L has the precision

    a * sum_k binom(s, k) l^(2k - 2s) |D^k f|^2,   k = 0..s,

with derivatives per L, which is that of a Matern field of smoothness s - d/2 (Whittle 1954; Lindgren, Rue and
Lindstrom, J. R. Stat. Soc. B 73:423, 2011). With an infinite length one
term is left, a seminorm: s = 1 and s = 2 are the H1 and H2 penalties.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from math import comb, factorial, prod

import numpy as np

from mollifier.mollify.arrays import Array

SEMINORMS = {"h1": 1, "h2": 2}  #: Order of the derivatives in the priors that have one term alone.


def matern_weights(order: int, length: float) -> Array:
    """Factors of the mean squared k-th derivatives, k = 0..order, over that of the last.

    ``length`` is in half-lengths of the domain; infinite for the last term alone.

    >>> matern_weights(2, 0.5).tolist()
    [16.0, 8.0, 1.0]
    """
    return np.array([comb(order, k) * length ** (2.0 * (k - order)) for k in range(order + 1)])


def mixed(names: Sequence[str], order: int) -> Iterator[tuple[dict[str, int], int]]:
    """Derivatives of an order along some coordinates, and their multiplicity in |D^order f|^2.

    >>> list(mixed(["x", "y"], 2))
    [({'x': 2, 'y': 0}, 1), ({'x': 1, 'y': 1}, 2), ({'x': 0, 'y': 2}, 1)]
    """
    for chosen in combinations_with_replacement(names, order):
        counts = {n: chosen.count(n) for n in names}
        yield counts, factorial(order) // prod(factorial(c) for c in counts.values())
