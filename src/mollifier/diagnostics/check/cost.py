"""What each engine would take, to an order of magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mollifier.diagnostics.check.findings import Finding, info
from mollifier.engines.choose import choose
from mollifier.engines.registry import ENGINES
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem


def of_engines(problem: InverseProblem, place: Collocation, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Seconds and memory of each engine that suits the problem, and the one that "auto" takes."""
    numbers["engine"], why = choose(problem)
    numbers["cost"], parts = {}, []
    for name, engine in ENGINES.items():
        cost, against = engine.cost(problem, place), engine.unsuited(problem)
        found = {"seconds": None, "MiB": None} if cost is None else asdict(cost)
        numbers["cost"][name] = {"serves": against is None, "against": against, **found}
        if cost is not None and against is None:
            parts.append(f"{name} {_order(cost.seconds)}, {_size(cost.MiB)}")
    yield info("cost", f"to an order of magnitude, on one free core: {'; '.join(parts)}.")
    yield info("cost", f"engine 'auto' takes {numbers['engine']}: {why}.")


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
