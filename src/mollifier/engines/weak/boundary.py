"""Conditions at the ends of axes: they give the boundary terms of test functions that do not vanish there.

Integration by parts over an axis leaves at its ends

    sum_j (-1)^j [D^(n-1-j) F  D^j(c phi)].

A condition, solved for the highest derivative across the end that it holds, replaces that derivative. What
no condition replaces is not known there: test functions have no such derivative at that end. With conditions
at some ends, test functions also reach over others where nothing but measured states is left, as of a first
derivative along time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy

from mollifier.equations.algebra import differentiate, expand
from mollifier.equations.laws import as_functions
from mollifier.equations.names import Names
from mollifier.equations.system import Equation
from mollifier.errors import ConfigurationError
from mollifier.problem.inverse_problem import InverseProblem

# Cells by which a condition may lie within the data, which is rounding, and beyond them: the edge of a grid
# of cell centres is half a cell beyond.
_WITHIN, _BEYOND = 1e-3, 1.0


class Trace(NamedTuple):
    """A derivative of test functions at an end of an axis, in place of an integral along it."""

    order: int
    end: int  #: 0 for the start, 1 for the end.


#: Order of the test function's derivative along each coordinate, or its trace.
Orders = tuple[int | Trace, ...]

Terms = Mapping[tuple[int, Orders], sympy.Expr]  #: Integrands by equation and orders.


@dataclass(frozen=True)
class End:
    """An end of an axis that test functions reach over."""

    place: float  #: Where it is, in the axis's unit.
    vanishing: tuple[int, ...]  #: Orders of derivatives that are zero there.


@dataclass(frozen=True)
class Held:
    """The conditions at one end of an axis, or none."""

    place: float  #: As of `End`.
    conditions: tuple[Equation, ...]  #: Equations with that place.
    solved: Mapping[sympy.Symbol, sympy.Expr]  #: Derivative across the end -> what it is by the conditions.


Boundary = Mapping[tuple[str, int], Held]  #: Coordinate and end -> its conditions.

NO_CONDITIONS: Boundary = {}


def boundary_of(problem: InverseProblem) -> Boundary:
    """The ends of the grid's axes with their conditions; none where there are no conditions at all.

    Raises `ConfigurationError` if one is not along an end of an axis, has a standard error, or holds no state
    that could be replaced.
    """
    if not problem.system.conditions:
        return NO_CONDITIONS
    grid = (problem.data.whole or problem.data).grid(problem.coordinates)
    ends = {(a.name, end): (a.lower, a.upper)[end] for a in grid if not a.periodic for end in (0, 1)}
    found: dict[tuple[str, int], list[Equation]] = {key: [] for key in ends}
    for condition in problem.system.conditions:
        (c, place), *others = condition.at.items()
        axis = grid[c]
        end = int(place > (axis.lower + axis.upper) / 2)
        node, inner = axis.points[[-1, -2] if end else [0, 1]]
        if others or axis.periodic or not -_WITHIN <= (place - node) / (node - inner) <= _BEYOND:
            raise refused(condition, "is not along an edge of the grid")
        if condition.noise:
            raise refused(condition, "has a standard error")
        held = found[c, end]
        held.append(condition)
        if held[0].at[c] != place:
            raise refused(condition, f"is not where '{held[0]}' is")
    return {
        key: Held(
            held[0].at[key[0]] if held else ends[key], tuple(held), solved(held, key[0], problem.system.names)
        )
        for key, held in found.items()
    }


def refused(condition: Equation, why: str) -> ConfigurationError:
    """The error of a condition that is no boundary term of the weak form."""
    return ConfigurationError(
        f"The condition '{condition}' {why}, so that it gives no boundary term of the weak form. Use engine "
        "'joint' or 'network'."
    )


def solved(conditions: Sequence[Equation], coordinate: str, names: Names) -> dict[sympy.Symbol, sympy.Expr]:
    """Conditions at one end, each solved for the highest derivative across it.

    >>> from mollifier.equations.system import parse
    >>> names = Names(("x", "t"), {"u": ("x", "t")}, {"k": (), "h": ()})
    >>> solved(parse("-k*u_x = h*(u - 2); u_xx = u_x", names).equations, "x", names)
    {u_x: -h*u/k + 2*h/k, u_xx: -h*u/k + 2*h/k}
    """
    found: dict[sympy.Symbol, sympy.Expr] = {}
    for condition in conditions:
        whole: Any = as_functions(condition.residual, names)
        residual = expand(whole.xreplace(found))
        across = [d for d in names.states_in(residual) if d.total == d.along(coordinate)]
        top = max(across, key=lambda d: (d.total, d.name), default=None)
        if top is None:
            raise refused(condition, "holds no state, or what others at its place give already")
        symbol = sympy.Symbol(top.name)
        slope = expand(differentiate(residual, symbol))
        if slope.has(symbol):
            raise refused(condition, f"is not linear in {symbol}")
        value = expand(-expand(residual - slope * symbol) / slope)
        found = {s: e.xreplace({symbol: value}) for s, e in found.items()} | {symbol: value}
    return found


def traces(orders: Orders) -> Iterator[tuple[int, Trace]]:
    """Numbers of the axes that a term has traces along, with these."""
    return ((i, o) for i, o in enumerate(orders) if isinstance(o, Trace))


def ends_of(
    terms: Terms, bare: Terms, names: Names, boundary: Boundary
) -> tuple[tuple[End | None, End | None], ...]:
    """Both ends of each axis; None where test functions vanish with all derivatives.

    ``terms`` are the integrands with the conditions in place of what they give, ``bare`` those without.
    Raises `ConfigurationError` if a condition gives no boundary term.
    """
    given = {(names.coordinates.index(c), end) for (c, end), held in boundary.items() if held.conditions}
    closed: set[tuple[int, Trace]] = set()
    for key in sorted({*terms, *bare}, key=lambda k: len(list(traces(k[1])))):
        at, term = list(traces(key[1])), terms.get(key, sympy.S.Zero)
        if not at or closed & {*at}:
            continue
        states = names.states_in(term)
        same = term == bare.get(key) and any((i, t.end) in given for i, t in at)
        if any(d.total for d in states) or (states and same):
            closed.add(at[-1])
    ends: list[list[End | None]] = [[None, None] for _ in names.coordinates]
    for (c, end), held in boundary.items():
        i = names.coordinates.index(c)
        here = {at[1].order for key in bare for at in traces(key[1]) if (at[0], at[1].end) == (i, end)}
        vanishing = tuple(sorted(k for k in here if (i, Trace(k, end)) in closed))
        if held.conditions or not vanishing:
            _check_used(held, [e for k, e in bare.items() if closed.isdisjoint(traces(k[1]))
                               and any((j, t.end) == (i, end) for j, t in traces(k[1]))])  # fmt: skip
            ends[i][end] = End(held.place, vanishing)
    return tuple((start, stop) for start, stop in ends)


def _check_used(held: Held, bare: Sequence[sympy.Expr]) -> None:
    """Refuse conditions that take the place of nothing in the terms of an end."""
    used: set[Any] = set().union(*(e.free_symbols for e in bare))
    pairs = list(zip(held.solved, held.conditions, strict=True))
    for symbol, condition in pairs * 2:
        used |= condition.residual.free_symbols if symbol in used else set()
    for symbol, condition in pairs:
        if symbol not in used:
            raise refused(condition, "leaves other derivatives of the states open at its place")
