"""Whether a field is as well known as its standard errors say, far along its least certain direction.

Standard errors are those of a quadratic likelihood. Where a field that multiplies a state is uncertain, it
may be far from one: of two opposite changes of a transmissivity, one makes heads too steep.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mollifier.engines.identifiability.undetermined import UNDETERMINED_SHARE
from mollifier.engines.joint.bounded import share_at_bound
from mollifier.engines.joint.stages import Joint
from mollifier.engines.linalg.dense import lower_factor, solved
from mollifier.mollify.arrays import Array
from mollifier.mollify.orders import Derivative
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def unless_skewed(found: Solution, joint: Joint) -> Solution:
    """The answer, `undetermined` where the likelihood of a field is far from quadratic.

    Only fields whose rms standard error exceeds ``tuning.wide`` of their size are tested, none with hidden
    states, and none that is at a bound over much of the domain: raw values there go to infinity at no cost,
    which standard errors account for (`mollifier.engines.joint.bounded`). ``joint`` is the last stage of the
    fit.
    """
    tuning = joint.tuning
    if not (found.status.ok and joint.exact) or joint.model.problem.hidden:
        return found
    for name in joint.free:
        sd = found.dataset.get(f"{name}_sd")
        if sd is None or not _rms(sd.values) > tuning.wide * _rms(found.dataset[name].values):
            continue
        if share_at_bound(joint.bordered(), name) > UNDETERMINED_SHARE:
            continue
        rises, normal = far_rises(joint, name), tuning.far_sds**2
        if rises and not normal / tuning.far_ratio < min(rises) <= max(rises) < normal * tuning.far_ratio:
            sides = " and ".join(f"{rise:.2g}" for rise in rises)
            why = (
                f"the likelihood of {name} is not normal, as its standard errors are: {tuning.far_sds:g} of "
                f"them to either side, along its least certain direction, minus twice its logarithm rises by "
                f"{sides} in place of {normal:g}. Give more data, less noise, or measurements of {name}"
            )
            return replace(found, status=Status("undetermined", why))
    return found


def far_rises(joint: Joint, name: str) -> list[float]:
    """Rises of minus twice the log-likelihood with its priors, far to either side of a field's estimate.

    They are ``tuning.far_sds`` standard errors away along the direction of greatest variance in the measured
    region. All else follows, by some Gauss-Newton steps. Empty where the curvature is not positive.
    """
    curvature = joint.bordered().with_priors()[0] * joint.objective.count
    factor = lower_factor(solved(curvature, np.eye(len(curvature))))
    if factor is None:
        return []
    block, place = joint.model.unknown_blocks[name], joint.layout.unknowns[name]
    shown = (block.mollified.matrix(Derivative("u")) @ joint.raw(block)[1])[
        joint.model.measured(name).ravel()
    ]
    spread = shown @ factor[place]
    step = np.linalg.eigh(spread.T @ spread)[1][:, -1]
    along = np.zeros(len(curvature))
    along[place] = shown.T @ (spread @ step)
    start, base = joint.parameters(), joint.losses()["loss"]
    found = []
    for side in (-1, 1):
        least = _least(joint, side * joint.tuning.far_sds * (factor @ step), along)
        joint.set_parameters(start)
        found.append((least - base) * joint.objective.count)
    return found


def _least(joint: Joint, change: Array, along: Array) -> float:
    """The least loss in some steps from a change of the unknowns, with their product with ``along`` held."""
    least = np.inf
    for k in range(joint.tuning.far_steps + 1):
        still = np.zeros(joint.layout.core_size)
        joint.set_parameters(joint.parameters() + joint.layout.flat(still, change))
        if not joint.follow():
            break
        least = min(least, joint.losses()["loss"])
        if k == joint.tuning.far_steps:
            break
        curvature, slope = joint.bordered().with_priors()
        free, held = solved(curvature, np.stack([slope, along], axis=1)).T
        change = held * (along @ free) / (along @ held) - free
    return least


def _rms(values: Array) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))
