"""The curvature averaged over the standard errors of fields that have bounds.

At a bound the slope of a bijection vanishes: the curvature there shows nothing of the data, which allow the
field to leave the bound by no more than their noise. Averaged over the posterior, the slope is what it is
where the field would have left the bound: statistical linearisation (Gelb, Applied Optimal Estimation, MIT
Press, 1974, chapter 6), at slopes and standard errors that agree with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from mollifier.engines.joint.spline import raw_values, spread_of
from mollifier.engines.joint.system import Bordered
from mollifier.engines.linalg.dense import solved
from mollifier.engines.priors.evidence import LinearisedProblem
from mollifier.engines.priors.shapes import Choice
from mollifier.mollify.arrays import Array, Index, Mask, rms
from mollifier.mollify.orders import Derivative


def averaged(system: Bordered, mixture: Sequence[tuple[float, Mapping[str, Choice]]]) -> LinearisedProblem:
    """The likelihood of normal equations, its curvature averaged over fields with bounds, where these matter.

    The posterior is that of a mixture over priors, of which some are taken that share it equally. Slopes are
    averaged at each coefficient of a field.
    """
    found, tuning, blocks = system.linear, system.tuning, system.objective.model.unknown_blocks
    bounded = [n for n, b in blocks.items() if b.bijection is not None and b.bijection.bounded]
    if not (bounded and system.finite):
        return found
    equal = strata(np.array([share for share, _ in mixture]), tuning.bound_priors)
    taken = [mixture[i][1] for i in equal]
    mean = _mean_slopes(system, bounded, found, taken)
    if not any(_at_bound(system, n, m).any() for n, m in mean.items()):
        return found
    ones = {n: np.ones(len(m)) for n, m in mean.items()}
    unit = system.with_slopes(ones)
    for _ in range(tuning.bound_rounds):
        by = np.ones(len(unit.slope))
        for name in bounded:
            by[system.layout.unknowns[name]] = at_coefficients(spread_of(blocks[name]), mean[name])
        found = replace(unit, curvature=unit.curvature * by[:, None] * by)
        now = _mean_slopes(system, bounded, found, taken)
        logs = {n: np.log(now[n] / m) for n, m in mean.items()}
        if max(rms(log) for log in logs.values()) < tuning.bound_agrees:
            break
        mean = {n: m * np.exp(tuning.bound_step * logs[n]) for n, m in mean.items()}
    return found


def share_at_bound(system: Bordered, name: str) -> float:
    """Share of the measured domain where a field is closer to a bound than it is known."""
    model = system.objective.model
    block = model.unknown_blocks[name]
    if block.bijection is None or not block.bijection.bounded:
        return 0.0
    mean = _mean_slopes(system, [name], system.linear, [system.choices])[name]
    at = block.mollified.matrix(Derivative("u")) @ _at_bound(system, name, mean)
    return float(np.mean(at[model.measured(name).ravel()] > 0.5))


def _at_bound(system: Bordered, name: str, mean: Array) -> Mask:
    """Nodes where mean slopes of a field's bijection differ from those at its values."""
    block = system.objective.model.unknown_blocks[name]
    assert block.bijection is not None
    slopes = block.bijection.slopes(raw_values(block)[:, 0].numpy())
    return np.abs(mean) > system.tuning.bound_changed * np.abs(slopes)


def strata(shares: Array, count: int) -> Index:
    """Members of a mixture, (count,), that stand for equal parts of it.

    >>> strata(np.array([0.7, 0.2, 0.1]), 4).tolist()
    [0, 0, 0, 1]
    """
    ends = np.cumsum(shares)
    return np.searchsorted(ends, (np.arange(count) + 0.5) / count * ends[-1])


def at_coefficients(spread: sp.csr_array, slopes: Array) -> Array:
    """Root mean square at each coefficient, (p,), of slopes at nodes (n,); 1 where it acts on no node.

    >>> spread = sp.csr_array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    >>> at_coefficients(spread, np.array([2.0, 4.0])).round(2).tolist()
    [2.0, 3.46, 1.0]
    """
    weights = spread.T @ np.ones(len(slopes))
    return np.sqrt(
        np.divide(spread.T @ np.square(slopes), weights, out=np.ones(len(weights)), where=weights > 0)
    )


def _mean_slopes(
    system: Bordered, names: Sequence[str], problem: LinearisedProblem, priors: Sequence[Mapping[str, Choice]]
) -> dict[str, Array]:
    """Name of a field -> slopes of its bijection at its nodes, averaged over its posterior."""
    precisions = [problem.with_priors(p)[0] for p in priors]
    covariance = np.mean([solved(p, np.eye(len(p))) for p in precisions], axis=0)
    found = {}
    for name in names:
        block, place = system.objective.model.unknown_blocks[name], system.layout.unknowns[name]
        assert block.bijection is not None
        spread = spread_of(block)
        variance = spread.multiply(spread @ covariance[place, place]).sum(axis=1)
        raw, sd = raw_values(block)[:, 0].numpy(), np.sqrt(np.maximum(variance, 0.0))
        found[name] = block.bijection.mean_slopes(raw, sd, system.tuning.quadrature_points)
    return found
