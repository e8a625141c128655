"""Fields of few levels: which they are, and a field read as one of them at each place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mollifier.engines.priors.tuning import PriorTuning
from mollifier.mollify.arrays import Array

_STEPS = 100  # Steps of expectation and maximisation: between levels that errors separate, a few suffice.
_LEAST_SHARE = 1e-12  # Least share of a level, so that its logarithm is finite.


@dataclass(frozen=True, eq=False)
class FewLevels:
    """The levels of a field, and the probability of each at every place."""

    levels: Array  #: Increasing, shape (k,).
    chances: Array  #: Shape (n, k); each row adds up to one.

    def read(self, values: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (n,) of what has one of some values (k,) at each level."""
        mean = self.chances @ values
        return mean, np.sqrt(np.sum(self.chances * (values - mean[:, None]) ** 2, axis=1))


def few_levels(field: Array, sd: Array, tuning: PriorTuning) -> FewLevels | None:
    """The fewest levels that an estimated field has within its errors; None if it takes too many.

    The field is a mixture of constants seen with normal errors, fitted by expectation and maximisation; by
    Bayes' theorem an estimate and its error give the probability of each level (Robbins, Ann. Math. Stat.
    35:1, 1964).

    ``field`` and ``sd`` are estimates and their standard errors, (n,).

    >>> field = np.repeat([1.02, 2.6, 2.98], [50, 2, 40])
    >>> found = few_levels(field, np.repeat([0.1, 0.6, 0.1], [50, 2, 40]), PriorTuning())
    >>> found.levels.round(2).tolist(), found.chances[50].round(2).tolist()
    ([1.02, 2.98], [0.04, 0.96])
    >>> few_levels(np.linspace(0, 1, 50), np.full(50, 0.01), PriorTuning()) is None
    True
    """
    for count in range(2, tuning.most_levels + 1):
        levels, shares = np.linspace(field.min(), field.max(), count), np.full(count, 1 / count)
        for _ in range(_STEPS):
            chances, _ = _expected(field, sd, levels, shares)
            weights = chances / sd[:, None] ** 2 + _LEAST_SHARE
            levels = (weights * field[:, None]).sum(axis=0) / weights.sum(axis=0)
            shares = np.maximum(chances.mean(axis=0), _LEAST_SHARE)
        chances, misfit = _expected(field, sd, levels, shares)
        if misfit <= tuning.level_misfit and np.diff(levels).min() > tuning.level_distance * np.median(sd):
            return FewLevels(levels, chances)
    return None


def _expected(field: Array, sd: Array, levels: Array, shares: Array) -> tuple[Array, float]:
    """Probabilities (n, k) of the levels, and the mean squared distance from them in standard errors."""
    squares = ((field[:, None] - levels) / sd[:, None]) ** 2
    logs = np.log(shares) - squares / 2
    chances = np.exp(logs - logs.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return chances, float(np.mean(np.sum(chances * squares, axis=1)))
