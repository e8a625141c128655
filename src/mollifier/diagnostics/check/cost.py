"""What each engine would take, to an order of magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mollifier.diagnostics.check.findings import Finding, info
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem

_DENSE = 2000
# Measured on one core (x86-64), November 2026: see docs/check.md.
_WEAK = {"seconds": 0.5, "per_point": 1.0e-4, "power": 0.75, "field": 3.0, "MiB": 35.0, "bytes": 90.0}
_JOINT = {"seconds": 1.0, "operation": 2e-10, "node": 1.5e-4, "rounds": 60, "MiB": 30.0, "bytes": 8.0}
_NETWORK = {"seconds": 10.0, "per_row": 7.0e-5, "steps": 60, "MiB": 300.0, "bytes": 8.0, "weights": 900}


def of_engines(problem: InverseProblem, place: Collocation, numbers: dict[str, Any]) -> Iterator[Finding]:
    """Seconds and memory of each engine that could serve."""
    found = {"weak": _weak(problem), "joint": _joint(problem, place), "network": _network(problem, place)}
    numbers["cost"] = found
    able = {n: c for n, c in found.items() if c["serves"]}
    text = "; ".join(f"{n} {_order(c['seconds'])}, {_size(c['MiB'])}" for n, c in able.items())
    yield info("cost", f"to an order of magnitude, on one free core: {text}.")


def _weak(problem: InverseProblem) -> dict[str, Any]:
    """Powers of the number of points."""
    points = float(problem.data.dataset[problem.fields[0]].size)
    fields = len(problem.unknown_fields)
    seconds = _WEAK["seconds"] + _WEAK["per_point"] * points ** _WEAK["power"]
    seconds *= _WEAK["field"] if fields else 1.0
    return {
        "serves": _on_grid(problem) and _moves(problem),
        "seconds": seconds,
        "MiB": _WEAK["MiB"] + _WEAK["bytes"] * points * len(problem.fields) / 2**20,
    }


def by_weak(problem: InverseProblem) -> bool:
    """Whether the weak engine is the one that suits: a dense grid, and derivatives that can be moved."""
    return _on_grid(problem) and problem.data.grid(problem.coordinates).size >= _DENSE and _moves(problem)


def _on_grid(problem: InverseProblem) -> bool:
    data = problem.data
    return data.gridded and all(
        set(data.coordinates_of(f)) == set(problem.coordinates) for f in problem.fields
    )


def _moves(problem: InverseProblem) -> bool:
    """Whether every derivative of a field can be moved onto a test function."""
    fluxes = [term.flux for e in problem.system.equations for term in e.conservative()]
    held = [problem.system.names.resolve(str(s)).derivative for f in fluxes for s in f.free_symbols]
    return not any(d.total for d in held if d.field in problem.fields)


def _joint(problem: InverseProblem, place: Collocation) -> dict[str, Any]:
    """A banded Cholesky factor: nodes times the square of the band, once for each round."""
    shape = sorted(a.size for a in place.grid)
    nodes = float(np.prod(shape)) * len(problem.fields)
    degree = 2 * max(place.radius.cells.values())
    band = degree * float(np.prod(shape[:-1])) * len(problem.fields)
    once = _JOINT["operation"] * nodes * band**2 + _JOINT["node"] * nodes
    seconds = _JOINT["seconds"] + _JOINT["rounds"] * once
    return {
        "serves": len(shape) <= 3,
        "seconds": seconds,
        "MiB": _JOINT["MiB"] + _JOINT["bytes"] * nodes * band / 2**20,
    }


def _network(problem: InverseProblem, place: Collocation) -> dict[str, Any]:
    """Gauss-Newton: rows of data and collocation nodes, by weights."""
    nodes = float(np.prod([a.size for a in place.grid]))
    rows = nodes * len(problem.system.equations) + sum(
        len(problem.data.samples(f).values) for f in problem.fields
    )
    nets = len(problem.fields) + len(problem.unknown_fields)
    step = (0.3 + _NETWORK["per_row"] * rows) * nets / 2
    return {
        "serves": True,
        "seconds": _NETWORK["seconds"] + _NETWORK["steps"] * step,
        "MiB": _NETWORK["MiB"] + _NETWORK["bytes"] * 2 * rows * _NETWORK["weights"] * nets / 2**20,
    }


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
