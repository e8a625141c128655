"""The first guess of unknowns in which the equations are linear: least squares on their terms.

Terms are taken at nodes, or averaged over windows. A window that vanishes at its ends, with its derivatives,
moves a derivative of the state onto itself, as the test functions of the weak form do: noise averages out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mollifier.engines.linalg.dense import contract
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import Polynomial
from mollifier.problem.unknowns import Unknown

_NODES = 4  #: Least number of nodes for each window.
_ROWS = 3  #: Least number of averages for each unknown: of fewer, some hold by chance.


@dataclass(frozen=True)
class Averages:
    """Averages over overlapping windows, as many along each coordinate that is not of labels.

    >>> grid = Grid(Axis("x", 0.0, 1.0, 65))
    >>> Averages(3, 2).of(grid, grid["x"].points, np.ones(65, dtype=bool)).round(3).tolist()
    [0.25, 0.5, 0.75]
    """

    count: int  #: Windows along a coordinate, each centred at the end of the one before it.
    order: int  #: Of the highest derivative.

    def of(self, grid: Grid, values: Array, used: Array) -> Array:
        """Averages (m,) of values (nodes,), over windows all of whose nodes are ``used``, (nodes,)."""
        if grid.size == 1:
            return values
        weights = [self._weights(axis) for axis in grid]
        whole = contract(used.reshape(grid.shape).astype(float), weights) > 1 - 1e-9
        return contract(np.where(used, values, 0.0).reshape(grid.shape), weights)[whole]

    def _weights(self, axis: Axis) -> Array:
        """Of each window along a coordinate, shape (windows, nodes); fewer windows where nodes are few."""
        if axis.discrete or axis.size == 1:
            return np.eye(axis.size)
        count = max(1, min(self.count, axis.size // _NODES))
        radius = axis.length / (count + (not axis.periodic))
        centres = axis.lower + radius * np.arange(1, count + 1)
        apart = axis.points - centres[:, None]
        if axis.periodic:
            apart = np.mod(apart + axis.length / 2, axis.length) - axis.length / 2
        weights = Polynomial(self.order + 2)(apart / radius)
        return weights / weights.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Terms:
    """Values of an equation's terms on its part of the grid, flat."""

    grid: Grid
    used: Array  #: Whether all of them are finite, in the measured region.
    rest: Array  #: What no free unknown multiplies.
    factors: dict[str, Array]  #: What each free unknown multiplies.
    hidden: bool  #: Whether a hidden state is in the equation.

    def averaged(self, averages: Averages | None) -> tuple[Array, dict[str, Array]]:
        """The rest and the factors at nodes that are used, or their averages."""
        if averages is None:
            return self.rest[self.used], {n: v[self.used] for n, v in self.factors.items()}
        mean = partial(averages.of, self.grid, used=self.used)
        return mean(self.rest), {n: mean(v) for n, v in self.factors.items()}

    def knowing(self, levels: Mapping[str, float]) -> Terms:
        """With some of the unknowns at known levels."""
        present = levels.keys() & self.factors.keys()
        rest = sum((self.factors[n] * levels[n] for n in present), self.rest)
        return replace(self, rest=rest, factors={n: v for n, v in self.factors.items() if n not in present})


@dataclass(frozen=True)
class Fit:
    """Least-squares values of unknowns in which the equations are linear."""

    values: dict[str, float]
    sizes: dict[str, float]  #: The size at which each balances the other terms.
    count: int  #: Number of finite residuals.
    loss: float  #: Minus their mean log-likelihood, with a variance for each equation.
    left: float  #: Mean square of the residuals by their degrees of freedom, over that of the terms.

    def joined(self, other: Fit) -> Fit:
        """With a fit of further equations to further unknowns."""
        count = self.count + other.count
        shares = [(f.loss * f.count / count, f.left * f.count / count) for f in (self, other) if f.count]
        loss, left = np.sum(shares, axis=0) if shares else (np.inf, np.inf)
        return Fit(self.values | other.values, self.sizes | other.sizes, count, float(loss), float(left))


