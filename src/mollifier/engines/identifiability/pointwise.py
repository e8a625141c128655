"""A field's derivatives at some places, by local polynomial fits: a rough picture, not an estimate.

The fit at a centre weighs its neighbours by the tricube of their distance (Cleveland, JASA 74:829, 1979). Its
window is the widest over which the polynomial fits as well as over half of the shortest feature. Where noise
exceeds derivatives there, it is the narrowest wider one in which most of them exceed the noise: they are then
those of a smoother field. Dense data are averaged over small parts of the window first. Errors
at one centre have their full covariance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
from scipy.spatial import KDTree

from mollifier.data.observations import Samples
from mollifier.mollify.arrays import Array, Index

Orders = tuple[int, ...]

_MOST_NEIGHBOURS = 400
# Singular values below this part of the largest belong to directions that the points do not span.
_RANK = 1e-8
# Wider windows tried, and how much the misfit may grow beyond that of the narrowest.
_WIDER, _WORSE = (1.0, 1.5, 2.2, 3.3, 5.0), 1.1
_WIDEST = 16.0
_TRIED = 60
# Mean square of a derivative over that of its noise from which it is significant; noise alone has 1.
_CLEAR = 9.0
_BIASED = 4.0  # Mean square of residuals, in the noise's, up to which a window may be widened for that.
# Parts of half a window that are averaged over, by the number of coordinates.
_PARTS = {1: 10.0, 2: 6.0, 3: 3.5}
_MOST_PARTS = 100_000  # Parts along one coordinate at most.
_SPARSE = 0.4  # Parts beside samples from which an average would not shorten the work.


@dataclass(frozen=True)
class LocalFit:
    """q derivatives and their errors at m centres."""

    values: Array  #: Shape (m, q).
    covariance: Array  #: Of the errors at one centre, shape (m, q, q).
    lengths: Array  #: Half-width of the window along each coordinate, shape (d,).
    #: About how many fits to all samples would be independent of one another: the equivalent degrees of
    #: freedom tr(H H') of the smoother H (Hastie and Tibshirani, Generalized Additive Models, 1990).
    independent: float

    @property
    def sd(self) -> Array:
        """Standard errors, shape (m, q)."""
        return np.sqrt(np.einsum("mqq->mq", self.covariance))


def local_fits(
    samples: Samples,
    centres: Array,
    orders: Sequence[Orders],
    features: Array,
    periods: Array | None = None,
) -> LocalFit:
    """Derivatives of one variable at given centres.

    The n samples lie over d coordinates, the centres are (m, d), and ``orders`` are q multi-indices of length
    d. ``features`` and ``periods`` are the shortest feature and the period along each coordinate, (d,),
    infinite where there is none.

    >>> x = np.linspace(0, 1, 60)[:, None]
    >>> samples = Samples(("x",), x, x[:, 0] ** 2, np.full(60, 1e-4))
    >>> fit = local_fits(samples, x[20:22], [(0,), (2,)], np.array([0.5]))
    >>> fit.values[:, 1].round(6)
    array([2., 2.])
    >>> fit.covariance.shape, bool(3 < fit.independent < 12)
    ((2, 2, 2), True)
    """
    points, count = samples.points, len(samples.points)
    if periods is not None:
        samples = _wrapped(samples, periods, features)
    highest = np.max(np.array([*orders, (0,) * points.shape[1]]), axis=0)
    exponents = _exponents(highest, max(sum(o) for o in orders) + 1, points)
    few = centres[:: max(len(centres) // _TRIED, 1)]
    half = _widest(samples, few, exponents, _windows(points, highest, features))
    half = _clearest(samples, few, exponents, orders, half)
    fits = _Fits(samples, centres, exponents, half)
    chosen, values = fits.derivatives(orders)
    covariance = np.einsum("mqk,mpk,mk->mqp", chosen, chosen, fits.sd**2)
    level = np.einsum("mk,mk->m", fits.rows[:, 0] ** 2, fits.sd**2)
    independent = count * float(np.mean(level) / np.mean(samples.sd**2))
    return LocalFit(values, covariance, half, float(np.clip(independent, 1.0, count)))


class _Fits:
    """Polynomials around m centres; ``rows``, (m, q, k), are each centre's neighbours' weights in them."""

    def __init__(self, samples: Samples, centres: Array, exponents: Sequence[Orders], half: Array) -> None:
        seen = _averaged(samples, half)
        tree, least = KDTree(seen.points / half), 2 * len(exponents)
        # The same number of neighbours for each centre: those within the window of a typical one.
        inside = int(np.median(tree.query_ball_point(centres / half, 1.0, return_length=True)))
        count = min(max(inside, least, 2), max(_MOST_NEIGHBOURS, least), len(seen.points))
        distance, near = (np.reshape(a, (len(centres), -1)) for a in tree.query(centres / half, count))
        self.exponents, self.half = exponents, half
        self.values, self.sd = seen.values[near], seen.sd[near]
        self.local = (seen.points[near] - centres[:, None, :]) / half
        self.design = np.stack([np.prod(self.local ** np.array(e), axis=-1) for e in exponents], axis=-1)
        reach = np.maximum(distance[:, -1:], 1e-12) * 1.001
        tricube = np.clip(1 - (distance / reach) ** 3, 0.0, 1.0) ** 3
        weight = np.sqrt(tricube) * np.median(seen.sd) / self.sd
        left, s, right = np.linalg.svd(self.design * weight[..., None], full_matrices=False)
        inverse = np.where(s > _RANK * s[:, :1], 1 / np.where(s > 0, s, 1.0), 0.0)
        rows = np.matmul(np.swapaxes(right, 1, 2) * inverse[:, None, :], np.swapaxes(left, 1, 2))
        self.rows = rows * weight[:, None, :]

    def derivatives(self, orders: Sequence[Orders]) -> tuple[Array, Array]:
        """The neighbours' weights in the derivatives, (m, q, k), and these; NaN where a fit lacks one."""
        weights = np.full((len(self.rows), len(orders), self.rows.shape[2]), np.nan)
        for i, o in enumerate(orders):
            if o in self.exponents:
                scale = np.prod([factorial(k) / h**k for k, h in zip(o, self.half, strict=True)])
                weights[:, i] = self.rows[:, self.exponents.index(o)] * scale
        return weights, np.einsum("mqk,mk->mq", weights, self.values)

    def misfit(self) -> float:
        """Mean square of the residuals in their standard errors, per degree of freedom, over all centres."""
        inside = np.linalg.norm(self.local, axis=2) < 1.0
        coefficients = np.einsum("mqk,mk->mq", self.rows, self.values)
        fitted = np.einsum("mkq,mq->mk", self.design, coefficients)
        square = ((self.values - fitted) / self.sd) ** 2
        free = np.maximum(inside.sum(axis=1) - len(self.exponents), 0)
        if not free.sum():
            return 0.0
        return float(np.median((square * inside).sum(axis=1)[free > 0] / free[free > 0]))


