"""Strengths of the smoothness priors by the marginal likelihood of the linearised problem (evidence)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from mollifier.engines.joint_system import Bordered

Array = NDArray[np.float64]

# Strengths looked at, natural logarithm; most change of one in a single update.
_RANGE = (np.log(1e-12), np.log(1e6))
_CHANGE = np.log(1e3)
_ROUNDS = 3


def deviance(system: Bordered, strengths: Mapping[str, float], count: int) -> float:
    """Minus twice the logarithm of the marginal likelihood of the strengths, up to a constant.

    The problem is taken as linear about where the system was formed, and the loss, times ``count``, as minus
    twice a log-likelihood: least value + log det(curvature) - rank * log(strength).
    """
    schur, reduced = system.schur * count, system.reduced * count
    value, priors = 0.0, 0.0
    for name, prior in system.priors.items():
        a = strengths[name] * count
        schur[prior.columns, prior.columns] += a * prior.square
        reduced[prior.columns] += a * prior.gradient
        value += a * prior.value
        priors += prior.log_determinant(a)
        schur[prior.columns, prior.columns] += prior.held * np.eye(len(prior.square))
    try:
        factor = np.linalg.cholesky(schur)
    except np.linalg.LinAlgError:
        return np.inf
    descent = np.linalg.solve(factor, reduced)
    return value - float(descent @ descent) + 2 * float(np.log(np.diag(factor)).sum()) - priors


def best_strengths(system: Bordered, free: list[str], count: int) -> dict[str, float]:
    """Strengths of greatest marginal likelihood of the fields named, the others as they are."""
    strengths = dict(system.strengths)
    for _ in range(_ROUNDS if len(free) > 1 else 1):
        for name in free:
            start = np.log(max(strengths[name], 1e-12))

            def along(x: float, name: str = name) -> float:
                return deviance(system, {**strengths, name: float(np.exp(x))}, count)

            low, high = max(start - _CHANGE, _RANGE[0]), min(start + _CHANGE, _RANGE[1])
            strengths[name] = float(np.exp(minimise(along, low, high)))
    return strengths


def minimise(
    function: Callable[[float], float], low: float, high: float, looks: int = 9, tolerance: float = 0.05
) -> float:
    """The least of a function of one number between bounds: looked for on a grid, then by Brent's method.

    Examples
    --------
    >>> round(minimise(lambda x: (x - 0.3) ** 2, -5.0, 5.0), 1)
    0.3
    """
    grid = np.linspace(low, high, looks)
    values = [function(float(x)) for x in grid]
    best = int(np.argmin(values))
    bracket = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, looks - 1)])
    found = minimize_scalar(function, bounds=bracket, method="bounded", options={"xatol": tolerance})
    return float(found.x) if found.fun <= values[best] else float(grid[best])
