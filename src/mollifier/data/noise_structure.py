"""What the noise of gridded data is besides white.

Effects of sensors and frames, correlation, dependence on the level, tails, steps.

A difference of high order along one axis removes a smooth field and leaves a combination of the noise. White
noise then has no correlation along any *other* axis, for every order of difference; one gain or offset for
each sensor, or correlation in time, has the same one for every order; and what a difference leaves of a field
has less with every order. Differences along all axes leave independent noise alone: their size is compared
with the local level of the field, and with a normal distribution.

The tests are exact to second order under white noise: the autocorrelation of unit-norm differences is known,
so that a sum over overlapping windows counts as ``windows / sum r^2`` independent ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm, rankdata

from mollifier.data.noise import central, difference, weights_of
from mollifier.data.noise_findings import Kind, NoiseFinding

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseTuning:
    """Numbers that steer the tests."""

    #: Level of each test; a solve has about ten, most of them dependent.
    level: float = 5e-4
    #: Highest order of difference along one axis, and along all of them together.
    order: int = 8
    mixed: int = 4
    #: Lowest order along one axis that removes a field, and nodes that an axis has for each order.
    least_order: int = 5
    nodes_per_order: float = 2.5
    #: What one more order leaves of an effect of the noise; of a field of four nodes a wave it leaves 0.53.
    flat: float = 0.8
    #: Share of an effect that most windows have; below it is local, as a front is.
    spread: float = 0.15
    #: Standard deviations at which differences are cut.
    clip: float = 4.0
    #: Share of the rms below which an effect does not matter.
    least: float = 3e-4
    #: A structure is grave where it widens the variance of a mean over so many nodes by such a share.
    window: int = 10
    grave: float = 0.44
    #: Ninth over first decile of the standard error from which its dependence on the level is grave.
    contrast: float = 5.0
    #: Ratio of the noise that the data show and the noise given, from which one of them is mistaken.
    mistaken: float = 3.0
    #: Excess kurtosis, per value, from which tails are noted.
    tails: float = 1.0
    #: Values that a difference is computed of at most.
    values: int = 300_000


DEFAULT = NoiseTuning()
_EFFECTS: dict[tuple[bool, str], Kind] = {
    (True, "gain"): "sensor_gain",
    (True, "offset"): "sensor_offset",
    (False, "gain"): "frame_gain",
    (False, "offset"): "frame_offset",
}
# Median of the square of a standard normal variable.
_MEDIAN = 0.455


def noise_structure(
    values: Array,
    nodes: Sequence[Array],
    names: Sequence[str],
    time: str | None,
    given: Array | None = None,
    tuning: NoiseTuning = DEFAULT,
) -> tuple[NoiseFinding, ...]:
    """What the noise of a field on a grid is besides white.

    Parameters
    ----------
    values
        Shape (repeats, *grid), NaN = missing.
    nodes, names
        Of each axis of the grid.
    time
        The axis whose nodes are frames; the others place the sensors. None if there is none.
    given
        Standard errors, broadcast to the values: what they say of the noise is no finding.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, t = np.linspace(0, 1, 40), np.linspace(0, 1, 30)
    >>> u = np.exp(-t) * (2 + np.sin(6 * x[:, None])) * (1 + 0.02 * rng.standard_normal((40, 1)))
    >>> [f.kind for f in noise_structure(u[None], (x, t), ("x", "t"), "t")]
    ['sensor_gain']
    """
    finite = values[np.isfinite(values)]
    rms = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    if not rms > 0:
        return ()
    found: dict[tuple[str, str], NoiseFinding] = {}
    for a in range(len(nodes)):
        for b in range(len(nodes)):
            if a != b and (one := _across(values, nodes, names, time, a, b, rms, tuning)):
                key = one.kind, one.along
                if key not in found or found[key].sd < one.sd:
                    found[key] = one
    return (*found.values(), *_pointwise(values, nodes, given, rms, tuning), *_steps(finite, rms, tuning))


def highest_order(n: int, tuning: NoiseTuning = DEFAULT) -> int:
    """The highest order of difference along an axis of n nodes; 0 where none leaves enough windows."""
    order = min(tuning.order, int(n / tuning.nodes_per_order))
    return order if order >= tuning.least_order else 0


def overlap(order: int) -> float:
    """Sum of the squared autocorrelation of a unit-norm difference of white noise.

    >>> overlap(1)
    1.5
    """
    return comb(4 * order, 2 * order) / comb(2 * order, order) ** 2


class _Effect(NamedTuple):
    """Variance of an effect of each row, its p-value, and the share of it that most rows have.

    Then its part of the rows' variance, and twice the logarithm of the likelihood.
    """

    variance: float = 0.0
    p: float = 1.0
    common: float = 0.0
    part: float = 0.0
    likelihood: float = -np.inf


@dataclass(frozen=True, eq=False)
class _Crossed:
    """Differences along one axis, as rows of windows along another: both (rows, nodes), 0 where missing."""

    values: Array
    level: Array
    there: Array
    order: int

    @property
    def variance(self) -> float:
        return float((self.values**2).sum() / max(self.there.sum(), 1))

    def lagged(self, lag: int) -> tuple[float, float, float]:
        """Autocovariance along the rows, its p-value, and the share of it that most parts of rows have."""
        products = self.values[:, lag:] * self.values[:, :-lag]
        parts = np.arange(0, products.shape[1], DEFAULT.window)
        rows = np.add.reduceat(products, parts, axis=1) if products.shape[1] else np.zeros((1, 1))
        pairs = max(float((self.there[:, lag:] * self.there[:, :-lag]).sum()), 1.0)
        found, mean = float(rows.sum()) / pairs, float(np.mean(rows))
        z = found / max(self.variance, 1e-300) * np.sqrt(pairs / overlap(self.order))
        return found, float(norm.sf(z)), float(np.median(rows)) / mean if mean > 0 else 0.0

    def effect(self, gain: bool) -> _Effect:
        """An offset of each row, or a gain.

        Products of different nodes have no mean under white noise, so that its variance need not be known.
        """
        pattern = self.level * self.there if gain else self.there
        power, sums = (pattern**2).sum(1), (self.values * pattern).sum(1)
        products = sums**2 - ((self.values * pattern) ** 2).sum(1)
        weight = power**2 - (pattern**4).sum(1)
        used = weight > 1e-9 * weight.max(initial=0.0)
        if used.sum() < 4:
            return _Effect()
        products, weight, power, sums = products[used], weight[used], power[used], sums[used]
        z = products.sum() / np.sqrt(2 * weight.sum() * overlap(self.order)) / max(self.variance, 1e-300)
        degrees = max(weight.sum() ** 2 / (weight**2).sum() / overlap(self.order), 1.0)
        p = float(chi2.sf(degrees * (1 + z * np.sqrt(2 / degrees)), degrees)) if z > 0 else 1.0
        squares, found = sums**2 / power, max(float(products.sum() / weight.sum()), 0.0)
        # A front has it in a few rows only: the median of the squares then is that of the noise.
        excess = float(np.mean(products / power))
        typical = float(np.median(squares)) / _MEDIAN - (float(np.mean(squares)) - excess)
        total, count = float((self.values[used] ** 2).sum()), float(self.there[used].sum())
        white = max(total - float(squares.sum()), 1e-3 * total) / max(count - used.sum(), 1.0)
        ratio = found * power / white
        likelihood = (
            np.sum(squares * ratio / (1 + ratio)) / white - np.sum(np.log1p(ratio)) - count * np.log(white)
        )
        share = found * float(power.sum()) / count
        return _Effect(found, p, typical / excess if excess > 0 else 0.0, share, float(likelihood))


def _crossed(u: Array, x: Array, a: int, b: int, order: int, tuning: NoiseTuning) -> _Crossed:
    """Differences along axis ``a`` of (repeats, *grid), as rows along axis ``b``; cut at a few deviations."""
    lines = np.moveaxis(u, (a + 1, b + 1), (-2, -1))
    lines = lines.reshape(-1, *lines.shape[-2:])
    lines = lines[:: 1 + lines.size // tuning.values]
    lines = np.moveaxis(lines, 1, -1)
    found = difference(lines, x, order)
    squares, windows = weights_of(x, order) ** 2, found.shape[-1]
    level = reduce(np.add, (lines[..., j : j + windows] * squares[:, j] for j in range(order + 1)))
    found, level = (np.moveaxis(v, -1, 1).reshape(-1, lines.shape[1]) for v in (found, level))
    there = np.isfinite(found)
    typical = np.median(np.abs(found[there])) / 0.6745 if there.any() else 0.0
    cut = tuning.clip * typical
    found = np.clip(np.where(there, found, 0.0), -cut, cut)
    return _Crossed(found, np.where(there, level, 0.0), there.astype(float), order)


def _across(
    u: Array,
    nodes: Sequence[Array],
    names: Sequence[str],
    time: str | None,
    a: int,
    b: int,
    rms: float,
    tuning: NoiseTuning,
) -> NoiseFinding | None:
    """What is common to the nodes of axis ``b``, seen in differences along axis ``a``."""
    order = highest_order(nodes[a].size, tuning)
    if not order or nodes[b].size < 4:
        return None
    high, low = (_crossed(u, nodes[a], a, b, k, tuning) for k in (order, order - 1))
    total = high.variance
    if total < (tuning.least * rms) ** 2:
        return None
    near, close, local = high.lagged(1)
    best = max(("offset", "gain"), key=lambda kind: high.effect(kind == "gain").likelihood)
    effect = high.effect(best == "gain")
    if min(close, effect.p) > tuning.level:
        return None
    long = effect.p < tuning.level and (close > tuning.level or effect.part > 0.6 * near)
    if long:
        left, local = effect.variance / max(low.effect(best == "gain").variance, 1e-300), effect.common
    else:
        left = near / max(low.lagged(1)[0], 1e-300)
    part = effect.part if long else near
    if left < tuning.flat or local < tuning.spread or part < (tuning.least * rms) ** 2:
        return None
    grave = part / total * min(tuning.window, nodes[b].size) > tuning.grave
    size, sd = float(np.sqrt(part)) / rms, float(np.sqrt(total))
    if long and time is not None and time in (names[a], names[b]):
        whose: Kind = _EFFECTS[names[b] == time, best]
        size = float(np.sqrt(effect.variance)) if best == "gain" else size
        return NoiseFinding(whose, size, names[b], 0.0, grave, sd)
    spacing = float(np.median(np.diff(nodes[b])))
    return NoiseFinding("correlated", size, names[b], spacing * _length(high, near), grave, sd)


def _length(rows: _Crossed, near: float) -> float:
    """Lag, in nodes, at which the autocovariance has fallen to 1/e of that at lag 1, less one."""
    most = rows.values.shape[1] // 2
    for lag in range(2, most):
        if rows.lagged(lag)[0] < near / np.e:
            return lag - 1.0
    return float(max(most, 1))


def _averaged(level: Array, nodes: Sequence[Array], order: int) -> Array:
    """Means over the windows of differences along all axes, weighted by the squares of their weights."""
    for axis, x in enumerate(nodes, start=1):
        moved, squares = np.moveaxis(level, axis, -1), weights_of(x, order) ** 2
        parts = (moved[..., j : j + len(squares)] * squares[:, j] for j in range(order + 1))
        level = np.moveaxis(reduce(np.add, parts), -1, axis)
    return level


def _mixed(u: Array, nodes: Sequence[Array], order: int) -> Array:
    """Differences of one order along all axes."""
    for axis, x in enumerate(nodes, start=1):
        u = np.moveaxis(difference(np.moveaxis(u, axis, -1), x, order), -1, axis)
    return u


def _pointwise(
    u: Array, nodes: Sequence[Array], given: Array | None, rms: float, tuning: NoiseTuning
) -> Iterator[NoiseFinding]:
    """Size, dependence on the level, and tails of independent noise."""
    lowest = int(min(x.size for x in nodes) / tuning.nodes_per_order)
    order = min(tuning.mixed, lowest) if len(nodes) > 1 else highest_order(nodes[0].size, tuning)
    if order < 2:
        return
    shape, cut = u.shape, tuple(central(u.shape[1:], tuning.values))
    u, nodes = u[(slice(None), *cut)], [x[c] for x, c in zip(nodes, cut, strict=True)]
    e, before = _mixed(u, nodes, order), _mixed(u, nodes, order - 1)
    there = np.isfinite(e)
    if there.sum() < 100:
        return
    sd, white = float(np.sqrt(np.mean(e[there] ** 2))), np.nanmedian(e**2) / _MEDIAN
    e, level = e[there], np.abs(_averaged(u, nodes, order)[there])
    noisy = white > max((tuning.least * rms) ** 2, tuning.flat * np.nanmedian(before**2) / _MEDIAN)
    if given is not None:
        squares = _averaged(np.broadcast_to(given, shape)[(slice(None), *cut)] ** 2, nodes, order)[there]
        typical = float(np.sqrt(np.median(squares)))
        if noisy and np.sqrt(white) > tuning.mistaken * typical:
            yield NoiseFinding("more than given", float(np.sqrt(white)) / rms, sd=sd)
        elif sd < typical / tuning.mistaken and typical > tuning.least * rms:
            yield NoiseFinding("less than given", sd / rms, grave=False)
        if typical > 0:
            e = e / np.maximum(np.sqrt(squares) / typical, 1e-3)
    if noisy:
        count, fourth = e.size / overlap(order) ** len(nodes), _fourth(order) ** len(nodes)
        yield from _shape(e, level, count, sd, fourth, tuning)


def _fourth(order: int) -> float:
    """Sum of the fourth powers of the weights of a unit-norm difference."""
    return sum(comb(order, j) ** 4 for j in range(order + 1)) / comb(2 * order, order) ** 2


def _shape(
    e: Array, level: Array, count: float, sd: float, fourth: float, tuning: NoiseTuning
) -> Iterator[NoiseFinding]:
    """Dependence of differences (n,), worth ``count`` independent ones, on the level, and their tails."""
    squares = e**2
    ranks = np.corrcoef(rankdata(squares), rankdata(level))[0, 1]
    if norm.sf(ranks * np.sqrt(count)) < tuning.level:
        floor, slope = _growth(np.minimum(squares, tuning.clip**2 * np.median(squares) / _MEDIAN), level**2)
        low, high = np.quantile(np.sqrt(floor + slope * level**2), (0.1, 0.9))
        yield NoiseFinding("relative", float(np.sqrt(slope)), grave=bool(high > tuning.contrast * low), sd=sd)
        return
    excess = float(np.mean(squares**2) / np.mean(squares) ** 2 - 3)
    if norm.sf(excess / np.sqrt(24 / count)) < tuning.level and excess / fourth > tuning.tails:
        yield NoiseFinding("tails", excess / fourth, grave=False, sd=sd)


def _growth(squares: Array, level: Array) -> tuple[float, float]:
    """Coefficients of ``squares = floor + slope * level``, weighted by their own variance."""
    fitted = np.ones_like(squares)
    floor = slope = 0.0
    for _ in range(5):
        columns = np.stack([np.ones_like(level), level], axis=1) / fitted[:, None]
        (floor, slope), *_ = np.linalg.lstsq(columns, squares / fitted, rcond=None)
        floor, slope = max(floor, 0.0), max(slope, 0.0)
        fitted = np.maximum(floor + slope * level, 1e-3 * np.mean(squares))
    return float(floor), float(slope)


def _steps(finite: Array, rms: float, tuning: NoiseTuning) -> Iterator[NoiseFinding]:
    """Rounding to steps that are not small beside the rest of the noise."""
    different = np.unique(finite)
    if finite.size < 100 or different.size > finite.size // 4 or different.size < 3:
        return
    gaps = np.diff(different)
    step = float(gaps[gaps > 1e-9 * rms].min(initial=np.inf))
    whole = np.abs(gaps / step - np.round(gaps / step)) < 1e-3 * np.maximum(gaps / step, 1)
    if np.isfinite(step) and step > tuning.least * rms and whole.mean() > 0.99:
        yield NoiseFinding("steps", step / rms, grave=False)
