"""Noise that neighbouring samples share, where they are too few for their residuals to show it.

Of 25 residuals with a correlation of 0.3 no test tells whether it is one. The correlation rho of neighbours,
rho^(distance/spacing) along the series of a sensor, is therefore averaged over its posterior, with a prior of
one half for white noise and one half evenly from 0 to 0.9. The likelihood is the restricted one, of what the
fit leaves of the data (Patterson and Thompson, Biometrika 58:545, 1971): a fit to correlated noise leaves
residuals that look less correlated. The variance of an unknown is that of the same estimate under such noise.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from mollifier.data.series import series
from mollifier.engines.collocated.data_rows import DataRows
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.engines.linalg.dense import lower_factor
from mollifier.mollify.arrays import Array

_RHO = np.linspace(0.0, 0.9, 19)
_WHITE = 0.5  # Probability of white noise before there are data.
_LEFT = 0.5  # Share that a fit leaves of a direction of the data from which it shows the noise.
_SHARE = 1e-3  # Of the posterior, below which a correlation does not count.


def separations(objective: Objective, target: Target, data: DataRows) -> Array | None:
    """Distances (m, m) of the samples of a field along the series of their sensors, in those of neighbours.

    They are infinite between sensors, and NaN for rows without a sample. None where samples are no series or
    too many, of which residuals show a correlation, and where it is declared.
    """
    problem, places = objective.model.problem, objective.model.places[target.block].columns
    declared = {e.kind for e in problem.data.noise_effects(target.name)}
    along, sensor = series({c: x[data.places] for c, x in places.items()})
    there = data.share > 0
    if "correlated" in declared or not along or there.sum() > objective.tuning.most_correlated:
        return None
    at = places[along][data.places]
    order = np.lexsort((at, sensor, ~there))[: int(there.sum())]
    gaps = np.diff(at[order])[np.diff(sensor[order]) == 0]
    if not gaps.size:
        return None
    apart = np.abs(at[:, None] - at) / np.median(gaps)
    apart[sensor[:, None] != sensor] = np.inf
    apart[~(there[:, None] & there)] = np.nan
    return apart


def widening(values: Array, moved: Array, fitted: Array, apart: Array) -> Array:
    """Variance (p,) of estimates under noise that may be correlated, over that under white noise; at least 1.

    ``values`` are residuals (m,), ``moved`` (m, p) the change of each estimate by each sample, ``fitted``
    (m, m) that of the fit by the samples, and ``apart`` (m, m) are `separations`.
    """
    there = np.isfinite(np.diag(apart))
    values, moved = values[there], moved[there]
    fitted, apart = fitted[np.ix_(there, there)], apart[np.ix_(there, there)]
    left, free = np.linalg.eigh(np.eye(len(values)) - fitted)
    free, left = free[:, left > _LEFT], left[left > _LEFT]
    noise = free.T @ values / left
    if not noise.any():
        return np.ones(moved.shape[1])
    squares, logs = np.zeros(_RHO.size), np.full(_RHO.size, -np.inf)
    for i, rho in enumerate(_RHO):
        factor = lower_factor(free.T @ rho**apart @ free)
        if factor is not None:
            squares[i] = np.square(solve_triangular(factor, noise, lower=True)).sum()
            logs[i] = -np.log(np.diag(factor)).sum() - len(noise) / 2 * np.log(squares[i])
    shares = np.exp(logs - logs.max()) * np.where(_RHO > 0, (1 - _WHITE) / (_RHO.size - 1), _WHITE)
    shares /= shares.sum()
    alone = np.maximum(np.square(moved).sum(axis=0), 1e-300)
    found = np.zeros(moved.shape[1])
    for share, rho, square in zip(shares, _RHO, squares / squares[0], strict=True):
        if share > _SHARE:
            found += share * square * np.sum(moved * (rho**apart @ moved), axis=0) / alone
    return np.maximum(found, 1.0)
