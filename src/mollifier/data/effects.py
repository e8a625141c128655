"""Effects that whole rows of values have in common, and correlation along them.

The tests are exact to second order for independent values of one variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Literal, NamedTuple

import numpy as np

from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import chi2_tail, normal_tail

PART = 10  #: Columns over which a correlation is summed to see whether it is found everywhere.

MEDIAN = 0.455  #: Median of the square of a standard normal variable.


How = Literal["gain", "offset", "correlated"]


class Effect(NamedTuple):
    """Variance of an effect of each row, its p-value, and the share of it that most rows have.

    Then its part of the rows' variance, and twice the logarithm of the likelihood.
    """

    variance: float = 0.0
    p: float = 1.0
    common: float = 0.0
    part: float = 0.0
    likelihood: float = -np.inf


class Seen(NamedTuple):
    """What rows have in common, and the share of it that most of them have.

    ``part`` is in units of the variance; ``size`` is the standard deviation of the gain or offset, or of what
    is correlated.
    """

    how: How
    part: float
    size: float
    local: float


@dataclass(frozen=True, eq=False)
class Rows:
    """Values with their level, both (rows, columns), 0 where missing: each row a sensor or a frame."""

    values: Array
    level: Array  #: The field at their places.
    there: Array  #: 1 where there is a value.
    #: Neighbouring rows that hold the same noise count as one: the sum of their squared correlations.
    overlap: float = 1.0

    @property
    def variance(self) -> float:
        """Mean square."""
        return float((self.values**2).sum() / max(self.there.sum(), 1))

    def lagged(self, lag: int) -> tuple[float, float, float]:
        """Autocovariance along the rows, its p-value, and the share of it that most parts of rows have."""
        products = self.values[:, lag:] * self.values[:, :-lag]
        parts = np.arange(0, products.shape[1], PART)
        rows = np.add.reduceat(products, parts, axis=1) if products.shape[1] else np.zeros((1, 1))
        pairs = max(float((self.there[:, lag:] * self.there[:, :-lag]).sum()), 1.0)
        found, mean = float(rows.sum()) / pairs, float(np.mean(rows))
        z = products.sum() / np.sqrt(max(float((products**2).sum()) * self.overlap, 1e-300))
        return found, float(normal_tail(z)), float(np.median(rows)) / mean if mean > 0 else 0.0

    def effect(self, gain: bool) -> Effect:
        """An offset of each row, or a gain.

        Products of different nodes have no mean under white noise, so that its variance need not be known.
        """
        pattern = self.level * self.there if gain else self.there
        own, weighted = pattern**2, self.values * pattern
        power, sums, squares = own.sum(1), weighted.sum(1), weighted**2
        products, weight = sums**2 - squares.sum(1), power**2 - (own**2).sum(1)
        used = weight > 1e-9 * weight.max(initial=0.0)
        if used.sum() < 4:
            return Effect()
        # The variance of the sum, from the squares at their own places: they may differ from place to place.
        spread = 2 * float((squares.sum(1) ** 2 - (squares**2).sum(1))[used].sum()) * self.overlap
        products, weight, power, sums = products[used], weight[used], power[used], sums[used]
        z = products.sum() / np.sqrt(max(spread, 1e-300))
        degrees = max(weight.sum() ** 2 / (weight**2).sum() / self.overlap, 1.0)
        p = float(chi2_tail(degrees * (1 + z * np.sqrt(2 / degrees)), degrees)) if z > 0 else 1.0
        squares, found = sums**2 / power, max(float(products.sum() / weight.sum()), 0.0)
        # A front has it in a few rows only: the median of the squares then is that of the noise.
        excess = float(np.mean(products / power))
        typical = float(np.median(squares)) / MEDIAN - (float(np.mean(squares)) - excess)
        total, count = float((self.values[used] ** 2).sum()), float(self.there[used].sum())
        white = max(total - float(squares.sum()), 1e-3 * total) / max(count - used.sum(), 1.0)
        ratio = found * power / white
        likelihood = (
            np.sum(squares * ratio / (1 + ratio)) / white - np.sum(np.log1p(ratio)) - count * np.log(white)
        )
        share = found * float(power.sum()) / count
        return Effect(found, p, typical / excess if excess > 0 else 0.0, share, float(likelihood))

    def part(self, how: How) -> float:
        """Part of the variance that is a gain, an offset, or correlated with the next column."""
        return self.lagged(1)[0] if how == "correlated" else self.effect(how == "gain").part

    def seen(self, level: float) -> Seen | None:
        """What rows have in common where chance explains it with less than a probability ``level``."""
        near, close, local = self.lagged(1)
        effects: dict[How, Effect] = {"offset": self.effect(False), "gain": self.effect(True)}
        how, effect = max(effects.items(), key=lambda item: item[1].likelihood)
        if effect.p < level and (close > level or effect.part > 0.6 * near):
            size = np.sqrt(effect.variance)
            return Seen(how, effect.part, float(size), effect.common)
        return Seen("correlated", near, float(np.sqrt(near)), local) if close < level else None

    @property
    def length(self) -> float:
        """Columns after which the autocovariance has fallen to 1/e of that of neighbours."""
        near, most = self.lagged(1)[0], self.values.shape[1] // 2
        lags = (lag for lag in range(2, most) if self.lagged(lag)[0] < near / np.e)
        return float(next(lags, max(most, 2)) - 1)


def every(order: int) -> int:
    """Of so many windows in a row one is needed: by `overlap` the others add less than 3 %."""
    return 1 + (order > 2)


def overlap(order: int, every: int = 1) -> float:
    """Sum of the squared autocorrelation of a unit-norm difference of white noise, in every so many windows.

    >>> overlap(1), round(1 / overlap(8), 3), round(1 / 2 / overlap(8, 2), 3)
    (1.5, 0.276, 0.276)
    """
    lags = range(-order, order + 1)
    return sum((comb(2 * order, order + k) / comb(2 * order, order)) ** 2 for k in lags if k % every == 0)
