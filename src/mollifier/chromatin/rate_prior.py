"""The prior of a rate: the family of the engines, with noise of an unknown scale beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from mollifier.engines.linalg.dense import lower_factor
from mollifier.engines.priors.evidence import LinearisedProblem, QuadraticForm
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.priors.lattice_prior import LatticePrior
from mollifier.engines.priors.shapes import Shape

Array = NDArray[np.float64]

# Rows to a coefficient of the rate from which the scale of the noise is estimated.
_MANY = 2.0
# Median of the relative standard deviation of a rate before there are data, and standard deviation of its
# logarithm: rates of a nucleus differ by a factor of two, rarely of ten.
_RELATIVE = 0.7, 0.8


class RatePrior(LatticePrior):
    """The prior of a rate of some level, on the lattice of its splines, which leaves other functions free."""

    def __init__(self, prior: FieldPrior, level: float, others: int) -> None:
        size = prior.lattice.size
        super().__init__(slice(0, size + others), prior, np.zeros(size), 1 / level, 1)
        self._others = others

    def form(self, shape: Shape) -> QuadraticForm:
        form, more = super().form(shape), (0, self._others)
        return QuadraticForm(np.pad(form.square, more), np.pad(form.gradient, more), form.value)

    def log_hyperprior(self, shape: Shape, strength: float) -> float:
        """Logarithm of the density of the relative standard deviation, which is log-normal."""
        middle, width = _RELATIVE
        return -((self.log_variance(shape, strength)[0] / 2 - np.log(middle)) ** 2) / (2 * width**2)


@dataclass(frozen=True, eq=False)
class RateProblem(LinearisedProblem):
    """Rows of the equation about a rate."""

    #: Sum of squares of the rows in units of the noise, and their number.
    squares: float = 0.0
    rows: int = 0

    def log_integral(self, curvature: Array, slope: Array) -> float:
        """With noise of the most likely scale, but no less than it is known to be.

        Residuals that nothing explains count as noise, or the rate would fit them, where enough rows show the
        scale.
        """
        factor = lower_factor(curvature)
        if factor is None:
            return -np.inf
        descent = sl.solve_triangular(factor, slope, lower=True, check_finite=False)
        left = self.squares - float(descent @ descent)
        scale = max(left / self.rows, 1.0) if self.rows > _MANY * len(slope) else 1.0
        return float(-left / scale / 2 - self.rows / 2 * np.log(scale) - np.log(np.diag(factor)).sum())
