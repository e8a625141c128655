"""Closed forms of an unknown law, compared by their evidence.

A law that was found is a curve with the covariance of its error. A form with k parameters that misses the
curve by the chi-square X has ``BIC = X + k log n`` with n the number of samples (Schwarz, Ann. Stat. 6:461,
1978). Forms are fitted to the curve, not to the data: the one that is chosen is put into the equation and its
numbers are solved for as any others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import sympy
import xarray as xr
from scipy.optimize import least_squares
from scipy.stats import chi2

from mollifier.equations.lower import ArrayFunction
from mollifier.equations.names import Names
from mollifier.equations.syntax import read
from mollifier.equations.system import parse
from mollifier.errors import MollifierError, check_known
from mollifier.io.arguments import typed
from mollifier.mollify.arrays import Array
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution

#: Forms that are tried, in a state u and parameters.
FORMS: Mapping[str, str] = {
    "constant": "a",
    "linear": "a + b*u",
    "quadratic": "a + b*u + c*u^2",
    "cubic": "a + b*u + c*u^2 + d*u^3",
    "proportional": "a*u",
    "power": "a*u^m",
    "shifted power": "a*(1 + u/b)^m",
    "exponential": "a*exp(b*u)",
    "Monod": "a*u/(b + u)",
    "Hill": "a*u^m/(b^m + u^m)",
    "logistic growth": "a*u*(1 - u/b)",
    "growth with an Allee effect": "a*u*(u/b - 1)*(1 - u/c)",
    "odd cubic": "a*u^3 - b*u",
}

# Starting values of parameters: of factors in units of the law's size, of places in units of the state's
# range, and of exponents.
_FACTORS, _PLACES, _EXPONENTS = (1.0, -1.0), (0.3, 1.0), (1.0, 2.0)
_STEPS = 60  # Most evaluations of the misfit from each start.
# Share of the mean variance that is added to the curve's covariance: it has no exact directions, and lacks
# the bias of the curve's prior. With 1e-3 the right form of logistic growth was rejected in 1 of 6 runs.
_RIDGE = 0.1


@dataclass(frozen=True)
class ClosedForm:
    """A closed form of a law."""

    #: What it is called, and it itself in the state and the parameters, as an equation takes it.
    name: str
    formula: str
    parameters: Mapping[str, Estimate]  #: Fitted to the curve, with standard errors.
    misfit: float  #: Chi-square of its distance from the curve.
    probability: float  #: That chance makes a misfit as large or larger.
    bic: float  #: Schwarz's criterion: of two forms, the one with the lower value has the larger evidence.

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.parameters.values()))
        return f"{self.formula} ({self.name}): BIC {self.bic:.4g}, p {self.probability:.2g}; {numbers}"


@typed("forms")
def simplify(solution: Solution, name: str, forms: Mapping[str, str] | None = None) -> Sequence[ClosedForm]:
    """Closed forms of an unknown law of one state, that of the largest evidence first.

    Parameters
    ----------
    solution
        With the law, over the values of its state, and the modes of its error.
    name
        The law.
    forms
        Name -> formula in the state, written ``u``, and parameters; by default `FORMS`.

    Raises
    ------
    MollifierError
        If the solution has no such law, or no standard errors of it, or a formula cannot be read.

    Examples
    --------
    >>> u = np.linspace(0.1, 1.0, 101)
    >>> modes = 0.01 * np.array([np.ones(101), np.sin(3 * u), np.cos(5 * u)])
    >>> law = xr.Dataset({"D": ("u_value", u**2), "D_modes": (("D_mode", "u_value"), modes),
    ...     "u_visits": ("u_value", np.full(101, 9))}, {"u_value": u})
    >>> fit, history = xr.Dataset({"u": ("observation", u)}), xr.Dataset({"loss": ("step", [])})
    >>> from mollifier import Status
    >>> solution = Solution(Status("converged"), {}, law, fit, history, {})
    >>> found = simplify(solution, "D", {"linear": "a + b*u", "power": "a*u^m"})
    >>> found[0].formula, round(found[0].parameters["m"].value, 2)
    ('a*u^m', 2.0)
    """
    if not isinstance(forms, Mapping | None):
        raise MollifierError(
            f"forms={forms!r} was given; names with formulas were expected: {{'power': 'a*u^m'}}."
        )
    law, modes, count = _curve(solution, name)
    whole = modes.T @ modes
    whole += _RIDGE * np.trace(whole) / len(whole) * np.eye(len(whole))
    whiten = np.linalg.inv(np.linalg.cholesky(whole))
    given = (FORMS if forms is None else forms).items()
    found = [_fitted(label, formula, law, whiten, count, len(modes)) for label, formula in given]
    return tuple(sorted(filter(None, found), key=lambda f: f.bic))


def _curve(solution: Solution, name: str) -> tuple[xr.DataArray, Array, float]:
    """A law, the modes of its error (modes, nodes), and the number of samples that it rests on."""
    check_known([name], solution.unknown_fields, MollifierError, "The solution has no unknown field '{}'.")
    law = solution.dataset[name]
    if law.ndim != 1 or not str(law.dims[0]).endswith("_value") or f"{name}_modes" not in solution.dataset:
        raise MollifierError(
            f"'{name}' over {', '.join(map(str, law.dims))} has no closed form here: a law of one state with "
            "standard errors was expected."
        )
    return law, solution.dataset[f"{name}_modes"].values, float(solution.fit.sizes["observation"])


def _read(formula: str) -> sympy.Expr:
    """A formula in ``u`` and parameters, read as the equations are.

    >>> _read("a*u^m")
    a*u**m
    """
    if not isinstance(formula, str):
        raise MollifierError(f"A form was given as {formula!r}; a formula was expected, as 'a*u^m'.")
    statements = read(formula)
    if len(statements) != 1 or statements[0].right is not None:
        raise MollifierError(
            f"The form '{formula}' was given; one formula without '=' was expected, as 'a*u^m'."
        )
    names, nodes = set(), [statements[0].left]
    for node in nodes:
        nodes += node.children
        names |= {node.value} if node.kind == "name" else set()
    unknowns = {n: () for n in names - {"u", "pi"}}
    return parse(formula, Names(("u_place",), {"u": ("u_place",)}, unknowns)).equations[0].residual


def _fitted(
    label: str, formula: str, law: xr.DataArray, whiten: Array, count: float, modes: int
) -> ClosedForm | None:
    """A form fitted to a curve (n,); None where it is not finite on it, or has no determined parameters."""
    x, y = law[law.dims[0]].values.astype(float), law.values.astype(float)
    free = "comment" in law.attrs  # known up to a constant, its mean zero
    expression = _read(formula)
    u = sympy.Symbol("u")
    symbols = sorted(expression.free_symbols - {u}, key=str)
    function = ArrayFunction(expression)

    def residuals(parameters: Array) -> Array:
        env = dict(zip(map(str, symbols), parameters, strict=True)) | {"u": x}
        with np.errstate(all="ignore"):
            values = np.broadcast_to(function(env), x.shape)
        gap = values - y
        gap = whiten @ (gap - gap.mean() if free else gap)
        return np.where(np.isfinite(gap), gap, 1e6)

    starts = list(product(*(_starts(str(s), x, y) for s in symbols)))
    linear = all(sympy.diff(expression, s, t) == 0 for s in symbols for t in symbols)
    fits = [
        least_squares(residuals, p, x_scale="jac", max_nfev=_STEPS) for p in starts[: 1 if linear else None]
    ]
    best = min(fits, key=lambda f: f.cost)
    misfit, information = 2 * float(best.cost), best.jac.T @ best.jac
    if not misfit < 1e9 or np.linalg.matrix_rank(information) < len(symbols):
        return None
    sd = np.sqrt(np.diag(np.linalg.inv(information)))
    found = {
        str(s): Estimate(str(s), float(v), float(e)) for s, v, e in zip(symbols, best.x, sd, strict=True)
    }
    probability = float(chi2.sf(misfit, max(modes - len(symbols), 1)))
    state = sympy.Symbol(str(law.dims[0]).removesuffix("_value"))
    written = str(expression.xreplace({u: state})).replace("**", "^")
    return ClosedForm(label, written, found, misfit, probability, misfit + len(symbols) * np.log(count))


def _starts(parameter: str, x: Array, y: Array) -> list[float]:
    """Values that a parameter starts from: ``a`` and ``d`` are factors, ``m`` an exponent, others places."""
    if parameter == "m":
        return list(_EXPONENTS)
    size = float(np.abs(y).max()) or 1.0
    if parameter in "ad":
        return [f * size for f in _FACTORS]
    return [p * (float(np.abs(x).max()) or 1.0) for p in _PLACES]
