"""Priors of unknown fields on the coefficients of splines, by quadrature.

`SplinePrior` is the Matern family (see `matern`). `Seminorm` has one term alone, ``tau |D^s f|^2``.
`TotalVariation` weights that of s = 1 with the inverse of the last iterate's gradient. The constant is free.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.linalg.dense import factored
from mollifier.engines.priors.evidence import PriorOnCoefficients, QuadraticForm
from mollifier.engines.priors.matern import SEMINORMS, matern_weights
from mollifier.engines.priors.shapes import Shape, Shapes
from mollifier.engines.priors.tuning import PriorTuning
from mollifier.engines.splines.basis import AxisSplines, Basis

Array = NDArray[np.float64]

_SMOOTHEST = 9
"""Degree of the splines for Matern fields: as smooth as the smoothest of them."""

# Precision of the constant beside that of the variation about it.
_FREE = 1e-8
# Of a seminorm the null space is held with such a share of tau, which is no less than this share of its
# stiffest mode (or the null space would drown in rounding); tau ends where that could be felt.
_FREE_SEMINORM, _STIFFEST, _STRONGEST_SEMINORM = 1e-6, 1e-12, 4.6
# Gradients below this share of their rms count as flat, in the total variation.
_FLAT = 0.1
# Mean squared gradient, beside the square of the field's size, that is rounding.
_ROUNDING = 1e-20


@dataclass(frozen=True, eq=False)
class SplinePrior:
    """The prior of one unknown field, a Matern field.

    Attributes
    ----------
    name
        The unknown.
    basis
        What its coefficients multiply.
    shapes
        From which its shape is chosen.
    """

    name: str
    basis: Basis
    shapes: Shapes

    @property
    def strongest(self) -> float:
        """Greatest strength, natural logarithm, from that at which prior and data balance."""
        return np.inf

    def about(self, coefficients: Array) -> SplinePrior:
        """The prior linearised about a field; most are the same about every one."""
        return self

    @cached_property
    def variation(self) -> Array:
        """Quadratic form of the mean square about the mean, shape (size, size); the mean is nearly free."""
        mass = self.basis.mass
        ones = np.ones(len(mass))  # the splines add up to one
        mean = mass @ ones
        return mass - (1 - _FREE) * np.outer(mean, mean) / (ones @ mean)

    @cached_property
    def _penalties(self) -> list[Array]:
        """Quadratic forms of the mean squared k-th derivatives, k = 1, 2, ..."""
        return [self.basis.penalty(k) for k in range(1, max(self.shapes.orders) + 1)]

    def precision(self, shape: Shape, free: bool = True) -> Array:
        """The precision at a strength of one, shape (size, size); the constant is held if it is not free."""
        forms = [self.variation if free else self.basis.mass, *self._penalties[: shape.order]]
        weights = matern_weights(shape.order, shape.length).tolist()
        return np.sum([w * form for w, form in zip(weights, forms, strict=True)], axis=0)

    @cached_property
    def _moments(self) -> dict[Shape, tuple[float, float]]:
        return {}

    def moments(self, shape: Shape) -> tuple[float, float]:
        """Log-determinant of the precision, and the field's mean variance with its constant held.

        At a strength of one.
        """
        if shape not in self._moments:
            own, held = (self.precision(shape, free) for free in (True, False))
            log_determinant = float(np.linalg.slogdet(own)[1])
            spread = sl.solve_triangular(factored(held), factored(self.basis.mass), lower=True)
            self._moments[shape] = log_determinant, float(np.sum(spread**2))
        return self._moments[shape]


@dataclass(frozen=True, eq=False)
class Seminorm(SplinePrior):
    """The mean squared derivatives of one order alone: H1 or H2."""

    @property
    def strongest(self) -> float:
        """So that the null space stays free."""
        return _STRONGEST_SEMINORM

    def precision(self, shape: Shape, free: bool = True) -> Array:
        """The precision at a strength of one, shape (size, size); the constant is held if it is not free."""
        stiffest = float(np.abs(self.seminorm).sum(axis=0).max())
        least = max(_FREE_SEMINORM, _STIFFEST * self.basis.size * stiffest)
        return self.seminorm + (least if free else 1.0) * self.basis.mass

    @cached_property
    def seminorm(self) -> Array:
        """Quadratic form of the mean squared derivatives of its order, per half-length of the domain."""
        return self.basis.penalty(self.shapes.orders[0])


@dataclass(frozen=True, eq=False)
class TotalVariation(Seminorm):
    """Total variation, as the H1 form weighted with the inverse of the gradient of a field nearby.

    The mean of ``g |grad f|^2 / sqrt(|grad f0|^2 + eps^2)`` by Gauss quadrature on the cells between knots,
    f0 being the last iterate, g the rms of its gradient and eps a small share of g: lagged diffusivity
    (Vogel and Oman, SIAM J. Sci. Comput. 17:227, 1996). A posterior about f0 is normal, and its standard
    errors are those of this last normal approximation: they take the places of edges as known, and
    may be too small beside them.

    Attributes
    ----------
    weights
        g / sqrt(|grad f0|^2 + eps^2) at the quadrature's points, without a unit, shape (points,); 1, the H1
        form, before there is an iterate.
    """

    weights: Array | None = None

    @cached_property
    def _quadrature(self) -> tuple[Array, list[sp.csr_array]]:
        """Weights of the points, which add up to 1, and at them the derivatives along each coordinate."""
        axes = {n: (splines, *_rule(splines)) for n, splines in self.basis.splines.items()}
        share = np.asarray(reduce(np.kron, [w for _, _, w in axes.values()]), dtype=np.float64)
        slopes = []
        for along in axes:
            parts = [_sampled(splines, n == along, x) for n, (splines, x, _) in axes.items()]
            slopes.append(reduce(lambda one, two: sp.csr_array(sp.kron(one, two)), parts))
        return share, slopes

    def about(self, coefficients: Array) -> TotalVariation:
        """Weights of the gradient of a field; a flat one leaves them as they are."""
        share, slopes = self._quadrature
        square = np.sum([(d @ coefficients) ** 2 for d in slopes], axis=0)
        mean = float(share @ square)
        if not mean > _ROUNDING * float(np.mean(coefficients**2)):
            return self
        return replace(self, weights=1 / np.sqrt(square / mean + _FLAT**2))

    @cached_property
    def seminorm(self) -> Array:
        """Quadratic form of the mean of the weighted square of the gradient, per half-length."""
        share, slopes = self._quadrature
        weights = share if self.weights is None else share * self.weights
        return np.sum([(d.T @ sp.diags_array(weights) @ d).toarray() for d in slopes], axis=0)


def _rule(splines: AxisSplines) -> tuple[Array, Array]:
    """Points and weights of Gauss's rule on the cells of an axis; exact for products of the splines."""
    edges = np.linspace(splines.axis.lower, splines.axis.upper, splines.cells + 1)
    s, w = np.polynomial.legendre.leggauss(splines.degree + 1)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + s)).ravel(), (half * w).ravel() / splines.axis.length


