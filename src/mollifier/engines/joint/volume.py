"""Numbers beside unknown fields: the most probable numbers, with the fields integrated over.

Where a number is such that data and prior determine a field less well, more of the field's values suit it.
The most probable numbers and fields together do not count these, and the number is biased. By Laplace's
method the integral over the fields multiplies the density of the numbers by ``det(S)^(-1/2)``, with S the
precision of the fields, states eliminated. To first order that is a slope of the log-density along each
number, as in restricted maximum likelihood (Harville, J. Am. Stat. Assoc. 72:320, 1977).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor

from mollifier.engines.joint.spline import FieldPriors
from mollifier.engines.joint.system import Bordered
from mollifier.engines.linalg.banded import NotPositiveError
from mollifier.engines.linalg.dense import solved


class Fit(Protocol):
    """Parameters that can be moved, and the normal equations at them."""

    @property
    def linearisation(self) -> FieldPriors:
        """The priors of unknown fields, which hold the slopes of their volume."""
        ...

    def parameters(self) -> Tensor:
        """All of them, in one vector."""
        ...

    def set_parameters(self, flat: Tensor) -> None:
        """Take those of a vector."""
        ...

    def bordered(self) -> Bordered:
        """The normal equations at the present parameters."""
        ...


def integrate_fields(fit: Fit) -> bool:
    """Once, add the slopes of the fields' volume to those of the loss; whether that moves a number."""
    priors = fit.linearisation
    if priors.volume_slopes:
        return False
    numbers = priors.objective.model.scalars
    priors.volume_slopes = {n: (s, float(numbers[n].raw.detach())) for n, s in volume_slopes(fit).items()}
    return bool(priors.volume_slopes)


def volume_slopes(fit: Fit) -> dict[str, float]:
    """Number -> slope, along its parameter, of the logarithm of the integral over the unknown fields.

    It is taken between two steps of the number, one to either side, which fields and states follow. Numbers
    at bounds have none. Empty where no number would move by ``tuning.steady`` of its standard error, or the
    states have no precision after a step.
    """
    system = fit.bordered()
    tuning, layout, model = system.tuning, system.layout, system.objective.model
    if not (model.scalars and model.unknown_blocks and system.finite):
        return {}
    precision = system.with_priors()[0] * system.objective.count
    number = np.array([layout.unknowns[n].start for n in model.scalars])
    rest = np.setdiff1d(np.arange(len(precision)), number)
    follow = -solved(precision[np.ix_(rest, rest)], precision[np.ix_(rest, number)])
    reduced = precision[np.ix_(number, number)] + precision[np.ix_(number, rest)] @ follow
    start, slopes = fit.parameters(), np.zeros(len(number))
    try:
        for k in np.flatnonzero(~system.at_bounds[number]):
            step = tuning.volume_step / np.sqrt(reduced[k, k])
            border = np.zeros(len(precision))
            border[rest], border[number[k]] = step * follow[:, k], step
            move, logs = system.followed(border), []
            for side in (1, -1):
                fit.set_parameters(start + side * move)
                logs.append(_log_volume(fit.bordered()))
            slopes[k] = (logs[0] - logs[1]) / (2 * step)
    except NotPositiveError:
        return {}
    finally:
        fit.set_parameters(start)
    covariance = solved(reduced, np.eye(len(number)))
    moved = np.abs(covariance @ slopes) / np.sqrt(np.diag(covariance))
    if not (np.isfinite(moved).all() and moved.max() > tuning.steady):
        return {}
    return dict(zip(model.scalars, slopes.tolist(), strict=True))


def _log_volume(system: Bordered) -> float:
    """Logarithm of the integral over the unknown fields, numbers given, up to a constant.

    NaN where it is not finite.
    """
    if not system.finite:
        return np.nan
    model, places, precision = system.objective.model, system.layout.unknowns, system.with_priors()[0]
    fields = np.concatenate([np.r_[places[n]] for n in model.unknown_blocks])
    rest = np.setdiff1d(np.arange(len(precision)), [places[n].start for n in model.scalars])
    whole, others = (
        np.linalg.slogdet(precision[np.ix_(p, p)])[1] for p in (rest, np.setdiff1d(rest, fields))
    )
    return float(others - whole) / 2
