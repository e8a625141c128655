"""Slopes of the equations by their unknowns at some of the samples, summed to information and score.

At a sample the equation reads ``r(d, theta) = 0`` with the fields' derivatives d known up to errors of
covariance C, so that its residual has the variance ``s^2 = g'C g`` with ``g = dr/dd``. To first order, then,
the information is the sum of ``F F'/s^2`` with ``F = dr/dtheta``. Noise is in F too and would pass for
information: its part, ``cov(F, F)/s^2``, is subtracted, as corrected scores do (Nakamura, Biometrika 77:127,
1990). An unknown field is a tensor product of B-splines on few cells, the resolution of its information.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from mollifier.engines.identifiability.structure import Terms, gauges
from mollifier.engines.splines.basis import AxisSplines
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.mollify.arrays import Array, rms, slices
from mollifier.mollify.grid import Axis
from mollifier.mollify.matrices import row_products
from mollifier.mollify.orders import Derivative
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import labels

# Cells along each coordinate of an unknown field's spline, by the number of coordinates.
_CELLS = {1: 9, 2: 5, 3: 3}
_LENGTH = 0.3  # Correlation length of an unknown field around its measurements, in lengths of the domain.
_SMOOTHING_RESIDUAL = 0.01  # Residual that smoothing leaves of an equation that holds, over its largest term.


@dataclass(frozen=True)
class Sums:
    """Information and score, summed over samples and equations."""

    #: Without the noise of the regressors, and that noise, shape (p, p).
    information: Array
    noise: Array
    score: Array  #: Shape (p,).
    #: The noise of each residual, for the unknown numbers alone, shape (residuals, k, k).
    noise_of_rows: Array


class SampledBasis:
    """Splines of the unknowns at the samples: symbol -> matrix (n, parameters of its unknown)."""

    def __init__(self, terms: Terms, constant: bool) -> None:
        problem = terms.problem
        self.matrices: dict[str, tuple[str, Array]] = {}
        for name in problem.unknowns:
            for d in problem.system.derivatives[name]:
                matrix = (
                    np.full((terms.count, 1), float(d.total == 0))
                    if constant or name in problem.scalars
                    else splines(problem, name, {**terms.places, **terms.states}, d)
                )
                self.matrices[d.name] = name, matrix
        sizes = {n: matrix.shape[1] for n, matrix in self.matrices.values()}
        self.parts = dict(zip(sizes, slices(sizes.values()), strict=True))
        self.size = sum(sizes.values())

    def wide(self, symbol: str) -> Array:
        """A symbol's matrix over all parameters, shape (n, p)."""
        name, matrix = self.matrices[symbol]
        whole = np.zeros((len(matrix), self.size))
        whole[:, self.parts[name]] = matrix
        return whole

    def env(self, theta: Array) -> dict[str, Array]:
        """Symbol -> values at the samples."""
        return {s: m @ theta[self.parts[n]] for s, (n, m) in self.matrices.items()}


def _fineness(problem: InverseProblem, name: str) -> tuple[tuple[str, ...], int, int]:
    """An unknown field's coordinates, its splines' degree, and their cells along each coordinate."""
    over = problem.unknowns[name].over or ()
    highest = max(d.total for d in problem.system.derivatives[name])
    return over, max(3, highest + 1), _CELLS.get(len(over), 2)


def _sizes(problem: InverseProblem, name: str) -> list[int]:
    """Number of an unknown field's splines along each coordinate; of values, along those of experiments."""
    over, degree, cells = _fineness(problem, name)
    apart = labels(problem)
    return [len(_values(problem, c)) if c in apart else cells + degree for c in over]


def _values(problem: InverseProblem, coordinate: str) -> Array:
    return np.unique(problem.data.dataset[coordinate].values)


def splines(problem: InverseProblem, name: str, places: Mapping[str, Array], d: Derivative) -> Array:
    """A derivative of an unknown field's splines at places, shape (n, number of splines)."""
    over, degree, cells = _fineness(problem, name)
    apart = labels(problem)
    result = np.ones((len(next(iter(places.values()))), 1))
    for c in over:
        if c in apart:
            along = np.equal(places[c][:, None], _values(problem, c)).astype(float)
        else:
            axis = AxisSplines(Axis(c, *problem.extent(c), 2), cells + degree, degree)
            along = axis.matrix(d.along(c), places[c])
        result = row_products(result, along)
    return result


