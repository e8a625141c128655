"""Priors that differ from place to place follow the posterior of their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mollifier.engines.joint.spline import FieldPriors
from mollifier.engines.joint.system import Bordered
from mollifier.engines.linalg.dense import solved
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice


def varied(
    system: Bordered, linearisation: FieldPriors, names: Sequence[str], search: PriorSearch
) -> tuple[Mapping[str, Choice], float]:
    """Priors whose strengths follow the roughness of their fields, and their gain of log-evidence.

    By steps of expectation and maximisation; the linearisation's priors of those fields are changed.

    Parameters
    ----------
    system
        Normal equations at the fit.
    linearisation
        Whose priors they have.
    names
        Unknown fields whose strengths may vary.
    search
        Of the priors.
    """
    tuning, before = linearisation.objective.tuning.priors, system.linear.log_evidence(system.choices)
    found: Mapping[str, Choice] = system.choices
    for last in [False] * (tuning.adaption_steps - 1) + [True]:
        precision, slope = system.linear.with_priors(found)
        for name in names:
            here = system.layout.unknowns[name]
            right = np.concatenate([-slope[:, None], np.eye(len(slope))[:, here]], axis=1)
            moves = solved(precision, right)[here]
            linearisation.localise(name, found[name].shape, moves[:, 0], moves[:, 1:])
            system.priors[name] = linearisation.prior_on_coefficients(name, here)
        found = search.improved(found, shapes=last)
    return found, system.linear.log_evidence(found) - before


def expect(system: Bordered, linearisation: FieldPriors, names: Sequence[str]) -> None:
    """Give priors with edges, of those of some fields, the posterior's covariance of their fields."""
    edged = [n for n in names if linearisation.priors[n].edged]
    if edged:
        precision, _ = system.linear.with_priors(system.choices)
        for name in edged:
            here = system.layout.unknowns[name]
            linearisation.expect(name, solved(precision, np.eye(len(precision))[:, here])[here])
