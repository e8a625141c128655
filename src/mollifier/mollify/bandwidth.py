"""Kernel width from the data: the shortest length over which the field changes, and what resolves it."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.distributions import chi2_upper
from mollifier.mollify.grid import Axis

# Pairs of points: neighbours of each point, at several distances, so that noise can be averaged past.
_NEIGHBOURS = 24
_MOST_POINTS = 20_000
_PAIRS = 10  # A slope counts when it is seen in about ten pairs: outliers are rarer, real fronts are not.
_SIGNIFICANT = 3.0  # Differences below this many standard errors (of a difference) are noise.
# Spectra: lines averaged, the share of the power that may lie beyond the corner, and rounding in it.
_LINES, _LEFT, _ROUNDING = 500, 1e-4, 1e-14


def feature_lengths(points: Array, values: Array, sd: Array) -> Array:
    """Shortest length along each coordinate over which the field changes by its whole range.

    The range of the values over the steepest slope seen between neighbouring samples, noise allowed for.
    Neighbours are found in the metric of the lengths themselves (three rounds), so that a front that is sharp
    along one coordinate does not pass for one along another.

    Points are (n, d), values and their standard errors (n,), and the lengths (d,), infinite along a
    coordinate where nothing changes beyond the noise.

    >>> x = np.linspace(0, 1, 400)[:, None]
    >>> front = np.tanh((x[:, 0] - 0.5) / 0.05)
    >>> bool(0.08 < feature_lengths(x, front, np.full(400, 1e-3))[0] < 0.12)
    True
    """
    if len(points) > _MOST_POINTS:
        keep = np.random.default_rng(0).choice(len(points), _MOST_POINTS, replace=False)
        points, values, sd = points[keep], values[keep], sd[keep]
    extent = np.ptp(points, axis=0)
    extent = np.where(extent > 0, extent, 1.0)
    spread = float(np.subtract(*np.percentile(values, [99.5, 0.5])))
    lengths = np.full(points.shape[1], np.inf)
    if len(points) < 3 or spread <= _SIGNIFICANT * float(np.median(sd)):
        return lengths
    metric = extent.copy()
    for _ in range(3):
        step, along, change = neighbour_changes(points, values, sd, metric, np.arange(len(points)))
        for a in range(points.shape[1]):
            here = along[..., a]
            if not here.any():
                continue
            slopes = np.sort(change[here] / (step[here, a] * metric[a]))[::-1]
            slope = slopes[min(_PAIRS, len(slopes)) - 1]
            lengths[a] = spread / slope if slope > 0 else np.inf
        metric = np.minimum(np.where(np.isfinite(lengths), lengths, extent), extent)
    return lengths


def neighbour_changes(
    points: Array, values: Array, sd: Array, metric: Array, some: Index
) -> tuple[Array, Mask, Array]:
    """Distances of points to neighbours, (m, k, d), whether mainly along a coordinate, and changes, (m, k).

    Distances are in the metric; changes are beyond the noise, 0 where they are noise.
    """
    count = min(_NEIGHBOURS, len(points) - 1)
    near = np.asarray(KDTree(points / metric).query(points[some] / metric, count + 1)[1])[:, 1:]
    step = np.abs(points[near] - points[some, None]) / metric
    others = [np.delete(step, a, axis=-1).max(axis=-1, initial=0.0) for a in range(step.shape[-1])]
    noise = _SIGNIFICANT * np.hypot(sd[near], sd[some, None])
    change = np.maximum(np.abs(values[near] - values[some, None]) - noise, 0.0)
    return step, step > 2 * np.stack(others, axis=-1), change


def spectral_corner(values: Array, dimension: int, axis: Axis, variance: float) -> float:
    """Wavenumber along one axis, in radians per unit, up to which the data rise above their noise.

    The power spectrum along the axis is averaged over the others, after the straight line through the ends is
    taken away (which leaves nothing of the jump from end to start). What does not exceed the noise is left
    out; the corner is the wavenumber below which all but 1e-4 of the remaining power lies.

    The values are on a grid and none is missing; ``axis`` has the nodes along a dimension of theirs, of which
    uneven ones are taken in their order; ``variance`` is that of the noise.

    >>> axis = Axis("x", 0.0, 2 * np.pi, 200, periodic=True)
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal((200, 50))
    >>> round(spectral_corner(np.sin(5 * axis.points)[:, None] + noise, 0, axis, 1e-4))
    5
    """
    lines = np.moveaxis(values, dimension, -1).reshape(-1, axis.size)
    total = np.cumsum(signal_spectrum(lines, axis.periodic, variance))
    period = axis.length if axis.periodic else 2 * axis.length
    if not total[-1] > 0:
        return 2 * np.pi / period
    return 2 * np.pi / period * max(int(np.searchsorted(total, (1 - _LEFT) * total[-1])), 1)


def signal_spectrum(lines: Array, periodic: bool, variance: float) -> Array:
    """Mean power of lines (m, n) by the number of waves, less that of the noise; 0 where it may be noise.

    Lines that do not wrap are continued as odd functions about their ends, to twice the length.
    """
    if len(lines) > _LINES:
        lines = lines[:: len(lines) // _LINES]
    rounding = (_ROUNDING * np.abs(lines).max()) ** 2
    if not periodic:
        s = np.linspace(0.0, 1.0, lines.shape[1])
        lines = lines - lines[:, :1] * (1 - s) - lines[:, -1:] * s
        lines = np.concatenate([lines, -lines[:, -2:0:-1]], axis=1)  # odd about its ends: no jump
    power = np.mean(np.abs(np.fft.rfft(lines - lines.mean(1, keepdims=True))) ** 2, axis=0) / lines.shape[1]
    # The largest power that noise alone would show, but for one in a hundred fields.
    level = max(variance, rounding)
    ceiling = level * chi2_upper(0.01 / len(power), len(lines)) / len(lines)
    signal = np.where(power > ceiling, power - level, 0.0)
    signal[0] = 0.0
    return signal
