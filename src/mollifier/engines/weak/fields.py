"""Unknown fields of an estimate on a grid: values, standard errors, and standard errors without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mollifier.engines.identifiability.structure import gauge_text, gauges
from mollifier.engines.linalg.dense import contract, factored, inverted
from mollifier.engines.splines.basis import Basis
from mollifier.engines.splines.laws import LawBasis
from mollifier.engines.visits import mode_variable, unit_attrs
from mollifier.engines.weak.estimate import Fit
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import value_axis


def field_variables(
    problem: InverseProblem, fit: Fit, basis: Basis, place: slice, grid: Grid
) -> dict[str, Any]:
    """Variables of a dataset: a field, its standard error and its prior standard error.

    A field that the equations leave open but for its derivatives has a mean of zero. ``basis`` has the
    field's functions, and ``place`` is where their coefficients are. The nodes of the dataset, and of the
    values of the states that laws vary over, are those of the grid.
    """
    over = tuple(basis.splines)
    shape = tuple(grid[c].size for c in over)
    at_nodes = Basis(basis.name, basis.splines, grid)
    dims = tuple(value_axis(c) if c in problem.fields else c for c in over)
    name, unknown, left = basis.name, problem.unknowns[basis.name], gauges(problem).get(basis.name)
    centred = None if left is None else basis.without_mean(left)

    def fixed(of: Array) -> Array:
        return of if centred is None else centred @ of

    values = at_nodes.evaluate(fixed(fit.coefficients[place]), Derivative(name))
    parts = [basis.splines[c].matrix(0, grid[c].points) for c in over]
    posterior_sd, prior_sd = (
        pointwise_sd(parts, fixed(fixed(c).T))
        for c in (fit.covariance[place, place], prior_covariance(fit, basis))
    )
    sd = posterior_sd * fit.widening
    if len(fit.resolution):
        unresolved = at_nodes.evaluate(fixed(fit.resolution[place]), Derivative(name))
        sd = np.hypot(sd, unresolved.reshape(shape))
    # Bounds are held at places close to one another; between these they may be missed slightly.
    bounds = (unknown.lower, unknown.upper) if left is None else (None, None)
    values = np.clip(values.reshape(shape), *bounds)
    attrs = unit_attrs(unknown.unit) | ({} if left is None else {"comment": gauge_text(problem, name)})
    found = {
        name: (dims, values, attrs),
        f"{name}_sd": (dims, sd, {"long_name": f"standard error of {name}"}),
        f"{name}_prior_sd": (dims, prior_sd, {"long_name": f"{name} without data"}),
    }
    if isinstance(basis, LawBasis) and len(over) == 1 and np.isfinite(sd).all():
        errors = fit.widening**2 * fixed(fixed(fit.covariance[place, place]).T)
        found |= mode_variable(name, dims, parts[0] @ errors @ parts[0].T)
    return found


def prior_covariance(fit: Fit, basis: Basis) -> Array:
    """Covariance (size, size) of a field's coefficients without data; large where the prior is flat."""
    if basis.name not in fit.precisions:
        return np.full((basis.size, basis.size), np.inf)
    precision = fit.precisions[basis.name]
    return inverted(precision + np.finfo(float).eps * np.linalg.norm(precision, 1) * np.eye(basis.size))


def pointwise_sd(parts: Sequence[Array], covariance: Array) -> Array:
    """Standard errors of a field at nodes: roots of the diagonal of ``P C P'``, by the Cholesky factor of C.

    P is the Kronecker product of the parts, and the result has an axis for each of them.

    Each coefficient is scaled by its standard error: splines that barely reach into the domain vary by orders
    of magnitude more than others.

    The parts are splines along each axis at its nodes, (nodes, splines), and the covariance C is (size,
    size).
    """
    nodes = [len(p) for p in parts]
    total = np.zeros(nodes)
    if not np.isfinite(covariance).all():
        return np.full(nodes, np.inf)
    scale = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    factor = factored(covariance / np.outer(scale, scale), 1e-12) * scale[:, None]
    sizes = [p.shape[1] for p in parts]
    for column in factor.T:
        total += contract(column.reshape(sizes), parts) ** 2
    return np.sqrt(total)
