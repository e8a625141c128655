"""Strengths of the smoothness priors by the marginal likelihood of the linearised problem (evidence)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from mollifier.engines.gauss_newton import Component
from mollifier.engines.joint.system import Bordered, Rough, solved

Array = NDArray[np.float64]

# Strengths looked at, natural logarithm; most change of one in a single update.
_RANGE = (np.log(1e-12), np.log(1e6))
_CHANGE = np.log(1e3)
_ROUNDS = 3
# Strengths over which the unknowns are averaged, about the best, and the share of one that is left out.
_OFFSETS, _NEGLIGIBLE = np.array([-6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 1e-4
# Random probes of a trace, and rows up to which it is taken exactly instead.
_PROBES, _EXACT = 24, 150
# Most change of a state's strength in a single update, and least number of its modes taken as determined.
_FACTOR, _LEAST = 1e2, 1e-2
# A prior that holds fewer modes than these has no use, and would only bias the unknowns: it is divided by so
# much once its strength is within a factor of the best.
_HELD, _FADED, _NEAR = 0.5, 1e4, 3.0


def best_roughness(
    system: Bordered, faded: Collection[tuple[int, int]] = ()
) -> dict[tuple[int, int], tuple[float, float]]:
    """Strengths of the states' smoothness priors nearer to those of greatest evidence.

    The prior of the states is conditional on the equation, with curvature A = K + w R'R of smoothness K and
    equation slopes R; with the data and the unknowns free it is H. The evidence is stationary where, for each
    part K_j, the squares ``u' K_j u`` are ``tr(A^-1 K_j) - tr(H^-1 K_j)``: modes that the equation fixes
    count in neither. The update sets the strength by that ratio (Wood and Fasiolo, Biometrics 73:1071, 2017).
    Traces are by random probes, the same every time and for both. A prior that holds hardly anything at its
    best strength fades out, for good.

    Parameters
    ----------
    system
        The normal equations.
    faded
        (target, axis) of the priors that have faded out.

    Returns
    -------
    strengths
        (target, axis) -> new strength, and the number of modes that the data determine; none where it fades.
    """
    schur = system.with_priors()[0]
    schur[np.diag_indices_from(schur)] += 1e-12 * np.diag(schur).mean() if len(schur) else 0.0
    found = {}
    for rough in system.rough:
        place = rough.target, rough.axis
        if place in faded:
            continue
        core, border = _probes(rough, system)
        free = system.before_data.energies(core, border[system.layout.states])
        taken = system.eliminated.energies(core, border, schur)
        modes = max(rough.strength * float(np.sum(free - taken)), _LEAST)
        ratio = modes / max(rough.strength * system.objective.count * rough.squares, 1e-300)
        if ratio < _NEAR and rough.strength * float(np.sum(taken)) < _HELD:
            found[place] = rough.strength / _FADED, 0.0
            continue
        found[place] = rough.strength * float(np.clip(ratio, 1 / _FACTOR, _FACTOR)), modes
    return found


def _probes(rough: Rough, system: Bordered) -> tuple[Array, Array]:
    """Vectors v, parts (n, k) and (p, k), with the mean of vv' over probes the prior's square."""
    layout = system.layout
    m = rough.rows
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


def mixture(system: Bordered, free: list[str], count: int) -> list[Component]:
    """The unknowns' distribution, averaged over the strengths of the priors that were not given.

    Strengths are looked at along the logarithm of each, the others as they are, with a flat prior on it.
    """
    sets = [dict(system.strengths)]
    for name in free:
        start = np.log(max(system.strengths[name], 1e-12))
        offsets = np.clip(start + _OFFSETS, *_RANGE)
        sets += [{**system.strengths, name: float(np.exp(x))} for x in offsets]
    twice = np.array([deviance(system, s, count) for s in sets])
    if not np.isfinite(twice[0]):
        sets, twice = sets[:1], np.zeros(1)
    shares = np.exp(-(twice - twice.min()) / 2)
    shares = shares / shares.sum()
    strengths = dict(system.strengths)
    found = []
    for chosen, share in zip(sets, shares.tolist(), strict=True):
        if share < _NEGLIGIBLE:
            continue
        system.strengths = chosen
        schur, reduced = system.with_priors()
        precision = schur * count
        for prior in system.priors.values():
            precision[prior.columns, prior.columns] += prior.held * np.eye(len(prior.square))
        shift = -solved(precision, reduced * count) if free else np.zeros(len(reduced))
        found.append(Component(torch.from_numpy(precision), shift, share))
    system.strengths = strengths
    return found


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
