"""Mixed partial derivatives from directional ones: directions and weights.

The k-th Taylor coefficient of a field along a direction v is ``c_k(v) = sum_{|a|=k} v^a / a! D^a u``. Weights
W with ``sum_v W_v v^a / a! = t_a`` for every multi-index of order k turn coefficients into ``sum_a t_a D^a
u``: polarisation for one mixed derivative (t a unit vector), a quadrature for a differential operator.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mollifier.errors import GridError
from mollifier.mollify.arrays import Array
from mollifier.nn.differentiation.base import MultiIndex

_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Plan:
    """Directions, and how the coefficients along them combine."""

    directions: Array  #: Shape (D, d), those needed at the highest order first.
    #: How many of the leading directions are carried to each order, D first; not increasing.
    counts: tuple[int, ...]
    #: From the coefficients of each order k to its m_k combinations, shape (m_k, counts[k]).
    weights: tuple[Array, ...]


def plan(
    combinations: Sequence[Sequence[Mapping[MultiIndex, float]]],
    candidates: Array | None = None,
) -> Plan:
    """A small set of directions that determine every combination of derivatives.

    Directions are dropped from the candidates one by one as long as the rest determine every combination,
    once in order of decreasing and once of increasing length, and the smaller rest is taken. Directions that
    a higher order needs cost nothing at a lower one.

    ``combinations[k]`` are sums ``{multi-index: factor}`` of derivatives of order k, none of order 0.
    Directions are chosen from ``candidates``, (m, d), by default integer ones. Raises `GridError` if those
    given do not suffice.

    >>> biharmonic = plan([[], [], [], [], [{(4, 0): 1.0}, {(2, 2): 1.0}, {(0, 4): 1.0}]])
    >>> biharmonic.directions.astype(int).tolist()
    [[0, 1], [1, 0], [1, -1], [1, 1]]
    """
    dimension = len(next(index for sums in combinations for terms in sums for index in terms))
    chosen: list[tuple[float, ...]] = []
    counts: list[int] = []
    for k in range(len(combinations) - 1, 0, -1):
        for extra in _choose(combinations[k], k, dimension, chosen, candidates):
            chosen.append(extra)
        counts.insert(0, len(chosen))
    directions = np.array(chosen, dtype=float).reshape(-1, dimension)
    weights = [np.zeros((0, len(chosen)))]
    for k in range(1, len(combinations)):
        solved = _solve(directions[: counts[k - 1]], combinations[k], k)
        assert solved is not None
        weights.append(solved)
    return Plan(directions, (len(chosen), *counts), tuple(weights))


def _choose(
    sums: Sequence[Mapping[MultiIndex, float]],
    order: int,
    dimension: int,
    carried: Sequence[tuple[float, ...]],
    candidates: Array | None,
) -> list[tuple[float, ...]]:
    """The directions that are needed in addition to those of higher orders."""
    if _solve(_array(carried, dimension), sums, order) is not None:
        return []
    supports = {tuple(bool(n) for n in index) for terms in sums for index in terms}
    for reach in range(1, order + 1):
        pool = _integers(supports, reach) if candidates is None else [tuple(v) for v in candidates.tolist()]
        pool = [v for v in pool if v not in carried]
        if _solve(_array([*carried, *pool], dimension), sums, order) is None:
            continue
        found = []
        for longest_first in (True, False):
            kept = pool
            for v in sorted(pool, key=_length, reverse=longest_first):
                fewer = [p for p in kept if p != v]
                if _solve(_array([*carried, *fewer], dimension), sums, order) is not None:
                    kept = fewer
            found.append(sorted(kept, key=lambda v: (_length(v), v)))
        return min(found, key=len)
    raise GridError(
        f"The given directions do not determine the derivatives of order {order}; give more of them, or none."
    )


def _length(v: Iterable[float]) -> float:
    return sum(c * c for c in v)


def _array(directions: Sequence[tuple[float, ...]], dimension: int) -> Array:
    return np.array(directions, dtype=float).reshape(-1, dimension)


def _integers(supports: Iterable[tuple[bool, ...]], reach: int) -> list[tuple[float, ...]]:
    """Integer directions without common divisor or opposite, within one of the supports."""
    found = set()
    for support in supports:
        for v in itertools.product(*(range(-reach, reach + 1) if s else (0,) for s in support)):
            first = next((c for c in v if c), 0)
            if first > 0 and math.gcd(*v) == 1:
                found.add(tuple(float(c) for c in v))
    return sorted(found)


def _solve(directions: Array, sums: Sequence[Mapping[MultiIndex, float]], order: int) -> Array | None:
    """Weights (number of sums, number of directions), or None where the directions do not suffice."""
    if not sums:
        return np.zeros((0, len(directions)))
    if not len(directions):
        return None
    dimension = directions.shape[1]
    indices = [i for i in itertools.product(range(order + 1), repeat=dimension) if sum(i) == order]
    factorials = np.array([math.prod(map(math.factorial, i)) for i in indices], dtype=float)
    # Columns of unit size: long directions would spoil the conditioning.
    sizes = np.linalg.norm(directions, axis=1) ** order
    powers = np.stack([np.prod(directions ** np.array(i), axis=1) for i in indices]) / sizes
    target = np.array([[terms.get(i, 0.0) for i in indices] for terms in sums]).T * factorials[:, None]
    weights = np.linalg.lstsq(powers, target, rcond=None)[0]
    if np.abs(powers @ weights - target).max() > _TOLERANCE * np.abs(target).max():
        return None
    weights[np.abs(weights) < 1e-13 * np.abs(weights).max()] = 0.0
    return (weights / sizes[:, None]).T
