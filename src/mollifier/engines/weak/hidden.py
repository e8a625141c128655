"""States without data in the weak engine: eliminated, and found afterwards by linear least squares.

A hidden state p that enters two equations or more through derivatives with known numbers only,
``r_i + L_i p = 0``, is eliminated by ``L_1 r_i - L_i r_1 = 0``, since such operators commute: of the
momentum equations their curl is left. With the unknowns found, p solves ``L_i p = -r_i`` in the mean square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
import sympy
import xarray as xr
from scipy.sparse.linalg import lsmr

from mollifier.engines.identifiability.structure import gauge_text, gauges
from mollifier.engines.visits import unit_attrs
from mollifier.engines.weak.rewriting import rewritten
from mollifier.engines.weak.smoothing import ACCURACY, KERNEL, radius_of
from mollifier.equations.algebra import Algebra, differentiate, number
from mollifier.equations.lower import ArrayFunction
from mollifier.errors import MollifierError
from mollifier.mollify.arrays import Array
from mollifier.mollify.differentiate import differentiate as differentiate_values
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.matrices import kron, rows_matrix
from mollifier.mollify.orders import Derivative
from mollifier.mollify.stencils import rows
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

Operator = dict[Derivative, float]

_CELLS = 4.0  # Radius of derivatives, in cells.
_LEAST_SQUARES: dict[str, Any] = {"atol": 1e-6, "btol": 1e-6, "maxiter": 2000}


def without_hidden(problem: InverseProblem) -> InverseProblem | None:
    """The problem in weak form as far as `rewritten` goes, its hidden states eliminated; None where not.

    The problem itself if nothing is to be done.

    >>> from mollifier import Observations, ScalarUnknown, StateUnknown
    >>> values = xr.DataArray(np.ones((3, 3, 3)), dict.fromkeys("xyt", [0.0, 1.0, 2.0]), tuple("xyt"))
    >>> data = Observations.from_dataset(xr.Dataset({"u": values, "v": values}), noise=0.01)
    >>> flow = ["u_t = -p_x + k*u_xx", "v_t = -p_y + k*v_xx"]
    >>> problem = InverseProblem(flow, data, {"k": ScalarUnknown()}, states={"p": StateUnknown()})
    >>> without_hidden(problem).system.equations[0].residual
    k*u_xxy - k*v_xxx - u_ty + v_tx
    """
    problem = rewritten(problem)
    if not problem.hidden:
        return problem
    if not problem.data.gridded:
        return None
    whole = {n for n in problem.hidden if problem.coordinates_of(n) == problem.coordinates}
    missing = any(bool(problem.data.dataset[f].isnull().any()) for f in problem.fields)
    bounded = any(problem.states[n].bounded for n in problem.hidden)
    if missing or bounded or problem.system.conditions or not whole >= {*problem.hidden}:
        return None
    algebra, residuals = Algebra(problem.system.names), [e.residual for e in problem.system.equations]
    try:
        for name in problem.hidden:
            operators = [operator_on(problem, r, name) for r in residuals]
            holding = [i for i, o in enumerate(operators) if o]
            if len(holding) < 2 or any(o is None for o in operators):
                return None
            rest, (first, *others) = [_without(problem, r, [name]) for r in residuals], holding
            crossed = [
                _applied(algebra, operators[first], rest[i]) - _applied(algebra, operators[i], rest[first])
                for i in others
            ]
            residuals = [r for i, r in enumerate(rest) if i not in holding] + crossed
        return replace(problem, equation=residuals, states={})
    except MollifierError:  # what is differentiated has no such derivative, or an unknown is left over
        return None


def operator_on(problem: InverseProblem, residual: sympy.Expr, name: str) -> Operator | None:
    """Derivatives of a state in a residual, with their factors; None where one is no number."""
    found: Operator = {}
    for symbol, derivative in _symbols_of(problem, residual, [name]).items():
        factor = differentiate(sympy.expand(residual), symbol)
        if not factor.is_number:
            return None
        found[derivative] = float(factor)
    return found


def restored(problem: InverseProblem, seen: InverseProblem, solution: Solution) -> Solution:
    """The solution of the problem ``seen`` that `without_hidden` gives as one of the problem itself.

    The equations that were solved are in the provenance, as ``rewritten``.
    """
    provenance = {**solution.provenance, "rewritten": [e.text for e in seen.system.equations]}
    dataset = _with_states(problem, solution) if problem.hidden else solution.dataset
    return replace(solution, dataset=dataset, provenance=provenance)


def _with_states(problem: InverseProblem, solution: Solution) -> xr.Dataset:
    """The fields of the solution and the hidden states, by least squares.

    Of the least-squares solutions it is the smallest: a state that is free up to a function of some
    coordinates has the mean zero.
    """
    names, periodic, data = problem.coordinates, problem.data.periodic, solution.dataset
    axes = [Axis.from_points(c, data[c].values, periodic=periodic.get(c, False)) for c in names]
    grid, hidden = Grid(*axes), problem.hidden
    env, left, right = _environment(problem, solution, grid), [], []
    for e in problem.system.equations:
        operators = [operator_on(problem, e.residual, n) or {} for n in hidden]
        if any(operators):
            left.append([_matrix(grid, o) for o in operators])
            value = ArrayFunction(_without(problem, e.residual, hidden))(env)
            right.append(-np.broadcast_to(value, grid.shape).ravel())
    found = lsmr(sp.block_array(left, format="csr"), np.concatenate(right), **_LEAST_SQUARES)[0]
    dataset, free = data.copy(), gauges(problem)
    for name, values in zip(hidden, found.reshape(len(hidden), *grid.shape), strict=True):
        attrs = {"comment": gauge_text(problem, name)} if name in free else {}
        dataset[name] = (names, values, attrs | unit_attrs(problem.states[name].unit))
    return dataset


def _symbols_of(
    problem: InverseProblem, residual: sympy.Expr, names: Sequence[str]
) -> dict[sympy.Symbol, Derivative]:
    """The symbols of some states and their derivatives in a residual."""
    return {sympy.Symbol(d.name): d for d in problem.system.names.states_in(residual) if d.field in names}


def _without(problem: InverseProblem, residual: sympy.Expr, names: Sequence[str]) -> sympy.Expr:
    """A residual without its terms in some states."""
    symbols = _symbols_of(problem, residual, names)
    return cast(sympy.Expr, residual.xreplace(dict.fromkeys(symbols, sympy.S.Zero)))


def _applied(algebra: Algebra, operator: Operator | None, expression: sympy.Expr) -> sympy.Expr:
    """An operator applied to an expression."""
    parts = (number(f) * algebra.totals(expression, d.orders) for d, f in (operator or {}).items())
    return sympy.Add(*parts)


def _environment(problem: InverseProblem, solution: Solution, grid: Grid) -> dict[str, Array]:
    """Everything that the equations name, but for hidden states, on the grid of the solution."""
    env = {n: np.asarray(e.value) for n, e in solution.estimates.items()}
    mesh = np.meshgrid(*(a.points for a in grid), indexing="ij", sparse=True)
    env |= dict(zip(grid.names, mesh, strict=True))
    for name in problem.known:
        over = problem.data.coordinates_of(name)
        env[name] = np.asarray(problem.data.interpolate(name, {c: env[c] for c in over}))
    for name in (*problem.fields, *problem.unknown_fields):
        over = [n for n in grid.names if n in solution.dataset[name].dims]
        part = grid.subgrid(over)
        values = solution.dataset[name].transpose(*over).values
        shape = [a.size if a.name in over else 1 for a in grid]
        for d in problem.system.derivatives[name]:
            smooth = differentiate_values(values, part, dict(d.orders), radius=radius_of(part, _CELLS))
            env[d.name] = np.asarray(smooth).reshape(shape)
    return env


def _matrix(grid: Grid, operator: Operator) -> sp.csr_array:
    """An operator on values at the nodes, shape (nodes, nodes)."""
    total = sp.csr_array((grid.size, grid.size))
    radius = radius_of(grid, _CELLS)
    for d, factor in operator.items():
        parts = [
            rows_matrix(rows(a, a.points, KERNEL, radius[a.name], d.along(a.name), ACCURACY))
            if d.along(a.name)
            else sp.eye_array(a.size)
            for a in grid
        ]
        total = total + factor * kron(parts)
    return sp.csr_array(total)
