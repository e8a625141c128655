"""Whether the data can answer a problem, in seconds."""

from __future__ import annotations

from typing import Any

import xarray as xr

from mollifier.diagnostics.check import answer, cost, data, resolution
from mollifier.diagnostics.check.findings import Check, Finding
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import Given, check_settings
from mollifier.problem.collocation import collocate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import Collocation, validated


def check(problem: InverseProblem, settings: Given = None) -> Check:
    """Examine data, noise, unknowns, resolution, scales, identifiability and cost; takes seconds.

    Nothing is trained or solved: the equation's terms are evaluated where the fields were measured.

    Parameters
    ----------
    problem
        The question.
    settings
        As for `mollifier.solve`; those of the collocation matter.

    Raises
    ------
    ConfigurationError
        If a setting is unknown or names no coordinate.

    Examples
    --------
    >>> import numpy as np
    >>> from mollifier import Observations, ScalarUnknown
    >>> x, t = np.random.default_rng(0).random((2, 2000))
    >>> waves = np.exp(-0.4 * t) * np.sin(2 * x) + np.exp(-2.5 * t) * np.cos(5 * x)
    >>> obs = Observations({"u": waves}, {"x": x, "t": t}, noise=0.01)
    >>> found = check(InverseProblem("u_t = D*u_xx", obs, {"D": ScalarUnknown()}))
    >>> found.verdict, found.numbers["order"]
    ('good', 2)
    """
    given = check_settings(settings, list(ENGINES.values()))
    collocation = validated(Collocation, given.get("collocation"), "collocation")
    numbers: dict[str, Any] = {"order": problem.system.order, "linear_in": list(problem.system.linear_in)}
    suggested: dict[str, Any] = {}
    maps: dict[str, xr.DataArray] = {}
    findings: list[Finding] = [*data.of_data(problem, numbers), *data.of_unknowns(problem)]
    structural = list(answer.of_structure(problem, numbers))
    findings += structural
    findings += resolution.too_few(problem)
    if any(f.level == "error" for f in findings):
        return Check(tuple(findings), numbers, suggested)
    place = collocate(problem, collocation)
    findings += data.of_coverage(problem, place.features, numbers)
    findings += resolution.of_grid(problem, place, numbers)
    findings += resolution.of_waves(problem, numbers)
    findings += resolution.of_fronts(problem, place, collocation.max_nodes, numbers, suggested)
    findings += answer.of_terms(problem, place, numbers, maps)
    findings += cost.of_engines(problem, place, numbers)
    return Check(tuple(findings), numbers, suggested, maps)
