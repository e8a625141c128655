"""Strengths of the smoothness priors by the marginal likelihood of the linearised problem (evidence)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from mollifier.engines.joint.system import Bordered, Rough

Array = NDArray[np.float64]

# Strengths looked at, natural logarithm; most change of one in a single update.
_RANGE = (np.log(1e-12), np.log(1e6))
_CHANGE = np.log(1e3)
_ROUNDS = 3
# Random probes of a trace, and rows up to which it is taken exactly instead.
_PROBES, _EXACT = 24, 150
# Most change of a state's strength in a single update, and least number of its modes taken as determined.
_FACTOR, _LEAST = 1e2, 1e-2
# A state that the equation leaves fewer modes than these needs no prior: it would only bias the unknowns.
_FEW = 3.0


def best_roughness(system: Bordered) -> dict[tuple[int, int], tuple[float, float]]:
    """Strengths of the states' smoothness priors nearer to those of greatest evidence.

    The prior of the states is conditional on the equation, with curvature A = K + w R'R of smoothness K and
    equation slopes R; with the data and the unknowns free it is H. The evidence is stationary where, for each
    part K_j, the squares ``u' K_j u`` are ``tr(A^-1 K_j) - tr(H^-1 K_j)``: modes that the equation fixes
    count in neither. The update sets the strength by that ratio (Wood and Fasiolo, Biometrics 73:1071, 2017).
    Traces are by random probes, the same every time and for both.

    Returns
    -------
    strengths
        (target, axis) -> new strength, and the number of modes that the data determine.
    """
    schur = system.with_priors()[0]
    schur[np.diag_indices_from(schur)] += 1e-12 * np.diag(schur).mean() if len(schur) else 0.0
    found = {}
    for rough in system.rough:
        core, border = _probes(rough, system)
        free = system.before_data.energies(core, border[system.layout.states])
        taken = system.eliminated.energies(core, border, schur)
        if rough.strength * float(np.sum(free)) < _FEW:
            found[rough.target, rough.axis] = rough.strength / _FACTOR, 0.0
            continue
        modes = max(rough.strength * float(np.sum(free - taken)), _LEAST)
        ratio = modes / max(rough.strength * system.objective.count * rough.squares, 1e-300)
        strength = rough.strength * float(np.clip(ratio, 1 / _FACTOR, _FACTOR))
        found[rough.target, rough.axis] = strength, modes
    return found


def _probes(rough: Rough, system: Bordered) -> tuple[Array, Array]:
    """Vectors v, parts (n, k) and (p, k), with the mean of vv' over probes the prior's square."""
    layout = system.layout
    rows = rough.core if rough.core is not None else rough.border
    assert rows is not None
    m = rows.shape[0]
    if m <= _EXACT:
        signs = np.eye(m)
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (m, _PROBES)) / np.sqrt(_PROBES)
    return (
        np.zeros((layout.core_size, signs.shape[1])) if rough.core is None else rough.core.T @ signs,
        np.zeros((layout.border_size, signs.shape[1])) if rough.border is None else rough.border.T @ signs,
    )


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
