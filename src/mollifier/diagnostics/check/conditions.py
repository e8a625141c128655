"""Conditions that say nothing new at their place, or what cannot hold there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy

from mollifier.diagnostics.check.findings import Finding, about
from mollifier.equations.algebra import expand
from mollifier.equations.system import Equation
from mollifier.problem.inverse_problem import InverseProblem

info, warn, error = about("conditions")

_ROUNDING = 1e-9  # Relative size below which a coefficient is rounding.


def of_conditions(problem: InverseProblem) -> Iterator[Finding]:
    """Exact conditions that follow from others at their place and from the equations, or contradict them."""
    held: dict[tuple[tuple[str, float], ...], list[Equation]] = {}
    for condition in problem.system.conditions:
        place = tuple(sorted(condition.at.items()))
        if condition.noise:
            continue
        before = held.setdefault(place, list(problem.system.equations))
        left = _beside(condition, before, problem)
        before.append(condition)
        if left is None:
            continue
        if left == 0:
            yield warn(
                f"'{condition}' follows from the equations and the conditions before it.", "Leave it out."
            )
        else:
            yield error(
                f"'{condition}' cannot hold: with the equations and the conditions before it, {left} = 0.",
                "Leave one of them out, or give it a standard error (noise).",
            )


def _beside(condition: Equation, before: list[Equation], problem: InverseProblem) -> sympy.Expr | None:
    """What is left of a condition without states and unknowns, less multiples of others; None if any stays.

    Monomials of states and unknowns are taken for independent of one another.
    """
    resolve = problem.system.names.resolve
    places = {sympy.Symbol(c): x for c, x in condition.at.items()}
    free = {sympy.Symbol(s) for s in problem.system.symbols if resolve(s).kind in ("field", "unknown")}
    residuals: list[Any] = [e.residual.xreplace(places) for e in (*before, condition)]
    split = [expand(r).as_coefficients_dict() for r in residuals]
    monomials = list(dict.fromkeys(m for terms in split for m in terms if m.free_symbols & free))
    rows = np.array([[float(terms.get(m, 0)) for m in monomials] for terms in split])
    size = float(np.abs(rows[-1]).max())
    found = np.linalg.lstsq(rows[:-1].T, rows[-1], rcond=None)[0]
    if np.abs(rows[:-1].T @ found - rows[-1]).max() > _ROUNDING * size:
        return None
    known = [sum(c * m for m, c in terms.items() if not m.free_symbols & free) for terms in split]
    factors = [sympy.nsimplify(f, rational=True) if abs(f) > _ROUNDING else 0 for f in found.round(9)]
    rest = expand(sympy.sympify(known[-1] - sum(f * k for f, k in zip(factors, known[:-1], strict=True))))
    return sympy.S.Zero if rest.is_number and abs(float(rest)) < _ROUNDING else rest
