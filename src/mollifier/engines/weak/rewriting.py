"""Equations brought to a form whose derivatives can move onto test functions, by others of the system.

``u*u_x + v*u_y`` is no derivative of anything, but with ``u*(u_x + v_y) = 0`` added it is
``dx(u*u) + dy(u*v)``.
"""

from __future__ import annotations

from dataclasses import replace

import sympy

from mollifier.equations.algebra import differentiate, expand
from mollifier.equations.conservative import ConservativeTerm, conservative
from mollifier.problem.inverse_problem import InverseProblem


def rewritten(problem: InverseProblem) -> InverseProblem:
    """The problem with multiples of linear equations without unknowns added where that helps.

    The problem itself where nothing helps, or nothing is needed.

    >>> import numpy as np
    >>> from mollifier import Observations, ScalarUnknown
    >>> x, y, t = np.random.default_rng(0).random((3, 50))
    >>> data = Observations({"u": x * t, "v": y * t}, {"x": x, "y": y, "t": t}, noise=0.01)
    >>> flow = ["u_t + u*u_x + v*u_y = k*lap(u)", "u_x + v_y = 0"]
    >>> found = rewritten(InverseProblem(flow, data, {"k": ScalarUnknown()}))
    >>> found.system.equations[0].residual
    -k*u_xx - k*u_yy + 2*u*u_x + u*v_y + u_t + u_y*v
    """
    residuals = [e.residual for e in problem.system.equations]
    constraints = [r for r in residuals if _is_linear(problem, r)]
    if not constraints:
        return problem
    found = [_rewritten(problem, r, constraints) for r in residuals]
    return problem if found == residuals else replace(problem, equation=found)


def _rewritten(problem: InverseProblem, residual: sympy.Expr, constraints: list[sympy.Expr]) -> sympy.Expr:
    """A residual with multiples of the constraints added, one after another, while each helps."""
    while stuck := _stuck(problem, residual):
        products = {
            expand(residual + sign * term.coefficient * sympy.Symbol(field) * constraint)
            for constraint in constraints
            for term in stuck
            for field in problem.fields
            for sign in (1, -1)
        }
        best = min(sorted(products, key=str), key=lambda r: len(_stuck(problem, r)))
        if len(_stuck(problem, best)) >= len(stuck):
            break
        residual = best
    return residual


def _stuck(problem: InverseProblem, residual: sympy.Expr) -> list[ConservativeTerm]:
    """Terms whose derivatives cannot be moved."""
    names = problem.system.names
    return [t for t in conservative(residual, names) if any(d.total for d in names.states_in(t.flux))]


def _is_linear(problem: InverseProblem, residual: sympy.Expr) -> bool:
    """Whether a residual is a sum of states and their derivatives with numbers as factors."""
    states = problem.system.names.states_in(residual)
    slopes = [differentiate(residual, sympy.Symbol(d.name)) for d in states]
    return 0 < len(states) == len(residual.free_symbols) and all(s.is_number for s in slopes)
