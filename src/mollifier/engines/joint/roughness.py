"""Strengths of the smoothness priors of the states, by the marginal likelihood of the linearised problem."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.joint.system import Bordered, Rough, probes
from mollifier.engines.joint.tuning import JointTuning

Array = NDArray[np.float64]
Place = tuple[int, int]


@dataclass
class RoughnessUpdates:
    """Updates of the strengths, each from normal equations that contain those of the last.

    Attributes
    ----------
    proposed
        (target, axis) -> new strength and number of modes that the data determine; see `best_roughness`.
    reach
        (target, axis) -> last change of the log-strength, and the largest of the next.
    faded
        (target, axis) of the priors that have faded out.
    count
        Number of updates.
    """

    proposed: dict[Place, tuple[float, float]] = field(default_factory=dict)
    reach: dict[Place, tuple[float, float]] = field(default_factory=dict)
    faded: set[Place] = field(default_factory=set)
    count: int = 0

    def propose(self, system: Bordered, tuning: JointTuning) -> None:
        """Find the next strengths, as long as updates are left."""
        if self.count < tuning.most_updates:
            self.count += 1
            self.proposed = best_roughness(system, tuning, self.faded)

    def apply(self, strengths: Any, tuning: JointTuning) -> float:
        """Set the strengths to those proposed, with longer steps while they creep.

        Returns the largest change of a log-strength, in its standard errors.
        """
        most, stiffest = 0.0, float(np.exp(tuning.smoothing_strengths[1]))
        for place, (strength, modes) in self.proposed.items():
            before = float(strengths[place])
            change = float(np.log(min(strength, stiffest) / before))
            if modes:
                last, reach = self.reach.get(place, (0.0, np.inf))
                if change * last < 0:  # the last update overshot
                    reach = min(reach, abs(last)) / 2
                elif last:  # updates in one direction converge slowly: longer ones
                    reach *= tuning.update_growth
                    longer = tuning.update_growth * abs(last / (change or last))
                    change *= min(max(longer, 1.0), tuning.longest_update)
                change = float(min(np.clip(change, -reach, reach), np.log(stiffest / before)))
                self.reach[place] = change, reach
                most = max(most, abs(change) * min(np.sqrt(modes / 2), 1.0))
            else:
                self.faded.add(place)
            strengths[place] = before * np.exp(change)
        self.proposed = {}
        return most


def best_roughness(
    system: Bordered, tuning: JointTuning, faded: Collection[Place] = ()
) -> dict[Place, tuple[float, float]]:
    """Update the strengths of the states' smoothness priors towards those of greatest evidence.

    The states' prior given the equation has the curvature A = K + w R'R, with smoothness K and equation
    slopes R; the posterior, with unknowns free, has the curvature H. The evidence is stationary if, for each
    part K_j of K, the squares ``u' K_j u`` equal ``tr(A^-1 K_j) - tr(H^-1 K_j)``; modes that the equation
    fixes cancel. The update multiplies the strength by the ratio of both sides (Wood and Fasiolo, Biometrics
    73:1071, 2017). Both traces are estimated with the same random probes, in every update. A prior that
    constrains hardly any mode at its best strength fades out: it is not updated again.

    Parameters
    ----------
    system
        The normal equations.
    tuning
        Probes, limits of an update, and when a prior fades out.
    faded
        (target, axis) of the priors that have faded out.

    Returns
    -------
    strengths
        (target, axis) -> new strength, and the number of modes that the data determine, 0 if the prior fades
        out.
    """
    schur = system.with_priors()[0]
    schur[np.diag_indices_from(schur)] += 1e-12 * np.diag(schur).mean() if len(schur) else 0.0
    found = {}
    for rough in system.rough:
        place = rough.target, rough.axis
        if place in faded:
            continue
        core, border = _probes(rough, system, tuning)
        free = system.before_data.energies(core, border[system.layout.states])
        taken = system.eliminated.energies(core, border, schur)
        modes = max(rough.strength * float(np.sum(free - taken)), tuning.least_modes)
        ratio = modes / max(rough.strength * system.objective.count * rough.squares, 1e-300)
        if ratio < tuning.fading_distance and rough.strength * float(np.sum(taken)) < tuning.few_modes:
            found[place] = rough.strength / tuning.fading_factor, 0.0
            continue
        most = tuning.update_factor
        found[place] = rough.strength * float(np.clip(ratio, 1 / most, most)), modes
    return found


def _probes(rough: Rough, system: Bordered, tuning: JointTuning) -> tuple[Array, Array]:
    """Random vectors v, parts (n, k) and (p, k): the expected sum of vv' is the prior's curvature."""
    layout, signs = system.layout, probes(rough.rows, tuning)
    return (
        np.zeros((layout.core_size, signs.shape[1])) if rough.core is None else rough.core.T @ signs,
        np.zeros((layout.border_size, signs.shape[1])) if rough.border is None else rough.border.T @ signs,
    )
