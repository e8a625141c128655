"""The prior of an unknown field where the joint engine has its coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mollifier.engines.priors.field_prior import FieldPrior, Shape

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Placed:
    """The prior of a field at some coefficients.

    Attributes
    ----------
    columns
        Of the border that are the coefficients'.
    prior
        Of the field.
    x
        The coefficients, in units of the field's size, shape (p,).
    unit
        How much ``x`` changes as a coefficient does by one.
    """

    columns: slice
    prior: FieldPrior
    x: Array
    unit: float

    @property
    def held(self) -> float:
        """What is added to a precision's diagonal: a coefficient is held to a unit in the mean square."""
        return 1 / len(self.x)

    def square(self, shape: Shape) -> Array:
        """Curvature of half the prior's loss at a strength of one, shape (p, p)."""
        return self.unit**2 * self.prior.form(shape).square

    def gradient(self, shape: Shape) -> Array:
        """Slope of half of it, shape (p,)."""
        return self.unit * self.prior.form(shape).gradient(self.x)

    def value(self, shape: Shape) -> float:
        """The prior's loss at a strength of one."""
        rows = self.prior.form(shape).rows(self.x)
        return float(rows @ rows)

    def surprise(self, shape: Shape, strength: float) -> float:
        """Minus twice the logarithm of the density that the logarithm of a strength has beforehand.

        The field's standard deviation, in units of its size, has a half-Cauchy distribution (Gelman, Bayesian
        Anal. 1:515, 2006): without one, strengths that allow no variation at all would count without end.
        """
        variance = self.prior.form(shape).variance / strength
        return 2 * float(np.log1p(variance)) - float(np.log(variance))

    def log_determinant(self, shape: Shape, strength: float) -> float:
        """Of the precision, with what is held."""
        return float(np.log(strength * self.unit**2 * self.prior.form(shape).spectrum + self.held).sum())