def _sampled(splines: AxisSplines, slope: bool, points: Array) -> sp.csr_array:
    """Splines at points, or their slopes per half-length of the axis."""
    return sp.csr_array(splines.matrix(int(slope), points) * (splines.axis.length / 2 if slope else 1.0))


def prior(name: str, basis: Basis, kind: str = "auto", tuning: PriorTuning | None = None) -> SplinePrior:
    """The prior of an unknown field, by what `mollifier.FieldUnknown` calls it."""
    made = {"auto": SplinePrior, "tv": TotalVariation}.get(kind, Seminorm)
    return made(name, basis, Shapes.of(kind, tuning))


def degree(kind: str) -> int:
    """Degree of the splines for a kind of prior: low where an edge is to be kept."""
    if kind == "auto":
        return _SMOOTHEST
    return 1 if kind == "tv" else SEMINORMS[kind] + 1


@dataclass(eq=False)
class SplineCoefficients(PriorOnCoefficients):
    """The prior of a field in the scaled coefficients of its splines, about a field of zero.

    Attributes
    ----------
    columns
        Places of the coefficients among all unknowns.
    prior
        Of the field.
    scale
        What the coefficients were multiplied by, shape (p,).
    size
        Mean square of the field; no hyperprior where it is zero.
    """

    columns: slice
    prior: SplinePrior
    scale: Array
    size: float
    _forms: dict[Shape, QuadraticForm] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes, self.strongest = self.prior.shapes, self.prior.strongest

    @property
    def mean_square(self) -> float:
        return float(np.sum(np.diag(self.prior.variation) / self.scale**2))

    def form(self, shape: Shape) -> QuadraticForm:
        if shape not in self._forms:
            square = self.prior.precision(shape) / np.outer(self.scale, self.scale)
            self._forms[shape] = QuadraticForm(square, np.zeros(len(square)), 0.0)
        return self._forms[shape]

    def log_determinant(self, shape: Shape, strength: float) -> float:
        scaled = self.prior.moments(shape)[0] - 2 * float(np.log(self.scale).sum())
        return len(self.scale) * float(np.log(strength)) + scaled

    def log_variance(self, shape: Shape, strength: float) -> tuple[float, float]:
        return float(np.log(self.prior.moments(shape)[1] / (strength * max(self.size, 1e-300)))), 1.0

    def log_hyperprior(self, shape: Shape, strength: float) -> float:
        return super().log_hyperprior(shape, strength) if self.size > 0 else 0.0
