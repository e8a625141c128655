"""What errors at neighbouring places have in common."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import normal_tail

# Neighbours of a place; errors that are compared at most, and at least.
_NEIGHBOURS, _MOST, _LEAST = 8, 20_000, 20


def neighbour_correlation(errors: Array, points: Array) -> tuple[float, float | None]:
    """The error that neighbours share: Moran's I over the eight nearest neighbours of each point.

    ``I * mean square`` (Moran, Biometrika 37:17, 1950, about zero) estimates the variance that neighbours
    share; its root is returned, 0 where it is negative. Its chance is that of a normal distribution with the
    moments of I under random order and random signs of the errors; one-sided, since a fit to noise leaves
    neighbours with errors of unlike signs.
    """
    if errors.size > _MOST:
        keep = np.random.default_rng(0).choice(errors.size, _MOST, replace=False)
        errors, points = errors[keep], points[keep]
    n = errors.size
    if n < _LEAST or not np.ptp(errors):
        return 0.0, None
    extent = np.ptp(points, axis=0)
    scaled = points[:, extent > 0] / extent[extent > 0]
    if not scaled.shape[1]:
        return 0.0, None
    count = min(_NEIGHBOURS, n - 1)
    nearest = np.asarray(KDTree(scaled).query(scaled, count + 1)[1])
    own = nearest == np.arange(n)[:, None]
    own[:, -1] |= ~own.any(axis=1)  # where several points coincide, a point may not be its nearest
    first, second = np.repeat(np.arange(n), count), nearest[~own]
    z = errors  # about zero, not about the mean: neighbours share an offset
    square = float(np.mean(z**2))
    moran = float(np.mean(z[first] * z[second])) / square
    # Moments about zero under random order and random sign.
    pairs = np.unique(np.sort(np.stack([first, second], 1), axis=1), axis=0, return_counts=True)[1]
    variance = float(np.sum(pairs.astype(float) ** 2)) / len(first) ** 2
    return float(np.sqrt(max(moran, 0.0) * square)), float(normal_tail(moran / np.sqrt(variance)))
