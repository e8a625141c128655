"""Isolated values: far outside their neighbours and far from a robust quadratic through them.

Far is meant in units of the noise and beside what the neighbours themselves deviate. A front is not isolated:
its neighbours along the front agree with it. Nor is a peak, whose nearest neighbours lie above the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import numpy as np
from scipy.spatial import KDTree

from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.distributions import student_upper

# Values that are compared with their neighbours at a time: arrays as large as the data take memory.
_COMPARED = 2**20
_AT_ONCE = 500  # Values whose neighbours, and quadratics through these, are held at a time.


# What counts as isolated; chosen on seeds 0 to 3, tested on 10 to 13 (docs: data).

# Degrees of freedom of Student noise that is no damage: least and most, by the deviations' quantiles.
_TAILS = (5.0, 15.0)
_CHANCE = 0.01  # Values of such noise that are reported, expected for one variable.
# Deviation of an isolated value, in that of its neighbours from the same quadratic.
_DEVIATION = 5.0
# Share of the values; if more deviate the field is rough, and none are isolated.
_MOST_ISOLATED = 0.1
_LEAST_NOISE = 1e-3  # Noise that is assumed at least, in the standard deviation of the values.
_TESTED = 20_000  # Values that are compared with a quadratic at most.
_SAMPLED = 2_000  # Values from which the noise is taken.
# Values from which it is taken first: what is isolated is beyond ``_FIRST_SHARE`` of the limit by these.
_FIRST = 250
_FIRST_SHARE = 0.8
_SPREAD = 20_000  # Values from which the standard deviation is taken.
_ROUNDS = 3  # Searches, each without the values found before.


@dataclass(frozen=True)
class Places:
    """Positions of the values of an array.

    ``nodes`` are along each of d coordinates, in the typical distance of neighbours: of a grid (n_i,), of
    scattered values (n,). ``axes`` are those of the grid, by coordinate; none where values are scattered.
    """

    nodes: tuple[Array, ...]
    axes: tuple[int, ...] = ()

    def near(self, values: Array, chosen: Index, count: int) -> tuple[Array, Array]:
        """About the ``count`` nearest values of chosen ones, (c, count), and their offsets, (c, count, d).

        ``chosen`` are flat indices. NaN where there are fewer.
        """
        if not self.axes:
            points = np.stack(self.nodes, axis=-1)
            finite = np.flatnonzero(np.isfinite(values))
            tree, most = KDTree(points[finite]), min(count + 1, len(finite))
            index = finite[np.reshape(tree.query(points[chosen], most)[1], (len(chosen), most))]
            found = np.where(index == chosen[:, None], np.nan, values[index])
            return found, points[index] - points[chosen, None]
        d = len(self.axes)
        reach = int(np.ceil(((1.5 * count + 1) ** (1 / d) - 1) / 2))
        steps = np.array(list(product(range(-reach, reach + 1), repeat=d)))
        steps = steps[np.argsort(np.linalg.norm(steps, axis=1), kind="stable")][1:]
        at = np.unravel_index(chosen, values.shape)
        index = [np.broadcast_to(i[:, None], (len(chosen), len(steps))) for i in at]
        inside, offsets = np.ones(index[0].shape, dtype=bool), np.empty((*index[0].shape, d))
        for k, (axis, x) in enumerate(zip(self.axes, self.nodes, strict=True)):
            moved = index[axis] + steps[:, k]
            index[axis] = np.clip(moved, 0, x.size - 1)
            inside &= moved == index[axis]
            offsets[..., k] = x[index[axis]] - x[at[axis], None]
        found = np.where(inside, values[tuple(index)], np.nan)
        first = np.argsort(np.isnan(found), axis=1, kind="stable")[:, :count]
        return np.take_along_axis(found, first, 1), np.take_along_axis(offsets, first[..., None], 1)


def isolated(values: Array, places: Places) -> tuple[Mask, float]:
    """Isolated values, in the shape of the values, and the squares of their deviations, added up.

    Values that are found are missing from the array meanwhile: a copy of it would be as large as the data.
    """
    mask, squares = np.zeros(values.shape, dtype=bool), 0.0
    found: list[tuple[Index, Array]] = []
    count = int(np.count_nonzero(np.isfinite(values)))
    d = len(places.nodes)
    terms = [c for n in range(3) for c in combinations_with_replacement(range(d), n)]
    if count < 4 * len(terms):
        return mask, 0.0
    drawn = np.random.default_rng(0).choice(count, min(count, _SPREAD), replace=False)
    if count < values.size:
        drawn = np.flatnonzero(np.isfinite(values))[drawn]
    some, inner = drawn[:_SAMPLED], values.flat[drawn]
    spread = float(np.std(np.clip(inner, *np.percentile(inner, [1, 99]))))

    def limit(part: Index, tail: float | None = None) -> float:
        """The deviation that noise as long-tailed as that of a part of the values has by chance only."""
        typical = _deviations(values, places, part, terms)[0]
        sigma = max(float(np.median(typical)) / 0.6745, _LEAST_NOISE * spread)
        return _limit(_tail(typical) if tail is None else tail, count) * sigma

    rough = _FIRST_SHARE * limit(some[:_FIRST], _TAILS[1])
    chosen = _screened(values, places, rough / 2)
    for _ in range(_ROUNDS):
        away, beside = _deviations(values, places, chosen, terms, outside=True)
        hit = away > np.maximum(rough + _DEVIATION * beside, 1e-300)
        if hit.any():
            hit &= away > limit(some) + _DEVIATION * beside
        if not hit.any():
            break
        squares += float(np.square(away[hit]).sum())
        mask.flat[chosen[hit]] = True
        found.append((chosen[hit], values.flat[chosen[hit]]))
        values.flat[chosen[hit]] = np.nan
        chosen, some = chosen[~hit], some[np.isfinite(values.flat[some])]
    for where, own in found:
        values.flat[where] = own
    if mask.sum() > _MOST_ISOLATED * count:
        return np.zeros_like(mask), 0.0
    return mask, squares


def _tail(deviations: Array) -> float:
    """Degrees of freedom of Student noise with the quantiles of these deviations."""
    tails = np.linspace(*_TAILS, 21)
    middle, far = student_upper(0.25, tails), student_upper(0.025, tails)
    ratio = np.quantile(deviations, 0.95) / max(float(np.median(deviations)), 1e-300)
    return float(np.interp(-ratio, -far / middle, tails))


def _limit(tail: float, count: int) -> float:
    """The deviation that Student noise has by chance only, in robust standard deviations."""
    return float(student_upper(_CHANCE / count / 2, tail) / student_upper(0.25, tail)) * 0.6745


def _screened(values: Array, places: Places, least: float) -> Index:
    """Values whose nearest neighbours differ by more than ``least``, those that differ most first."""
    if places.axes:
        whole = np.full(values.shape, np.inf, dtype=np.float32)
        for axis in places.axes:
            lines, smallest = np.moveaxis(values, axis, 0), np.moveaxis(whole, axis, 0)
            across = lines.shape[1] if lines.ndim > 1 else 1
            step = max(_COMPARED * across // values.size, 1)
            for start in range(0, across, step):
                part = (slice(None), slice(start, start + step))[: lines.ndim]
                u, away = lines[part], np.empty(lines[part].shape)
                inner = np.add(u[2:], u[:-2], out=away[1:-1])
                inner *= -0.5
                inner += u[1:-1]
                away[0], away[-1] = u[0] - u[1], u[-1] - u[-2]
                np.fmin(smallest[part], np.abs(away, out=away), out=smallest[part])
        far = np.flatnonzero((whole > least) & np.isfinite(values))
        return far[np.argsort(-whole.flat[far])][:_TESTED]
    finite = np.flatnonzero(np.isfinite(values))
    if finite.size <= _TESTED:
        return finite
    near = places.near(values, finite, 2 * len(places.nodes) + 2)[0]
    away = np.abs(values[finite] - _medians(near))
    far = np.flatnonzero(away > least)
    return finite[far[np.argsort(-away[far])]][:_TESTED]


def _deviations(
    values: Array,
    places: Places,
    chosen: Index,
    terms: Sequence[tuple[int, ...]],
    outside: bool = False,
) -> tuple[Array, Array]:
    """Distances of values from the quadratic of least absolute deviations through their neighbours.

    And the most that neighbours deviate, but for as many as there are coordinates, which may be damaged. With
    ``outside`` the distance is no more than that from the range of the neighbours, as many left out.
    """
    count, blocks = max(4 * len(terms), 12), 1 + len(chosen) // _AT_ONCE
    some = np.array_split(chosen, blocks)
    if places.axes:
        found = (places.near(values, part, count) for part in some)
    else:  # one tree for all
        near, offsets = places.near(values, chosen, count)
        found = zip(np.array_split(near, blocks), np.array_split(offsets, blocks), strict=True)
    parts = [_away(values.flat[part], *f, terms, outside) for part, f in zip(some, found, strict=True)]
    away, beside = map(np.concatenate, zip(*parts, strict=True))
    return away, beside


def _away(
    own: Array, near: Array, offsets: Array, terms: Sequence[tuple[int, ...]], outside: bool
) -> tuple[Array, Array]:
    """`_deviations` of values (c,) by their neighbours (c, count) and the offsets of these (c, count, d)."""
    drop, there, middle = offsets.shape[2], np.isfinite(near), _medians(near)
    scale = np.maximum(np.abs(offsets).max(axis=(1, 2), keepdims=True), 1e-300)
    design = np.stack([np.prod(offsets[..., list(c)] / scale, axis=-1) for c in terms], axis=-1)
    right = np.where(there, near - middle[:, None], 0.0)
    left, fit = np.abs(right), np.zeros((len(own), len(terms), 1))
    for _ in range(10):
        small = np.median(left, axis=1, keepdims=True) * 1e-2 + 1e-300
        weight = there / np.maximum(left, small)
        weight /= weight.max(axis=1, keepdims=True)
        weighted = np.swapaxes(design * weight[..., None], 1, 2)
        square = weighted @ design
        square += 1e-9 * np.trace(square, axis1=1, axis2=2)[:, None, None] * np.eye(len(terms))
        fit = np.linalg.solve(square, weighted @ right[..., None])
        left = np.where(there, np.abs((design @ fit)[..., 0] - right), 0.0)
    away = np.abs(own - middle - fit[:, 0, 0])
    beside = -np.sort(-left, axis=1)[:, min(drop, left.shape[1] - 1)]
    # A peak has shoulders: its nearest neighbours lie above the others.
    beside = np.maximum(beside, np.abs(_medians(near[:, : 2 * drop]) - _medians(near[:, 2 * drop :])))
    if outside:
        ordered = np.sort(np.where(there, near, np.inf), axis=1)
        low = ordered[:, drop]
        high = np.take_along_axis(ordered, np.maximum(there.sum(1) - 1 - drop, 0)[:, None], 1)[:, 0]
        away = np.minimum(away, np.maximum(np.maximum(low - own, own - high), 0.0))
    return np.where(there.sum(1) >= len(terms) + 4, away, 0.0), beside


def _medians(rows: Array) -> Array:
    """Median of the finite values of each row; zero where there are none."""
    ordered, count = np.sort(rows, axis=1), np.isfinite(rows).sum(axis=1)  # missing values are last
    places = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, rows.shape[1] - 1)], axis=1)
    return np.where(count, np.take_along_axis(ordered, places, 1).mean(axis=1), 0.0)
