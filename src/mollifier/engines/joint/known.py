"""Exact readings of an unknown field, as conditions that it meets.

They tell its finest modes where they are, on an edge say. A prior that had to explain these would be taken
for sure of the coarse modes elsewhere, of which they tell nothing. So priors are those under which the data
are likeliest once the exact readings are known: the marginal likelihood of both over that of the readings.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from mollifier.engines.joint.prior import Placed
from mollifier.engines.priors.field_prior import Shape

Array = NDArray[np.float64]


class Conditions:
    """Exact readings of one field, linearised.

    Parameters
    ----------
    rows, values
        Slopes along the field's coefficients, shape (n, p), and what they are off by, (n,), weighed.
    """

    def __init__(self, rows: sp.csr_array, values: Array) -> None:
        self._square, self._slope = (rows.T @ rows).toarray(), np.asarray(rows.T @ values)

    def deviance(self, prior: Placed, shape: Shape, strength: float, count: int) -> float:
        """Minus twice the logarithm of their marginal likelihood under a prior, up to a constant.

        Minus infinity where rounding leaves it unknown, so that the prior judged by it does not count.
        """
        curvature = count * self._square + strength * prior.square(shape) + prior.held * np.eye(len(prior.x))
        try:
            factor = np.linalg.cholesky(curvature)
        except np.linalg.LinAlgError:
            return -np.inf
        slope = count * self._slope + strength * prior.gradient(shape)
        descent = solve_triangular(factor, slope, lower=True, check_finite=False)
        determinants = 2 * float(np.log(np.diag(factor)).sum()) - prior.log_determinant(shape, strength)
        return strength * prior.value(shape) - float(descent @ descent) + determinants
