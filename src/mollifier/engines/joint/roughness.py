"""Strengths of the smoothness priors of the states, by the marginal likelihood of the linearised problem."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mollifier.engines.joint.system import Bordered, probes
from mollifier.engines.joint.tuning import JointTuning
from mollifier.engines.linalg.dense import solved
from mollifier.mollify.arrays import Array

Place = tuple[int, int]


@dataclass
class RoughnessUpdates:
    """Updates of the strengths, each from normal equations that contain those of the last."""

    #: (target, axis) -> next change of the log-strength.
    proposed: dict[Place, float] = field(default_factory=dict)
    #: (target, axis) -> last change of the log-strength at the equation's present weight.
    last: dict[Place, float] = field(default_factory=dict)
    faded: set[Place] = field(default_factory=set)  #: (target, axis) of the priors that have faded out.
    count: int = 0  #: Number of updates.
    loosened: int = 0  #: How many times strengths were lowered for what they do to a number.

    def propose(self, system: Bordered, tuning: JointTuning) -> None:
        """Find the next strengths, as long as updates are left."""
        if self.count < tuning.most_updates:
            self.count += 1
            self.proposed, faded = best_roughness(system, tuning, self.faded)
            self.faded |= faded
            self.proposed |= dict.fromkeys(faded, -float(np.log(tuning.fading_factor)))

    def apply(self, strengths: Any, tuning: JointTuning) -> bool:
        """Set the strengths to those proposed, after one that overshot with shorter steps; whether any."""
        for place, change in self.proposed.items():
            before = float(np.log(float(strengths[place])))
            if place not in self.faded:
                last, most = self.last.get(place, 0.0), tuning.longest_update
                reach = abs(last) / 2 if change * last < 0 else min(2 * abs(last) or most, most)
                change = float(np.clip(change, -reach, min(reach, tuning.smoothing_strengths[1] - before)))
                self.last[place] = change
            strengths[place] = float(np.exp(before + change))
        moved, self.proposed = bool(self.proposed), {}
        return moved

    def loosen(self, system: Bordered, strengths: Any, tuning: JointTuning, wide: float = np.inf) -> bool:
        """Lower the strengths of priors that draw a number too far, and end their updates; whether any.

        The normalising constant of a state's prior given the equation depends on the numbers, which the most
        probable states and numbers together ignore: a diffusivity that is too small makes states smooth, and
        the prior rewards it for that. Numbers with a standard error above ``wide`` of them are left out.
        """
        numbers = system.objective.model.scalars
        if self.loosened >= tuning.most_loosened or not (numbers and system.rough and system.finite):
            return False
        pulls = system.pulls()
        variances = np.diag(solved(system.with_priors()[0], np.eye(len(pulls)))) / system.objective.count
        most = np.zeros(len(system.rough))
        for name, number in numbers.items():
            place = system.layout.unknowns[name].start
            sd = float(np.sqrt(variances[place]))
            if 0 < sd < np.inf and abs(number.slope()) * sd <= wide * abs(float(number().detach())):
                most = np.maximum(most, np.abs(pulls[place]) / sd)
        drawing = [r for r, pull in zip(system.rough, most, strict=True) if pull > tuning.most_pull]
        for r in drawing:
            strengths[r.target, r.axis] /= tuning.loosening
        if drawing:
            self.loosened, self.count, self.proposed = self.loosened + 1, tuning.most_updates, {}
        return bool(drawing)


def best_roughness(
    system: Bordered, tuning: JointTuning, faded: Collection[Place] = ()
) -> tuple[dict[Place, float], set[Place]]:
    """Update the strengths of the states' smoothness priors towards those of greatest evidence.

    The states' prior given the equation has the curvature A = K + w R'R, with smoothness K and equation
    slopes R; the posterior, with unknowns free, has the curvature H. With D = A^-1 - H^-1 and the states u at
    the end of the undamped step, the slope of the log-evidence along the logarithm of a strength is half of
    ``m_j - u' K_j u``, where K_j is its part of K and ``m_j = tr(D K_j)`` the number of modes that the data
    determine; modes that the equation fixes cancel. Its expected curvature is half of ``tr(D K_j D K_k)``
    (Fisher's scoring), and at most m_j / 2, by which the update would multiply the strength by the ratio of
    m_j and the squares (Wood and Fasiolo, Biometrics 73:1071, 2017). All traces are estimated with the same
    random probes, in every update. A strength that is as good as the best is kept. A prior that constrains
    hardly any mode at its best strength fades out: it is not updated again.

    Returns the change of the log-strength of each prior, by (target, axis), and those that fade out; those
    ``faded`` already are left out.
    """
    kept = [r for r in system.rough if (r.target, r.axis) not in faded]
    if not kept:
        return {}, set()
    core, count, step = system.layout.core_size, system.objective.count, system.undamped()
    sources = [r.rows.T @ probes(len(r.values), tuning) for r in kept]
    starts = np.cumsum([0, *(s.shape[1] for s in sources)])[:-1]
    v = np.hstack(sources)
    posterior, shown = _posterior(system, v[:core], v[core:]), np.zeros_like(v)
    states = np.append(np.arange(core), core + system.layout.states)
    shown[states] = np.vstack(system.before_data.solve(v[:core], v[core + system.layout.states]))
    shown -= posterior
    strengths, ends = np.array([r.strength for r in kept]), np.concatenate(step)
    held = strengths * np.add.reduceat(np.sum(v * posterior, axis=0), starts)
    modes = np.maximum(strengths * np.add.reduceat(np.sum(v * shown, axis=0), starts), tuning.least_modes)
    squares = count * strengths * [np.sum(np.square(r.values + r.rows @ ends)) for r in kept]
    log = np.log(modes / np.maximum(squares, 1e-300))
    few = held < tuning.few_modes
    fading = few & (log < np.log(tuning.fading_distance))
    fading &= count * system.decrease(*step) < tuning.settled(len(v) - core)
    crossed = [np.add.reduceat(np.sum(np.square(r.rows @ shown), axis=0), starts) for r in kept]
    expected = np.array(crossed) * np.outer(strengths, strengths)
    # Probes of modes that cancel leave more than the bound, which would hold a strength where it is.
    within = np.sqrt(np.minimum(modes / np.maximum(np.diag(expected), 1e-300), 1.0))
    expected *= np.outer(within, within)
    share, slope = tuning.bound_share, modes * log / 2
    curvature = (1 - share) * (expected + expected.T) / 4 + share * np.diag(modes / 2)
    change, free = np.zeros(len(kept)), ~fading
    change[free] = np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
    size = np.abs(change) * np.clip(np.sqrt(np.diag(curvature)), 1 / tuning.longest_update, 1.0)
    # Where a prior is so strong that little changes, the evidence may still rise much towards weaker ones.
    rising = (slope < 0) | (slope > tuning.steady_slope)
    moving = free & (few | (size > tuning.steady_strength) & rising)
    places = [(r.target, r.axis) for r in kept]
    changes = {place: float(c) for place, c, moves in zip(places, change, moving, strict=True) if moves}
    return changes, {place for place, fades in zip(places, fading, strict=True) if fades}


def _posterior(system: Bordered, core: Array, border: Array) -> Array:
    """Products (n + p, k) of the covariance of all parameters with vectors, by the present priors."""
    schur = system.with_priors()[0].copy()
    schur[np.diag_indices_from(schur)] += 1e-12 * np.diag(schur).mean() if len(schur) else 0.0
    return np.vstack(system.eliminated.solve(core, border, schur))
