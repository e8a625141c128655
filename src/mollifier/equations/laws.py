"""Laws of the state, such as D(u), as SymPy functions: their derivatives and antiderivatives are laws too.

Elsewhere a law and its derivatives are plain symbols, ``D`` and ``D_u``. As functions of the state they can
be integrated over it, which moves a derivative onto a test function, and averaged over its noise.
"""

from __future__ import annotations

from typing import Any, cast

import sympy

from mollifier.equations.names import Names
from mollifier.mollify.orders import Derivative


class Law(sympy.Function):
    """``Law(label, *orders, *over)``: a derivative of a law, an antiderivative where an order is below zero.

    >>> names = Names(("x",), {"u": ("x",)}, {"D": ("u",)})
    >>> u, d = sympy.Symbol("u"), as_functions(sympy.Symbol("D"), names)
    >>> d.diff(u).derivative.name, d.integral(u).derivative.name, d.integral(u).diff(u) == d
    ('D_u', 'D_(1/u)', True)
    """

    @property
    def _half(self) -> int:
        return (len(self.args) - 1) // 2

    @property
    def free_symbols(self) -> set[sympy.Basic]:
        """What it varies over; the label is none of them."""
        return set(self.args[1 + self._half :])

    @property
    def derivative(self) -> Derivative:
        """The law's name and the orders in what it varies over; below zero for antiderivatives."""
        orders, over = self.args[1 : 1 + self._half], self.args[1 + self._half :]
        return Derivative.of(
            str(self.args[0])[:-2], {str(c): int(cast(Any, n)) for n, c in zip(orders, over, strict=True)}
        )

    def shifted(self, place: int, by: int) -> Law:
        """Differentiated so many times by the argument at a place among ``args``."""
        args: list[Any] = list(self.args)
        args[place - self._half] += by
        return cast(Law, Law(*args))

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        """Its derivative by one of ``args``, which SymPy counts from one."""
        return self.shifted(argindex - 1, 1) if argindex > 1 + self._half else sympy.S.Zero

    def integral(self, w: sympy.Symbol) -> Law:
        """Its antiderivative over one of what it varies over."""
        return self.shifted(self.args.index(w), -1)


def over_fields(names: Names, unknown: str) -> tuple[str, ...]:
    """The fields that an unknown varies over; none for one that is no law."""
    return tuple(c for c in names.over(unknown) if names.kind(c) == "field")


def as_functions(expr: sympy.Expr, names: Names) -> sympy.Expr:
    """An expression with the symbols of laws and of their derivatives as functions of the state."""
    found: dict[Any, Any] = {}
    for symbol in sorted(expr.free_symbols, key=str):
        kind, d = names.resolve(str(symbol))
        if kind == "unknown" and over_fields(names, d.field):
            over = names.over(d.field)
            orders = [sympy.Integer(d.along(c)) for c in over]
            found[symbol] = Law(sympy.Symbol(f"{d.field}()"), *orders, *map(sympy.Symbol, over))
    return cast(sympy.Expr, expr.xreplace(found))


def laws_in(expr: sympy.Basic) -> set[Derivative]:
    """Laws, their derivatives and antiderivatives in an expression with functions."""
    return {cast(Law, law).derivative for law in expr.atoms(Law)}


def as_symbols(expr: sympy.Expr) -> sympy.Expr:
    """The inverse of `as_functions`; antiderivatives become symbols too."""
    found = {law: sympy.Symbol(cast(Law, law).derivative.name) for law in expr.atoms(Law)}
    return cast(sympy.Expr, expr.xreplace(found))
