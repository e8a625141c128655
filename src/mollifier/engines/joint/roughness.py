"""Strengths of the smoothness priors of the states, by the marginal likelihood of the linearised problem."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.joint.system import Bordered, Rough

Array = NDArray[np.float64]

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
