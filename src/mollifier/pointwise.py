"""A field's derivatives at some of its samples, by local polynomial fits: for looking, not for estimating.

The fit at a centre weighs its neighbours by the tricube of their distance (Cleveland, JASA 74:829, 1979). Its
window is half the shortest feature wide on each side, so its standard errors say what the data can show of a
derivative at a single place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from mollifier.data import Samples

Array = NDArray[np.float64]
Orders = tuple[int, ...]

_MOST_NEIGHBOURS = 200
_AROUND = 24
# Singular values below this part of the largest belong to directions that the points do not span.
_RANK = 1e-8


@dataclass(frozen=True)
class LocalFit:
    """Values and standard errors at n centres, by multi-index.

    Attributes
    ----------
    values, sd
        Multi-index -> shape (n,).
    lengths
        Half-width of the window along each coordinate, shape (d,).
    """

    values: Mapping[Orders, Array]
    sd: Mapping[Orders, Array]
    lengths: Array


def local_fits(samples: Samples, centres: Array, orders: Sequence[Orders], features: Array) -> LocalFit:
    """Derivatives of one variable at given centres.

    Parameters
    ----------
    samples
        The variable's samples, n of them over d coordinates.
    centres
        Shape (m, d).
    orders
        Multi-indices of length d.
    features
        Shortest feature along each coordinate, shape (d,); infinite where none was seen.

    Examples
    --------
    >>> x = np.linspace(0, 1, 60)[:, None]
    >>> samples = Samples(("x",), x, x[:, 0] ** 2, np.full(60, 1e-4))
    >>> fit = local_fits(samples, x[20:22], [(0,), (2,)], np.array([0.5]))
    >>> fit.values[(2,)].round(6)
    array([2., 2.])
    """
    points = samples.points
    highest = np.max(np.array([*orders, (0,) * points.shape[1]]), axis=0)
    half = _windows(points, highest, features)
    exponents = _exponents(highest, max(sum(o) for o in orders) + 1, points)
    tree = KDTree(points / half)
    near, distance = _neighbours(tree, centres / half, 2 * len(exponents), len(points))
    local = (points[near] - centres[:, None, :]) / half
    reach = np.maximum(distance[:, -1:], 1e-12) * 1.001
    weight = np.sqrt(np.clip(1 - (distance / reach) ** 3, 0.0, 1.0) ** 3)
    design = np.stack([np.prod(local ** np.array(e), axis=-1) for e in exponents], axis=-1)
    left, s, right = np.linalg.svd(design * weight[..., None], full_matrices=False)
    inverse = np.where(s > _RANK * s[:, :1], 1 / np.where(s > 0, s, 1.0), 0.0)
    solve = np.einsum("mrq,mr,mkr->mqk", right, inverse, left) * weight[:, None, :]
    values, sd = {}, {}
    for o in orders:
        if o not in exponents:
            values[o] = np.full(len(centres), np.nan)
            sd[o] = np.full(len(centres), np.nan)
            continue
        row = solve[:, exponents.index(o), :] * np.prod(
            [factorial(k) / h**k for k, h in zip(o, half, strict=True)]
        )
        values[o] = np.einsum("mk,mk->m", row, samples.values[near])
        sd[o] = np.sqrt(np.einsum("mk,mk->m", row**2, samples.sd[near] ** 2))
    return LocalFit(values, sd, half)


def _windows(points: Array, highest: NDArray[np.intp], features: Array) -> Array:
    """Half a feature, and as many distinct positions as the order along each coordinate asks for."""
    half = np.empty(points.shape[1])
    for a in range(points.shape[1]):
        places = np.unique(points[:, a])
        extent = float(np.ptp(places)) or 1.0
        gap = float(np.max(np.diff(places), initial=0.0)) if places.size > 1 else extent
        half[a] = min(max(0.5 * min(features[a], extent), 1.05 * (int(highest[a]) + 1) * gap), extent)
    return half


def _exponents(highest: NDArray[np.intp], degree: int, points: Array) -> list[Orders]:
    """Monomials of the fit: one order more than is asked for, where the positions can tell them apart."""
    most = [min(int(k) + 1, np.unique(points[:, a]).size - 1) for a, k in enumerate(highest)]
    return [e for e in product(*(range(m + 1) for m in most)) if sum(e) <= degree]


def _neighbours(tree: KDTree, centres: Array, least: int, size: int) -> tuple[NDArray[np.intp], Array]:
    """The same number of nearest samples for each centre: those within the window of a typical one."""
    inside = tree.query_ball_point(centres, 1.0, return_length=True)
    count = min(max(int(np.median(inside)), least, 2), max(_MOST_NEIGHBOURS, least), size)
    distance, near = tree.query(centres, count)
    return near.reshape(len(centres), -1), distance.reshape(len(centres), -1)


def jumps(samples: Samples, features: Array, least: float) -> Iterator[tuple[int, float]]:
    """Fronts that neighbouring samples straddle.

    Parameters
    ----------
    samples
        One variable, over d coordinates.
    features
        Shortest feature along each coordinate, shape (d,).
    least
        Change between neighbours, noise allowed for, that counts: a part of the field's range.

    Returns
    -------
    for each coordinate how many samples differ so from the next one, and the steepest front's width.

    Examples
    --------
    >>> x = np.linspace(0, 1, 40)[:, None]
    >>> samples = Samples(("x",), x, np.sign(x[:, 0] - 0.51), np.full(40, 1e-3))
    >>> [(count, round(width, 3)) for count, width in jumps(samples, np.array([0.1]), 0.25)]
    [(2, 0.026)]
    """
    points, values = samples.points, samples.values
    extent = np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1.0)
    metric = np.minimum(features, extent)
    spread = float(np.subtract(*np.percentile(values, [99.5, 0.5])))
    count = min(_AROUND, len(points) - 1)
    near = np.asarray(KDTree(points / metric).query(points / metric, count + 1)[1])[:, 1:]
    step = np.abs(points[near] - points[:, None, :]) / metric
    noise = 3.0 * np.hypot(samples.sd[near], samples.sd[:, None])
    change = np.maximum(np.abs(values[near] - values[:, None]) - noise, 0.0) / (spread or 1.0)
    for a in range(points.shape[1]):
        along = (step[..., a] > 2 * np.delete(step, a, axis=-1).max(axis=-1, initial=0.0)) & (
            step[..., a] > 0
        )
        first = np.argmin(np.where(along, step[..., a], np.inf), axis=1)
        index = np.arange(len(points)), first
        jump = along[index] & (change[index] > least)
        width = np.sort(step[..., a][index][jump] * metric[a] / change[index][jump])
        yield int(jump.sum()), float(width[min(2, len(width)) - 1]) if len(width) else np.inf
