"""The information on the unknowns through the states of the whole domain, as conditions carry it.

Equations and conditions at the ends of a domain determine states and unknowns together, though noise hides
the equation's terms at single places, where `mollifier.engines.identifiability.information` looks, and though
unknowns of the conditions act where nothing is measured. Data, equations and conditions are linearised about
smoothed data and the levels of `LevelSearch`, and the states are eliminated.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.linalg import block_diag

from mollifier.engines.collocated.laplace import slope_of, unit_of, wide_sd
from mollifier.engines.identifiability.information import Information, posterior_map
from mollifier.engines.identifiability.posterior import WIDE, inverse
from mollifier.engines.identifiability.slopes import correlation, splines
from mollifier.engines.identifiability.undetermined import HALVED
from mollifier.engines.joint.engine import stages_of
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.spline import coefficients_of
from mollifier.engines.joint.stages import Joint
from mollifier.engines.linalg.dense import solved
from mollifier.mollify.arrays import Array, slices
from mollifier.mollify.orders import Derivative
from mollifier.problem.inverse_problem import InverseProblem


def information_through_states(problem: InverseProblem, settings: JointSettings) -> Information:
    """Posterior of the unknowns, each with a prior as wide as its size, by data, equations and conditions.

    The size of a number is that at which its term balances the others, or its value where that is larger.

    Of the settings those of the collocation matter. Raises `ConfigurationError` if the problem is too large
    for the joint engine, or otherwise not one for it, and `NotPositiveError` if the states are not
    determined, whatever the unknowns are.
    """
    most = min(settings.collocation.max_nodes, settings.tuning.nodes_in_check)
    collocation = settings.collocation.model_copy(update={"max_nodes": most})
    objective, stages, _ = stages_of(problem, settings.model_copy(update={"collocation": collocation}))
    *first, joint = stages
    assert isinstance(joint, Joint)
    for stage in first:
        for _ in range(stage.steps):
            if not stage.finished:
                stage.step()
        stage.close()
    joint.weight = joint.tuning.full_weight * (joint.tuning.hidden_weight if problem.hidden else 1.0)
    values, numbers = objective.model.levels(), objective.model.scalars
    scale = {n: abs(wide_sd(numbers[n])) if n in numbers else objective.field_scale(n) for n in values}
    names = list(problem.unknowns)
    bases = [_basis(joint, n) for n in names]
    places = dict(zip(names, slices(b.shape[1] for b in bases), strict=True))
    basis, prior = _diagonal(bases), _diagonal([_prior(problem, n, scale[n]) for n in names])
    precision = basis.T @ _eliminated(joint) @ basis + prior
    covariance = inverse(precision)
    maps, alone = (
        {n: posterior_map(problem, n, c(places[n]), scale[n]) for n in problem.unknown_fields}
        for c in (lambda p: covariance[p, p], lambda p: inverse(precision[p, p]))
    )
    return Information(
        values={n: values[n] for n in problem.scalars},
        sd={n: float(np.sqrt(covariance[places[n], places[n]][0, 0])) for n in problem.scalars},
        scale=scale,
        maps=maps,
        undetermined={n: _share(m) for n, m in maps.items()},
        alone={n: _share(m) for n, m in alone.items()},
        independent=float(objective.count),
    )


def _eliminated(joint: Joint) -> Array:
    """Information on the parameters of the unknowns, one after another, the states eliminated."""
    system, layout = joint.bordered(), joint.layout
    whole = joint.objective.count * system.eliminated.schur
    kept = [np.arange(p.start, p.stop) for p in map(layout.unknowns.get, joint.model.problem.unknowns) if p]
    unknowns = np.concatenate(kept)
    states = np.setdiff1d(np.arange(len(whole)), unknowns)  # and declared noise
    left = whole[np.ix_(unknowns, unknowns)]
    if len(states):
        across = whole[np.ix_(states, unknowns)]
        left = left - across.T @ solved(whole[np.ix_(states, states)], across)
    return left


def _basis(joint: Joint, name: str) -> Array:
    """Slopes of an unknown's parameters by its value, or by the coefficients of `splines`."""
    model = joint.model
    if name in model.scalars:
        return np.array([[1 / slope_of(model.scalars[name])]])
    block = model.unknown_blocks[name]
    assert block.bijection is not None
    scaled = coefficients_of(block).lattice
    places = {
        a.name: (a.lower + a.upper) / 2 + x * (a.length or 1.0) / 2
        for a, x in zip(block.grid, scaled.coords().T, strict=True)
    }
    return splines(model.problem, name, places, Derivative(name)) / unit_of(block.bijection)


def _prior(problem: InverseProblem, name: str, scale: float) -> Array:
    """Precision of the prior of an unknown's value or coefficients."""
    if name in problem.scalars:
        return np.array([[(WIDE * scale) ** -2.0]])
    return np.asarray(np.linalg.inv(correlation(problem, name)) / scale**2, dtype=np.float64)


def _diagonal(parts: list[Array]) -> Array:
    """Blocks on the diagonal of one matrix."""
    return np.asarray(block_diag(*parts), dtype=np.float64)


def _share(ratio: xr.DataArray) -> float:
    return float((ratio > HALVED).mean())
