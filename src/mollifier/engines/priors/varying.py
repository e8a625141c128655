"""Priors that differ from place to place: strengths that follow a field, and the evidence for edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mollifier.engines.priors.evidence import PriorOnCoefficients
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice, Shapes

Choices = Mapping[str, Choice]


def varied(search: PriorSearch, choices: Choices) -> tuple[PriorSearch, Choices, float]:
    """Matern priors whose strengths follow the roughness of their fields, and their gain of log-evidence.

    By steps of expectation and maximisation. The gain is 0 where no field that is sought has such a prior.

    ``choices`` are the priors found with one strength for each field.
    """
    names = [n for n in search.free if len(search.problem.priors[n].shapes.lengths) > 1]
    if not names:
        return search, choices, 0.0
    before, problem, found = search.problem.log_evidence(choices), search.problem, choices
    for last in [False] * (search.tuning.adaption_steps - 1) + [True]:
        posterior = problem.posterior([(1.0, found)])
        follow = {n: problem.priors[n].varied(found[n].shape, *posterior, search.tuning) for n in names}
        problem = replace(problem, priors={**problem.priors, **follow})
        found = replace(search, problem=problem).improved(found, shapes=last, near=not last)
    return replace(search, problem=problem), found, problem.log_evidence(found) - before


def adapted(search: PriorSearch, choices: Choices) -> tuple[PriorSearch, Choices, float]:
    """As `varied`, where that raises the evidence by ``tuning.adapted`` for each axis; else as given."""
    other, found, gain = varied(search, choices)
    axes = max((len(p.prior.lattice.axes) for p in search.problem.priors.values()), default=1)
    return *((other, found) if gain > search.tuning.adapted * axes else (search, choices)), gain


def edge_evidence(search: PriorSearch, choices: Choices) -> dict[str, float]:
    """Log-evidence by which a prior for edges exceeds a smooth one, for each field that is sought.

    Fields whose values have no neighbours along an axis are left out. ``choices`` are the priors found;
    smooth ones are the best, with strengths that vary (`adapted`).
    """
    neighbours = [
        n for n in search.free if not any(a.discrete for a in search.problem.priors[n].prior.lattice)
    ]
    return {name: _over_smooth(search, choices, name) for name in neighbours}


def _over_smooth(search: PriorSearch, choices: Choices, name: str) -> float:
    """Of one field, the priors of the others as they are."""
    if search.problem.priors[name].shapes != Shapes.of("auto", search.tuning):
        matern = search.problem.priors[name].smooth(search.tuning)
        search, choices, _ = adapted(*_searched(search, choices, name, matern, anew=True))
    edged, found = search, choices
    for step in range(search.tuning.edge_steps):
        posterior = edged.problem.posterior([(1.0, found)])
        prior = search.problem.priors[name].with_edges(*posterior, search.tuning)
        edged, found = _searched(edged, found, name, prior, anew=not step)
    return edged.problem.log_evidence(found) - search.problem.log_evidence(choices)


def _searched(
    search: PriorSearch, choices: Choices, name: str, prior: PriorOnCoefficients, anew: bool
) -> tuple[PriorSearch, Choices]:
    """The search with another prior of a field, and what it finds for it."""
    problem = replace(search.problem, priors={**search.problem.priors, name: prior})
    search = replace(search, problem=problem, free=[name])
    return search, search.improved(choices, anew=anew)


def expect(search: PriorSearch, choices: Choices) -> None:
    """Give priors with edges, of the fields that are sought, the posterior's covariance of their fields."""
    edged = [p for n in search.free if (p := search.problem.priors[n]).prior.edged]
    if edged:
        covariance = search.problem.posterior([(1.0, choices)])[1]
        for prior in edged:
            prior.expect(covariance)
