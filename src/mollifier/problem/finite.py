"""Whether what the equations hold beside fields and unknowns is finite where they are imposed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy
import xarray as xr

from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.errors import EquationError
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem


def check_finite(problem: InverseProblem, place: Collocation | None = None) -> None:
    """Refuse equations with a coefficient that is infinite or no number, as 1/r at r = 0.

    Coefficients are parts of terms that hold coordinates and known variables only. Places where a known
    variable itself is missing are no concern of theirs. At the nodes of a collocation coordinates alone are
    examined.

    >>> from mollifier import Observations, ScalarUnknown
    >>> r, t = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 4))
    >>> obs = Observations({"u": 1 + (r * t).ravel()}, {"r": r.ravel(), "t": t.ravel()}, noise=0.01)
    >>> check_finite(InverseProblem("u_t = k*(u_rr + u_r/r)", obs, {"k": ScalarUnknown()}))
    Traceback (most recent call last):
    mollifier.errors.EquationError: 'u_t = k*(u_rr + u_r/r)': the term -k*u_r/r is not finite at r = 0 (4 of
    20 places), where 1/r is inf. Multiply the equation by r: 'r*(u_t) = r*(k*(u_rr + u_r/r))'.
    """
    values, inside = problem.data.dataset, xr.DataArray(True)
    if place is not None:
        values = xr.Dataset(coords={a.name: a.points for a in place.grid})
        inside = inside if place.inside is None else xr.DataArray(place.inside, dims=place.grid.names)
    known = {sympy.Symbol(n) for n in (*problem.coordinates, *problem.known) if n in values.variables}
    for equation in problem.system.equations:
        for term in equation.terms:
            for part in _known_parts(term, known):
                _check(equation, term, part, values, inside)


def _known_parts(expression: sympy.Basic, known: set[sympy.Symbol]) -> Iterator[Any]:
    """The largest parts of an expression that hold known symbols, and no others."""
    if expression.is_Mul:
        factors = [f for f in expression.args if f.free_symbols and f.free_symbols <= known]
        if factors:
            yield sympy.prod(factors)
        rest = [f for f in expression.args if not f.free_symbols <= known]
    else:
        rest = list(expression.args)
        if expression.free_symbols and expression.free_symbols <= known:
            yield expression
            return
    for part in rest:
        yield from _known_parts(part, known)


def _check(equation: Equation, term: sympy.Expr, part: Any, values: xr.Dataset, inside: xr.DataArray) -> None:
    """Refuse a part of a term that is not finite where all names in it are."""
    names = sorted(str(s) for s in part.free_symbols)
    *arrays, inside = xr.broadcast(*(values[n] for n in names), inside)
    env = {n: np.asarray(a.values, float) for n, a in zip(names, arrays, strict=True)}
    with np.errstate(all="ignore"):
        found, below = (
            np.broadcast_to(ArrayFunction(e)(env), arrays[0].shape) for e in (part, sympy.denom(part))
        )
    bad = ~np.isfinite(found) & inside.values & np.all([np.isfinite(v) for v in env.values()], axis=0)
    if not bad.any():
        return
    first = np.unravel_index(int(np.argmax(bad)), bad.shape)
    where = ", ".join(f"{n} = {float(env[n][first]):.4g}" for n in names)
    advice = "Cut the data so that they leave it out (data.window), or write the term so that it is finite."
    if not below[bad].any() and {*sympy.Mul.make_args(part)} <= {*sympy.Mul.make_args(term)}:
        sides = [f"{sympy.denom(part)}*({s.strip()})" for s in equation.text.split("=")]
        advice = f"Multiply the equation by {sympy.denom(part)}: '{' = '.join(sides)}'."
    raise EquationError(
        f"'{equation.text}': the term {term} is not finite at {where} ({int(bad.sum()):,} of {bad.size:,} "
        f"places), where {part} is {found[first]:g}. {advice}"
    )
