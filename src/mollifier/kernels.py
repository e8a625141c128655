"""Compact kernels on [-1, 1] and their derivatives of any order.

A kernel is a formula: ``kernel(s, order)`` gives the derivative of that order of the profile eta(s), which is even,
non-negative, zero outside (-1, 1) and integrates to one. At radius r the kernel is ``eta(x/r)/r``, its k-th derivative
``eta^(k)(x/r)/r^(k+1)``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.polynomial import Polynomial as Poly
from scipy.integrate import quad
from scipy.interpolate import BSpline as _ScipyBSpline
from scipy.interpolate import PPoly
from scipy.special import gammaln

from mollifier.errors import GridError


class Kernel(Protocol):
    """What every kernel offers."""

    @property
    def smoothness(self) -> float:
        """Highest order with a bounded derivative; infinite for the bump."""
        ...

    def __call__(self, s: Any, order: int = 0) -> Any:
        """The derivative of that order at ``s``: an array (NumPy or torch) of the same shape."""
        ...


def namespace(array: Any) -> Any:
    """The module, NumPy or torch, whose functions act on the array."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def check_order(kernel: Kernel, order: int) -> None:
    """Refuse an order that the kernel is not smooth enough for.

    Raises
    ------
    GridError
        If the order is negative or above the kernel's smoothness.
    """
    if order < 0 or order > kernel.smoothness:
        raise GridError(
            f"{kernel} has bounded derivatives of order 0 to {kernel.smoothness:g}; order {order} was asked for. "
            f"Take a higher degree, as in {type(kernel).__name__}({order + 4})."
        )


def _horner(coefficients: Any, s: Any) -> Any:
    """Polynomial with ascending coefficients, for NumPy and torch alike."""
    result = s * 0.0 + coefficients[-1]
    for c in coefficients[-2::-1]:
        result = result * s + c
    return result


@dataclass(frozen=True)
class Polynomial:
    """The kernel c_p (1 - s^2)^p, with c_p = Gamma(p + 3/2) / (sqrt(pi) Gamma(p + 1)).

    Its k-th derivative is (1 - s^2)^(p-k) Q_k(s) with Q_(k+1) = (1 - s^2) Q_k' - 2 (p - k) s Q_k, for k <= p.

    Examples
    --------
    >>> import numpy as np
    >>> float(Polynomial(1)(np.array(0.0)))
    0.75
    """

    degree: int = 8

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise GridError(f"Polynomial kernel of degree {self.degree}; 1 or more was wanted.")

    @property
    def smoothness(self) -> float:
        """Order p is bounded, order p + 1 is not."""
        return self.degree

    def __call__(self, s: Any, order: int = 0) -> Any:
        """Derivative of that order at ``s``, same shape as ``s``."""
        check_order(self, order)
        scale = np.exp(gammaln(self.degree + 1.5) - gammaln(self.degree + 1)) / np.sqrt(np.pi)
        w = 1 - s * s
        inside = w > 0
        w = namespace(s).where(inside, w, w * 0)
        value = scale * w ** (self.degree - order) * _horner(_polynomial_factor(self.degree, order), s)
        return namespace(s).where(inside, value, value * 0)


@lru_cache(maxsize=256)
def _polynomial_factor(degree: int, order: int) -> tuple[float, ...]:
    q, w, s = Poly([1.0]), Poly([1.0, 0.0, -1.0]), Poly([0.0, 1.0])
    for k in range(order):
        q = w * q.deriv() - 2 * (degree - k) * s * q
    return tuple(q.coef)


@dataclass(frozen=True)
class Bump:
    """The C-infinity bump c exp(-sharpness / (1 - s^2)).

    Its k-th derivative is the bump times Q_k(s) / (1 - s^2)^(2k), with
    Q_(k+1) = (1 - s^2)^2 Q_k' + (4 k s (1 - s^2) - 2 sharpness s) Q_k.

    Examples
    --------
    >>> import numpy as np
    >>> Bump()(np.array([-1.0, 1.0]), order=3)
    array([0., 0.])
    """

    sharpness: float = 1.0

    def __post_init__(self) -> None:
        if not self.sharpness > 0:
            raise GridError(f"Bump of sharpness {self.sharpness}; a positive number was wanted.")

    @property
    def smoothness(self) -> float:
        """Every derivative is bounded."""
        return float("inf")

    def __call__(self, s: Any, order: int = 0) -> Any:
        """Derivative of that order at ``s``, same shape as ``s``."""
        check_order(self, order)
        xp = namespace(s)
        w = 1 - s * s
        # exp(-1/w) underflows long before w does: below this the value is zero to the last bit.
        inside = w > self.sharpness / 700.0
        w = xp.where(inside, w, w * 0 + 1)
        decay = xp.exp(-self.sharpness / w - 2 * order * xp.log(w))
        value = _bump_mass(self.sharpness) * decay * _horner(_bump_factor(self.sharpness, order), s)
        return xp.where(inside, value, value * 0)


@lru_cache(maxsize=64)
def _bump_mass(sharpness: float) -> float:
    return 1 / quad(lambda s: np.exp(-sharpness / (1 - s * s)), -1, 1, epsabs=0, epsrel=1e-13)[0]


@lru_cache(maxsize=256)
def _bump_factor(sharpness: float, order: int) -> tuple[float, ...]:
    q, w, s = Poly([1.0]), Poly([1.0, 0.0, -1.0]), Poly([0.0, 1.0])
    for k in range(order):
        q = w**2 * q.deriv() + (4 * k * s * w - 2 * sharpness * s) * q
    return tuple(q.coef)


@dataclass(frozen=True)
class BSpline:
    """The centred cardinal B-spline of a degree, its p + 1 knot intervals spread over [-1, 1].

    When the radius is (p + 1)/2 cells its integer translates reproduce polynomials by themselves (Strang-Fix).

    Examples
    --------
    >>> import numpy as np
    >>> BSpline(1)(np.array([-0.5, 0.0, 0.5]))
    array([0.5, 1. , 0.5])
    """

    degree: int = 7

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise GridError(f"B-spline of degree {self.degree}; 1 or more was wanted.")

    @property
    def smoothness(self) -> float:
        """Order p is piecewise constant, and bounded."""
        return self.degree

    @cached_property
    def _pieces(self) -> PPoly:
        knots = np.linspace(-1.0, 1.0, self.degree + 2)
        return PPoly.from_spline(_ScipyBSpline.basis_element(knots, extrapolate=False))

    def __call__(self, s: Any, order: int = 0) -> Any:
        """Derivative of that order at ``s``, same shape as ``s``."""
        check_order(self, order)
        xp = namespace(s)
        pieces = self._pieces.derivative(order) if order else self._pieces
        scale = (self.degree + 1) / 2
        result = s * 0.0
        for left, right, c in zip(pieces.x[:-1], pieces.x[1:], pieces.c.T, strict=True):
            # basis_element adds knots outside the support: only the p + 1 real intervals count.
            if right > left and abs(left + right) < 2:
                inside = (s >= left) & (s < right)
                result = xp.where(inside, scale * _horner(tuple(c[::-1]), s - left), result)
        return result