def _widest(samples: Samples, centres: Array, exponents: Sequence[Orders], half: Array) -> Array:
    """The widest window over which the polynomial fits about as well as over the given one."""
    best, limit = half, np.inf
    for tried in _wider(samples, half, _WIDER):
        misfit = _Fits(samples, centres, exponents, tried).misfit()
        if misfit > limit:
            break
        best, limit = tried, min(limit, _WORSE * max(misfit, 1.0))
    return best


def _clearest(
    samples: Samples, centres: Array, exponents: Sequence[Orders], orders: Sequence[Orders], half: Array
) -> Array:
    """The narrowest window, no narrower than the given one, in which the most derivatives exceed the noise.

    An equation holds for smoothed fields too, as far as it is linear, so that a window which leaves a part of
    a derivative above the noise holds more information than one which leaves all of it below.
    """
    best, most = half, -1
    for tried in _wider(samples, half, np.geomspace(1.0, _WIDEST, 13)):
        fits = _Fits(samples, centres, exponents, tried)
        if fits.misfit() > _BIASED:
            break
        chosen, values = fits.derivatives(orders)
        noise = np.einsum("mqk,mk->mq", chosen**2, fits.sd**2)
        clear = int(np.sum(np.mean(values**2 / noise, axis=0) >= _CLEAR))
        if clear > most:
            best, most = tried, clear
        if most == len(orders):
            break
    return best


def _wider(samples: Samples, half: Array, factors: Iterable[float]) -> Iterator[Array]:
    """Windows by so many times wider, none wider than the data."""
    extent = np.ptp(samples.points, axis=0)
    for wider in factors:
        yield np.minimum(half * wider, np.where(extent > 0, extent, 1.0))


def _wrapped(samples: Samples, periods: Array, features: Array) -> Samples:
    """With copies past the ends of periodic axes, as far as windows reach: no fit there is one-sided."""
    points, index = samples.points, np.arange(len(samples.points))
    for a in np.flatnonzero(np.isfinite(periods)):
        reach = min(periods[a] / 2, _WIDER[-1] * features[a] / 2)
        low, high = points[:, a].min(), points[:, a].min() + periods[a]
        first, last = points[:, a] < low + reach, points[:, a] > high - reach
        shift = periods[a] * np.eye(points.shape[1])[a]
        points = np.concatenate([points, points[first] + shift, points[last] - shift])
        index = np.concatenate([index, index[first], index[last]])
    return Samples(samples.coordinates, points, samples.values[index], samples.sd[index])


def _averaged(samples: Samples, half: Array) -> Samples:
    """Means of values and places over small parts of a window, their standard errors accordingly."""
    d = samples.points.shape[1]
    side = half / _PARTS.get(d, 2.5)
    cell = np.floor((samples.points - samples.points.min(axis=0)) / side * (1 + 1e-9)).astype(np.int64)
    cell = np.minimum(cell, _MOST_PARTS)
    place = np.ravel_multi_index(tuple(cell.T), tuple(cell.max(axis=0) + 1))
    which = np.unique(place, return_inverse=True)[1]
    if which.max() + 1 > _SPARSE * len(which):
        return samples
    weight = samples.sd**-2.0
    total = np.bincount(which, weight)

    def mean(of: Array) -> Array:
        return np.bincount(which, weight * of) / total

    points = np.stack([mean(x) for x in samples.points.T], axis=1)
    return Samples(samples.coordinates, points, mean(samples.values), np.asarray(total**-0.5, float))


def _windows(points: Array, highest: Index, features: Array) -> Array:
    """Half a feature, and as many distinct positions as the order along each coordinate needs."""
    half = np.empty(points.shape[1])
    for a in range(points.shape[1]):
        places = np.unique(points[:, a])
        extent = float(np.ptp(places)) or 1.0
        gap = float(np.diff(places).max()) if places.size > 1 else extent
        half[a] = min(max(0.5 * min(features[a], extent), 1.05 * (int(highest[a]) + 1) * gap), extent)
    return half


def _exponents(highest: Index, degree: int, points: Array) -> list[Orders]:
    """Monomials of the fit: one order more than the derivatives, where there are positions enough."""
    most = [min(int(k) + 1, np.unique(points[:, a]).size - 1) for a, k in enumerate(highest)]
    return [e for e in product(*(range(m + 1) for m in most)) if sum(e) <= degree]
