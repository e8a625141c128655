"""Engines by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mollifier.engines.base import Engine
from mollifier.io.registry import Registry
from mollifier.problem.solution import Solution

#: Name -> engine; "auto" takes the first that suits the problem.
ENGINES: Registry[Engine] = Registry(
    "engine",
    {
        "weak": "mollifier.engines.weak.interface:WEAK",
        "joint": "mollifier.engines.joint.interface:JOINT",
        "network": "mollifier.engines.network.interface:NETWORK",
    },
)


def that_take(what: str) -> tuple[str, ...]:
    """Names of the engines that use "resume", "network" or "start".

    >>> that_take("resume")
    ('joint', 'network')
    """
    return tuple(n for n, e in ENGINES.items() if what in e.takes)


def solves_states(solution: Solution) -> bool:
    """Whether the engine that found an answer solves for states, which then satisfy the equation."""
    name = str(solution.provenance.get("engine"))
    return name in ENGINES and ENGINES[name].solves_states


def starters() -> tuple[str, ...]:
    """What `mollifier.solve` may be given as ``start`` by name.

    >>> starters()
    ('weak', 'joint', 'auto')
    """
    return (*(n for n, e in ENGINES.items() if "start" not in e.takes), "auto")


def variants() -> dict[str, tuple[Engine, Mapping[str, Any]]]:
    """Name -> engine and changes of its settings, of all that can be compared.

    >>> list(variants())
    ['weak', 'joint', 'network', 'nested', 'taylor']
    """
    found: dict[str, tuple[Engine, Mapping[str, Any]]] = {}
    for name, engine in ENGINES.items():
        found |= {n: (engine, changes) for n, changes in (engine.variants or {name: {}}).items()}
    return found
