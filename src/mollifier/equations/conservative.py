"""Residuals as sums of ``coefficient * D^a flux``, whose derivatives can then move onto a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from mollifier.equations.algebra import Algebra, expand
from mollifier.equations.functions import FUNCTIONS, name_of
from mollifier.equations.laws import Law, as_functions
from mollifier.equations.names import Names
from mollifier.errors import EquationError

# Operations spent on derivatives of fluxes; the terms left then stay as they are.
_MOST_WORK = 2_000
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ConservativeTerm:
    """``coefficient * D^derivative (flux)``."""

    #: Coordinate -> order; empty where nothing could be, or had to be, pulled out.
    derivative: dict[str, int]
    #: An expression in state variables and laws of them, which are functions, see `mollifier.equations.laws`;
    #: without derivatives unless ``derivative`` is empty.
    flux: sympy.Expr
    coefficient: sympy.Expr  #: Numbers, unknowns and their derivatives, known data and coordinates.


def conservative(residual: sympy.Expr, names: Names) -> list[ConservativeTerm]:
    """Bring an expanded residual to conservative form as far as single fluxes go.

    The highest derivatives go first: for a term ``c * g * w_a`` the flux is the integral of ``g`` over ``w``,
    and it is taken if every term of ``c * D^a flux`` is there to be replaced.

    >>> names = Names(("x", "t"), fields={"u": ("x", "t")}, unknowns={"k": ("x",)})
    >>> u, u_x, u_xx, k = sympy.symbols("u u_x u_xx k")
    >>> for term in conservative(k * u_xx + u * u_x, names):
    ...     print(term.coefficient, term.derivative, term.flux)
    k {'x': 2} u
    1 {'x': 1} u**2/2
    """
    rest = _by_monomial(as_functions(residual, names))
    algebra = Algebra(names, _MOST_WORK)
    found: list[ConservativeTerm] = []
    orders = {m: max((d.total for d in names.states_in(m)), default=0) for m in rest}
    for monomial in sorted(rest, key=lambda m: (-orders[m], str(m))):
        if monomial not in rest:
            continue
        term = _pull_out(rest[monomial] * monomial, rest, algebra)
        if term is not None:
            found.append(term)
    for monomial, c in rest.items():
        outside, inside = _split(c * monomial, names)
        found.append(ConservativeTerm({}, inside, outside))
    return found


def _by_monomial(expr: sympy.Expr) -> dict[sympy.Expr, sympy.Expr]:
    return {m: c for c, m in (t.as_coeff_Mul() for t in sympy.Add.make_args(expr)) if c != 0}


def _split(term: sympy.Expr, names: Names) -> tuple[sympy.Expr, sympy.Expr]:
    """Coefficient and state part of a product."""
    outside, inside = [], []
    for f in sympy.Mul.make_args(term):
        (inside if names.states_in(f) else outside).append(f)
    return sympy.Mul(*outside), sympy.Mul(*inside)


def _pull_out(
    term: sympy.Expr, rest: dict[sympy.Expr, sympy.Expr], algebra: Algebra
) -> ConservativeTerm | None:
    """The conservative term that replaces ``term`` and what belongs to it; these then leave ``rest``."""
    names = algebra.names
    outside, inside = _split(term, names)
    jets = sorted((d for d in names.states_in(inside) if d.total), key=lambda d: -d.total)
    if not jets or (len(jets) > 1 and jets[1].total == jets[0].total):
        return None
    top = jets[0]
    g = inside / sympy.Symbol(top.name)
    if any(d.total for d in names.states_in(g)):
        return None
    flux = _integral(g, sympy.Symbol(top.field))
    if flux is None:
        return None
    try:
        parts = _by_monomial(expand(outside * algebra.totals(flux, top.orders)))
    except EquationError:
        return None  # too large to be worth it
    left: dict[sympy.Expr, sympy.Expr] = {}
    for monomial, c in parts.items():
        had = rest.get(monomial)
        if had is None or not (c / had).is_number or not 0 < float(c / had) < 2:
            return None
        left[monomial] = had - c if abs(float(c / had) - 1) > _ROUNDING else sympy.S.Zero
    for monomial, c in left.items():
        rest.pop(monomial)
        if c != 0:
            rest[monomial] = c
    return ConservativeTerm(dict(top.orders), flux, outside)


def _integral(g: sympy.Expr, w: sympy.Symbol) -> sympy.Expr | None:
    """Integral over ``w`` of a product with ``w`` in one power, or one function with an antiderivative.

    A law times a polynomial is integrated by parts.
    """
    outer, inner = g.as_independent(w, as_Add=False)
    if inner == 1:
        return outer * w
    laws = [f for f in sympy.Mul.make_args(inner) if isinstance(f, Law)]
    if len(laws) == 1 and (factor := inner / laws[0]).is_polynomial(w):
        flux, law = sympy.S.Zero, laws[0]
        while factor != 0:
            law = law.integral(w)
            flux, factor = flux + outer * factor * law, -factor.diff(w)
        return flux
    base, exponent = (inner.base, inner.exp) if isinstance(inner, sympy.Pow) else (inner, sympy.S.One)
    name = name_of(inner.func)
    antiderivative = FUNCTIONS[name].antiderivative if name else None
    argument: Any = inner.args[0] if antiderivative else base
    slope = argument.diff(w)
    if slope == 0 or slope.has(w) or exponent.has(w):
        return None
    if antiderivative:
        return outer * antiderivative(argument) / slope
    if not exponent.is_number:
        return None
    if exponent == -1:
        return outer * sympy.log(base) / slope
    return outer * base ** (exponent + 1) / ((exponent + 1) * slope)