def least_squares(
    terms: Sequence[Terms],
    free: Mapping[str, Unknown],
    gap: float,
    over: Sequence[Averages | None] = (None,),
) -> Fit:
    """Least-squares values of the free unknowns, ``gap`` of their sizes within their bounds.

    Of the averages ``over`` windows those are taken over which the equations hold best. An equation has no
    size where a free unknown multiplies every term: it waits for the values that the others give.
    """
    sized = [t for t in terms if t.rest.any()] or terms
    present = [n for n in free if any(n in t.factors for t in sized)]
    fit = min((_fitted(sized, present, averages) for averages in over), key=lambda f: f.left)
    moved = {n: within_bounds(free[n], v, gap * fit.sizes[n]) for n, v in fit.values.items()}
    fit = replace(fit, values={n: v for n, v in moved.items() if free[n].admits(v)})
    if len(sized) == len(terms):
        return fit
    later = {n: u for n, u in free.items() if n not in present}
    known = dict.fromkeys(present, 0.0) | fit.values
    waiting = [t.knowing(known) for t in terms if not t.rest.any()]
    return fit.joined(least_squares(waiting, later, gap, over))


def _fitted(terms: Sequence[Terms], free: list[str], averages: Averages | None) -> Fit:
    """Least-squares values of the free unknowns with the terms at nodes, or averaged."""
    columns: dict[str, list[Array]] = {n: [] for n in free}
    right, scales, sizes = [], [], dict.fromkeys(free, 0.0)
    seen, balanced = set[str](), set[str]()
    for term in terms:
        rest, parts = term.averaged(averages)
        size = rms(rest) or sum(rms(p) for p in parts.values()) or 1.0
        for n, part in parts.items():
            if rms(part) > 0:
                sizes[n] = max(sizes[n], rms(rest) / rms(part))
        if term.hidden:
            balanced |= {*parts}
            continue
        seen |= {*parts}
        for n in free:
            columns[n].append(parts.get(n, np.zeros_like(rest)) / size)
        right.append(-rest / size)
        scales.append(size)
    found = {n: sizes[n] for n in balanced - seen if sizes[n] > 0}
    free = [n for n in free if n not in balanced - seen]
    count = sum(len(r) for r in right)
    if count < len(free) * (1 if averages is None else _ROWS) or not count:
        return Fit(found, sizes, count=0, loss=np.inf, left=np.inf)
    aims = np.concatenate(right)
    matrix = np.stack([np.concatenate(columns[n]) for n in free], axis=1) if free else np.zeros((count, 0))
    norms = np.linalg.norm(matrix, axis=0)
    norms = np.where(norms > 0, norms, 1.0)
    solution = np.linalg.lstsq(matrix / norms, aims, rcond=1e-10)[0] / norms
    errors = aims - matrix @ solution
    whole = float(aims @ aims + np.sum(np.square(matrix * solution)))
    left = np.split(errors, np.cumsum([len(r) for r in right])[:-1])
    loss = sum(len(v) * np.log(size * rms(v) + 1e-300) for v, size in zip(left, scales, strict=True)) / count
    return Fit(
        found | dict(zip(free, solution.tolist(), strict=True)),
        sizes,
        count,
        float(loss),
        left=float(errors @ errors) * count / max(count - len(free), 1) / whole if whole else 0.0,
    )


def within_bounds(unknown: Unknown, level: float, gap: float) -> float:
    """The level, moved a gap away from the bounds, closer to which the bijection's slope is too small.

    >>> from mollifier.problem.unknowns import ScalarUnknown
    >>> [within_bounds(u, -1.0, 0.3) for u in (ScalarUnknown(lower=0.0), ScalarUnknown())]
    [0.3, -1.0]
    """
    level, gap = float(np.clip(level, unknown.lower, unknown.upper)), gap if np.isfinite(gap) else 0.0
    for bound, away in ((unknown.lower, 1), (unknown.upper, -1)):
        if bound is not None and away * (level - bound) < gap and unknown.admits(bound + away * gap):
            return bound + away * gap
    return level


def rms(values: Array) -> float:
    """Root mean square, without overflow for values such as 1e200."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest * float(np.sqrt(np.mean(np.square(values / largest)))) if largest else 0.0
