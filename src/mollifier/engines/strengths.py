"""How far the smoothness of unknown fields is the data's: the strength of its prior, found or averaged over.

The network engine weighs the curvature of an unknown field by a number that was not chosen for this problem.
What its fields are drawn towards by that, the curvature of the loss does not tell. For the linearised problem
the minimiser and the evidence at every other strength are known in closed form (MacKay, Neural Computation
4:415, 1992), so that the unknowns are distributed as a mixture over strengths, each part with a spread of its
own and at its own distance from where the run ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.levenberg_marquardt import Component

if TYPE_CHECKING:
    from mollifier.engines.gauss_newton import GaussNewton

Array = NDArray[np.float64]

# Natural logarithms of the factors of the strength that are looked at, and how far the logarithm of the
# evidence may lie below the greatest for one to count.
_LATTICE = np.arange(-16.0, 9.0)
_DEEPEST = 5.0


@dataclass(frozen=True)
class _Curvature:
    """The priors of some fields, at the strengths that the run had, over a part of the parameters.

    Attributes
    ----------
    hessian, gradient
        Shapes (m, m) and (m,).
    value
        Twice the negative logarithm of their density.
    """

    hessian: Tensor
    gradient: Tensor
    value: float


def averaged(stage: GaussNewton, component: Component, places: Mapping[str, slice]) -> list[Component]:
    """A component for each strength that counts, in place of the one that the run had.

    All fields whose strength was not given have theirs multiplied by the same factor, whose logarithm is
    evenly distributed beforehand.

    Parameters
    ----------
    stage
        At the end of its run.
    component, places
        Of its `marginal`.

    Returns
    -------
    list of Component
        The one given, where there is no such field or its precision is none.
    """
    free, precision = _free(stage), component.precision
    if not free or not torch.isfinite(precision).all():
        return [component]
    evidence, own, slope, prior = _factors(stage, precision, free, places)
    factors = np.exp(_LATTICE)
    if not np.isfinite(evidence).any():
        return [component]
    share = np.exp(evidence - evidence.max())
    share[evidence < evidence.max() - _DEEPEST] = 0.0
    share /= share.sum()
    found = []
    for factor, part in zip(factors[share > 0], share[share > 0], strict=True):
        other, pull = precision.clone(), slope.clone()
        other[own[:, None], own] += (factor - 1) * prior.hessian
        pull[own] += (factor - 1) * prior.gradient
        triangle, info = torch.linalg.cholesky_ex(other)
        if int(info):  # rounding alone: what is left of it was a covariance
            return [component]
        shift = -torch.cholesky_solve(pull[:, None], triangle)[:, 0]
        found.append(Component(other, shift.numpy(), float(part)))
    return found


def likeliest(stage: GaussNewton) -> tuple[float, list[str]]:
    """The factor of the greatest evidence, 1 where there is none; the fields whose strength it multiplies."""
    components, places = stage.marginal()
    free = _free(stage)
    if not free or not torch.isfinite(components[0].precision).all():
        return 1.0, free
    evidence = _factors(stage, components[0].precision, free, places)[0]
    return (float(np.exp(_LATTICE[np.argmax(evidence)])) if np.isfinite(evidence).any() else 1.0), free


def _free(stage: GaussNewton) -> list[str]:
    """Unknown fields whose strength was not given."""
    unknown = stage.model.problem.unknown_fields
    return [n for n in unknown if unknown[n].smoothness is None and stage.objective.strength(n)]


def _factors(
    stage: GaussNewton, precision: Tensor, free: Sequence[str], places: Mapping[str, slice]
) -> tuple[Array, Tensor, Tensor, _Curvature]:
    """Evidence of every factor; the fields' own parameters, the slope of the whole, their priors."""
    own = torch.cat([torch.arange(places[n].start, places[n].stop) for n in free]).long()
    prior = _curvature(stage, free, own)
    slope = stage.objective.count * stage.settled()[1]
    return _evidence(precision, slope, own, prior, np.exp(_LATTICE)), own, slope, prior


def _curvature(stage: GaussNewton, names: Sequence[str], own: Tensor) -> _Curvature:
    """The priors of fields, over the part of the parameters that is theirs."""
    nodes = stage.node_values()
    share = stage.objective.count * stage.most
    rows = [
        part.scaled(float(np.sqrt(share * stage.objective.strength(name))))
        for name in names
        for part in stage.linearisation.curvature(name, nodes, slopes=True)
    ]
    hessian, gradient = stage.normal_equations(nodes, rows=rows)
    value = sum(float(part.values @ part.values) for part in rows)
    return _Curvature(hessian[own[:, None], own], gradient[own], value)


def _evidence(precision: Tensor, slope: Tensor, own: Tensor, prior: _Curvature, factors: Array) -> Array:
    """Logarithm of the evidence at factors of the prior's strength, but for a constant, shape (n,)."""
    rest = torch.ones(len(slope), dtype=torch.bool)
    rest[own] = False
    across = precision[rest][:, own]
    factor, info = torch.linalg.cholesky_ex(precision[rest][:, rest])
    if int(info):
        return np.full(len(factors), -np.inf)
    spread = torch.cholesky_solve(torch.cat([across, slope[rest][:, None]], 1), factor)
    known = precision[own[:, None], own] - across.T @ spread[:, :-1] - prior.hessian
    pull = slope[own] - across.T @ spread[:, -1] - prior.gradient
    sizes = torch.linalg.eigvalsh(prior.hessian).clamp_min(0.0)
    found = np.full(len(factors), -np.inf)
    for i, c in enumerate(factors.tolist()):
        triangle, info = torch.linalg.cholesky_ex(known + c * prior.hessian)
        if not int(info):
            move = torch.linalg.solve_triangular(triangle, (pull + c * prior.gradient)[:, None], upper=False)
            # The weights have a spread of one beside, so that the prior is one for every factor.
            volume = 0.5 * float((1 + c * sizes).log().sum()) - float(triangle.diagonal().log().sum())
            found[i] = volume + 0.5 * float(move.square().sum()) - 0.5 * c * prior.value
    return found
