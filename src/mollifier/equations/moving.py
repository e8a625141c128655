"""Edges of unknown place: jumps where a coordinate equals an unknown number, and what holds across them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy

from mollifier.equations.algebra import Algebra, Crossing, differentiate, expand
from mollifier.equations.system import Equation, EquationSystem
from mollifier.errors import EquationError
from mollifier.mollify.orders import Derivative


@dataclass(frozen=True)
class Edge:
    """Where ``coordinate`` equals ``number``, an unknown."""

    coordinate: str
    number: str

    def sided(self, expr: sympy.Expr, above: bool) -> Any:
        """An expression with the values that its jumps have on one side, and no `Crossing`."""
        return expr.replace(Crossing, lambda jump: sympy.S.Zero).xreplace(self._values(expr, above))

    def across(self, expr: sympy.Expr) -> Any:
        """The integral over the edge of the terms with `Crossing`, what else jumps being held.

        The jumps go from their values below to those above together.
        """
        share = sympy.Dummy("share")
        below, above = (self._values(expr, side) for side in (False, True))
        path = {j: low + share * (above[j] - low) for j, low in below.items()}
        factors: Any = expr.replace(Crossing, lambda j: above[j] - below[j])
        return sympy.integrate(expand(factors.xreplace(path)), (share, 0, 1))

    def _values(self, expr: sympy.Expr, above: bool) -> dict[sympy.Basic, sympy.Expr]:
        names = sympy.Symbol(self.coordinate), sympy.Symbol(self.number)
        found: dict[sympy.Basic, sympy.Expr] = {}
        for jump in expr.atoms(sympy.sign, sympy.Heaviside):
            if {*names} <= jump.free_symbols:
                slope = jump.args[0].diff(names[0])
                side = (1 if above else -1) * sympy.sign(slope)
                found[jump] = side if isinstance(jump, sympy.sign) else (1 + side) / 2
        return found


def moving_edge(system: EquationSystem) -> Edge | None:
    """The edge of unknown place; None where there is none.

    >>> from mollifier.equations.names import Names
    >>> from mollifier.equations.system import parse
    >>> names = Names(("x", "t"), {"u": ("x", "t")}, {"a": (), "k": (), "m": ()})
    >>> moving_edge(parse("u_t = dx(where(x < a, k, m)*u_x)", names))
    Edge(coordinate='x', number='a')
    """
    found: dict[Edge, sympy.Basic] = {}
    for equation in system.imposed:
        for jump in Algebra(system.names).moving(equation.residual + equation.crossing):
            level: Any = jump.args[0]
            coordinates = [s for s in level.free_symbols if str(s) in system.names.coordinates]
            numbers = [*level.free_symbols - {*coordinates}]
            slope = level.diff(coordinates[0])
            if (
                len(coordinates) > 1
                or len(numbers) > 1
                or not slope.is_number
                or sympy.expand(level - slope * (coordinates[0] - numbers[0])) != 0
            ):
                raise EquationError(
                    f"{jump} jumps at an unknown place that is no number along a coordinate; "
                    f"where(x < a, k1, k2) with an unknown number a was expected:\n  {equation.text}"
                )
            if equation.at:
                raise EquationError(f"A condition jumps at an unknown place:\n  {equation.text}")
            found[Edge(str(coordinates[0]), str(numbers[0]))] = jump
    if len(found) > 1:
        raise EquationError(
            f"The equations jump at several unknown places ({', '.join(map(str, found.values()))}): one is "
            "found; give the others."
        )
    return next(iter(found), None)


def jump_conditions(
    system: EquationSystem, edge: Edge, below: Mapping[Any, Any], above: Mapping[Any, Any]
) -> list[sympy.Expr]:
    """What is zero where both sides of an edge meet, by what each symbol is on either side.

    States of second order along the coordinate are continuous. An equation says the rest: its integral over
    the edge is zero. With the highest derivative of each state and the derivative of the jump integrated,
    ``dx(k*u_x)`` leaves the flux k*u_x continuous, and ``k*u_xx`` the slope u_x.
    """
    c, names = edge.coordinate, system.names
    orders = {f: system.order_along(c, f) for f in names.fields}
    found = []
    for f, order in orders.items():
        if order > 2:
            raise EquationError(
                f"'{f}' is differentiated {order} times along {c}, where the equations jump at the unknown "
                f"place {edge.number}; at most twice was expected."
            )
        if order == 2:
            found.append(below[sympy.Symbol(f)] - above[sympy.Symbol(f)])
    for equation in system.equations:
        integral = _integral(equation, edge, {f: n for f, n in orders.items() if n}, below, above)
        if integral != 0:
            found.append(integral)
    return found


def _integral(
    equation: Equation,
    edge: Edge,
    orders: Mapping[str, int],
    below: Mapping[Any, Any],
    above: Mapping[Any, Any],
) -> sympy.Expr:
    """Of a residual over the edge."""
    lower: dict[Any, Any] = dict(below)
    total = edge.across(equation.crossing).xreplace(lower)
    top = {sympy.Symbol(Derivative.of(f, {edge.coordinate: n}).name): f for f, n in orders.items()}
    for highest in sorted(equation.residual.free_symbols, key=str):
        d = equation.names.resolve(str(highest)).derivative
        if d.along(edge.coordinate) < orders.get(d.field, 99):
            continue
        factor = edge.sided(differentiate(equation.residual, highest), True)  # type: ignore[arg-type]
        if highest not in top or factor.free_symbols & {*top}:
            raise EquationError(
                f"'{highest}' is infinite where the equation jumps, at the unknown place {edge.number}, and "
                f"the equation is not linear in it or differentiates it further:\n  {equation.text}"
            )
        once = sympy.Symbol(Derivative.of(d.field, {edge.coordinate: d.total - 1}).name)
        value = sympy.Dummy("value")
        inner = factor.xreplace({once: value}).xreplace(lower)
        total += sympy.integrate(inner, (value, lower[once], above[once]))
        lower[once] = above[once]
    return total