def gauge_fixing(problem: InverseProblem, name: str) -> Array:
    """Takes from an unknown field's coefficients what `gauges` leave open, shape (splines, splines)."""
    left = gauges(problem).get(name)
    sizes = dict(zip(problem.unknowns[name].over or (), _sizes(problem, name), strict=True))
    whole = np.eye(int(np.prod(list(sizes.values()))))
    if left is None:
        return whole
    means = (np.eye(n) if c in left else np.full((n, n), 1 / n) for c, n in sizes.items())
    return np.asarray(whole - reduce(np.kron, means), dtype=float)


def correlation(problem: InverseProblem, name: str) -> Array:
    """Prior correlation of an unknown field's coefficients.

    Independent coefficients, so that each part rests on its own data. With measurements of the field, Matern
    of order 3/2 along each coordinate, so that a measurement informs of its surroundings.
    """
    over, _, cells = _fineness(problem, name)
    apart = labels(problem)
    result = np.ones((1, 1))
    for c, size in zip(over, _sizes(problem, name), strict=True):
        distance = np.sqrt(3) * np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / cells / _LENGTH
        near = name in problem.measurements and c not in apart
        result = np.kron(result, (1 + distance) * np.exp(-distance) if near else np.eye(size))
    return np.asarray(result, float)


class Linearised:
    """One equation's residual and its slopes, by unknowns and by what carries noise."""

    def __init__(self, equation: Equation, terms: Terms) -> None:
        self.terms = terms
        self.equation = equation
        owned = {d.name for n in terms.problem.unknowns for d in terms.problem.system.derivatives[n]}
        self.symbols = [s for s in equation.symbols if s in owned]
        self.residual = ArrayFunction(equation.residual)
        self.slopes = [equation.partial(s) for s in self.symbols]
        self.by_noise = terms.by_noise(equation.residual)
        self.mixed = [terms.by_noise(f.expression) for f in self.slopes]

    def sums(self, basis: SampledBasis, theta: Array, weight: float) -> Sums:
        """Information and score of this equation, linearised at a value of the unknowns."""
        terms, c = self.terms, self.terms.covariance
        values = basis.env(theta)
        env = {**terms.env, **values}
        f, g = terms.stacked(self.slopes, env), terms.stacked(self.by_noise, env)
        f_noise = np.stack([terms.stacked(row, env) for row in self.mixed], axis=1)
        r = terms.values(self.residual, env)
        at = np.stack([values[s] for s in self.symbols], axis=1)
        y = np.einsum("na,na->n", f, at) - r
        y_noise = np.einsum("naq,na->nq", f_noise, at) - g
        s2 = np.einsum("nq,nqp,np->n", g, c, g) + (_SMOOTHING_RESIDUAL * self.largest(env)) ** 2
        good = np.isfinite(s2) & np.isfinite(y) & np.isfinite(f).all(axis=1) & (s2 > 0)
        w = np.where(good, weight / np.where(good, s2, 1.0), 0.0)
        f, y, f_noise, y_noise = (np.nan_to_num(v) for v in (f, y, f_noise, y_noise))
        wide = np.stack([basis.wide(s) for s in self.symbols], axis=1)
        z = np.einsum("na,nap->np", f, wide)
        shared = np.einsum("naq,nqr->nar", f_noise, np.nan_to_num(c))
        spread = np.einsum("nar,nbr,n->nab", shared, f_noise, w)
        noise = np.einsum("nap,nab,nbs->ps", wide, spread, wide, optimize=True)
        numbers = wide[:, :, [basis.parts[n].start for n in terms.problem.scalars]]
        of_rows = np.einsum("nap,nab,nbs->nps", numbers, spread, numbers, optimize=True)
        score = z.T @ (w * y) - np.einsum("nap,nar,nr,n->p", wide, shared, y_noise, w, optimize=True)
        return Sums((z.T * w) @ z - noise, noise, score, of_rows)

    def largest(self, env: Mapping[str, Array]) -> float:
        """Root mean square of the largest term."""
        with np.errstate(all="ignore"):
            sizes = [rms(np.atleast_1d(v)) for v in self.equation.evaluate_terms(env)]
        return max((s for s in sizes if np.isfinite(s)), default=0.0)

    def misfit(self, env: Mapping[str, Array]) -> float:
        """Rms of the residual without its noise, as a share of the largest term."""
        noise = self.terms.noise_variance(self.by_noise, env)
        left = rms(self.terms.values(self.residual, env)) ** 2 - noise
        return float(np.sqrt(max(left, 0.0))) / (self.largest(env) or 1.0)
