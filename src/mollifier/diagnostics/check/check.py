"""Whether the data can answer a problem, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import xarray as xr

from mollifier.diagnostics.check import answer, conditions, data, resolution
from mollifier.diagnostics.check.findings import Check, Finding
from mollifier.engines.choose import choose, unable
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import Given, check_settings
from mollifier.problem.collocation import Collocation, collocate
from mollifier.problem.inverse_problem import InverseProblem, require_problem
from mollifier.problem.settings import CollocationSettings, validated


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
    require_problem(problem, "check")
    given = check_settings(settings, list(ENGINES.values()))
    collocation = validated(CollocationSettings, given.get("collocation"), "collocation")
    numbers: dict[str, Any] = {"order": problem.system.order, "linear_in": list(problem.system.linear_in)}
    suggested: dict[str, Any] = {}
    maps: dict[str, xr.DataArray] = {}
    damage = list(data.of_damage(problem, numbers))
    problem = replace(problem, data=problem.data.mask_outliers())
    findings: list[Finding] = [*data.of_data(problem, numbers), *damage]
    findings += [*data.of_unknowns(problem), *data.of_units(problem, numbers)]
    whole, (moved, problem) = problem, answer.of_edge(problem)
    findings += moved
    if any(f.level == "error" for f in moved):
        return Check(tuple(findings), numbers, suggested)
    findings += answer.of_structure(problem, numbers)
    findings += conditions.of_conditions(problem)
    findings += resolution.too_few(problem)
    findings += answer.of_values(problem)
    if any(f.level == "error" for f in findings):
        return Check(tuple(findings), numbers, suggested)
    place = collocate(problem, collocation)
    findings += answer.of_values(problem, place)
    if any(f.level == "error" for f in findings):
        return Check(tuple(findings), numbers, suggested)
    findings += data.of_coverage(problem, place.features, numbers)
    findings += resolution.of_grid(problem, place, numbers)
    findings += resolution.of_waves(problem, numbers)
    findings += resolution.of_fronts(place, collocation.max_nodes, numbers, suggested)
    findings += answer.of_terms(problem, place, collocation, numbers, maps)
    findings += _costs(whole, place, numbers)
    return Check(tuple(findings), numbers, suggested, maps)


def _costs(problem: InverseProblem, place: Collocation, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Seconds and memory of each engine that suits the problem, and the one that "auto" takes."""
    numbers["engine"], why = choose(problem)
    numbers["cost"], parts = {}, []
    for name, engine in ENGINES.items():
        cost, against = engine.cost(problem, place), unable(problem, name) or engine.unsuited(problem)
        found = {"seconds": None, "MiB": None} if cost is None else asdict(cost)
        numbers["cost"][name] = {"serves": against is None, "against": against, **found}
        if cost is not None and against is None:
            more = f" (and {_order(cost.edges)} if a field has edges)" if cost.edges else ""
            parts.append(f"{name} {_order(cost.seconds)}{more}, {_size(cost.MiB)}")
    yield Finding("info", "cost", f"to an order of magnitude, on one free core: {'; '.join(parts)}.")
    yield Finding("info", "cost", f"engine 'auto' takes {numbers['engine']}: {why}.")


def _order(seconds: float) -> str:
    """Seconds, minutes or hours, to one digit.

    >>> _order(0.4), _order(37.0), _order(400.0), _order(9000.0)
    ('0.4 s', '40 s', '7 min', '2 h')
    """
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{float(f'{seconds / size:.1g}'):g} {unit}"
    return f"{float(f'{seconds:.1g}'):g} s"


def _size(mebibytes: float) -> str:
    if mebibytes >= 1024:
        return f"{float(f'{mebibytes / 1024:.1g}'):g} GiB"
    return f"{float(f'{mebibytes:.1g}'):g} MiB"
