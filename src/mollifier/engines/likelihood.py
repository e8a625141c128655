"""Robust likelihoods of the data: values far from the fit count less.

Each is fitted by iteratively reweighted least squares (Lange, Little and Taylor, JASA 84:881, 1989; Huber,
Ann. Math. Stat. 35:73, 1964). Fill values, dead sensors and spikes are left out first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import normal_upper, student_upper

if TYPE_CHECKING:
    from torch import Tensor

Likelihood = Literal["normal", "student", "huber"]


_DEGREES = 4.0  # Degrees of freedom of Student's distribution.
_BEND = 1.345  # Standard deviations beyond which Huber's loss is linear.
_LEAST_SLOPE = 0.2  # Least mean slope of the score, as a share of the mean weight.
REJECTED = 4.5  #: Robust standard deviations beyond which the weak engine leaves a value out.


def weights(z: Array, kind: Likelihood, least_scale: float) -> Array:
    """Weights (n,) of squared residuals, such that the sum of J'WJ is the information of the estimate.

    The scale of the noise is the median of the residuals; the information is that of an M-estimate, ``n
    mean(psi')^2 / mean(psi^2)`` (Huber, Robust Statistics, 1981, 6.3).

    Residuals z (n,) and ``least_scale``, the least of the noise, are in stated standard errors; the kind is
    "student" or "huber".

    >>> z = np.append(np.random.default_rng(0).standard_normal(999), 50.0)
    >>> w = weights(z, "student", 0.5)
    >>> bool(0.8 < w.mean() < 1.1), bool(w[-1] < 0.01)
    (True, True)
    """
    nu, bend = _DEGREES, _BEND
    quartile = float(student_upper(0.25, nu) if kind == "student" else normal_upper(0.25))
    own = float(np.median(np.abs(z))) / quartile
    scale = max(own, least_scale)
    r = z / scale
    if kind == "student":
        w = (nu + 1) / (nu + r**2)
        slope = w * (nu - r**2) / (nu + r**2)
    else:
        w = np.minimum(1.0, bend / np.maximum(np.abs(r), 1e-300))
        slope = (w == 1.0).astype(float)
    steep = max(slope.mean(), _LEAST_SLOPE * w.mean())
    squares = np.mean((w * z / max(own, 1e-9 * scale)) ** 2)  # a fit closer than the least scale says no more
    return w / (scale**2 * w.mean() * squares / steep**2)


def loss(z: Tensor, kind: Likelihood) -> Tensor:
    """Minus twice the log-likelihood of residuals in standard errors, up to a constant, in their shape."""
    if kind == "student":
        return (_DEGREES + 1) * (z.square() / _DEGREES).log1p()
    if kind == "huber":
        size = z.abs()
        return z.square().where(size < _BEND, 2 * _BEND * size - _BEND**2)
    return z.square()
