"""Compact kernels on [-1, 1] and their derivatives of any order.

A kernel is a formula: ``kernel(s, order)`` gives the derivative of that order of the profile eta(s), which is
even, non-negative, zero outside (-1, 1) and integrates to one. At radius r the kernel is ``eta(x/r)/r``,
and its k-th derivative ``eta^(k)(x/r)/r^(k+1)``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from math import comb, factorial
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np
import scipy
from numpy.polynomial import Polynomial as Poly

from mollifier.errors import GridError
from mollifier.io.registry import Registry


class Kernel(Protocol):
    """What every kernel offers; one that can be chosen by name (`KERNELS`) also offers ``for_order``."""

    @property
    def smoothness(self) -> float:
        """Highest order with a bounded derivative; infinite for the bump."""
        ...

    def __call__(self, s: Any, order: int = 0) -> Any:
        """The derivative of that order at ``s``: an array (NumPy or torch) of the same shape."""
        ...


class KernelKind(Protocol):
    """What `KERNELS` holds: a class of kernels."""

    def for_order(self, order: int, degree: int | None = None) -> tuple[Kernel, float]:
        """The kernel for an equation of an order, and its radius in cells; ``degree`` where it is given."""
        ...


KERNELS: Registry[KernelKind] = Registry(
    "kernel",
    {
        "bspline": "mollifier.mollify.kernels:BSpline",
        "polynomial": "mollifier.mollify.kernels:Polynomial",
        "bump": "mollifier.mollify.kernels:Bump",
    },
)


def kernel_for(name: str, order: int, degree: int | None = None) -> tuple[Kernel, float]:
    """A kernel by name for an equation with derivatives up to an order, and its radius in cells.

    The name is one of `KERNELS` (`ConfigurationError` otherwise), or "auto" for the B-spline, which resolves
    most per node. The degree of a B-spline or polynomial follows from the order where none is given.

    >>> kernel_for("auto", 2), kernel_for("auto", 4), kernel_for("polynomial", 4)
    ((BSpline(degree=5), 3.0), (BSpline(degree=7), 4.0), (Polynomial(degree=8), 6.0))
    """
    return KERNELS["bspline" if name == "auto" else name].for_order(order, degree)


def _cells(order: int) -> float:
    """Radius in cells that the discrete moments need of kernels that are not splines."""
    return 4.5 + 0.75 * max(0, order - 2)


def namespace(array: Any) -> Any:
    """The module, NumPy or torch, whose functions act on the array."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def memo(function: Callable[..., Any]) -> Callable[..., Any]:
    """Remember results by argument; unlike lru_cache it lets torch.compile take what is already known."""
    table: dict[Any, Any] = {}

    @wraps(function)
    def remembered(*key: Any) -> Any:
        if key not in table:
            table[key] = function(*key)
        return table[key]

    return remembered


_HIGHEST = 40


def check_order(kernel: Kernel, order: int) -> None:
    """Raise `GridError` if an order is negative or above the kernel's smoothness."""
    if not hasattr(kernel, "smoothness"):
        raise GridError(f"The kernel {kernel!r} was given; one such as BSpline(7) was expected.")
    if order < 0:
        raise GridError(f"A derivative of order {order} was given; a whole number of 0 or more was expected.")
    if order > kernel.smoothness:
        raise GridError(
            f"{kernel} has bounded derivatives of order 0 to {kernel.smoothness:g}; order {order} was given; "
            f"take a higher degree, as in {type(kernel).__name__}({order + 4})."
        )


def _horner(coefficients: Any, s: Any) -> Any:
    """Polynomial with ascending coefficients, for NumPy and torch alike."""
    result = s * 0.0 + coefficients[-1]
    for c in coefficients[-2::-1]:
        result = result * s + c
    return result


def _power(x: Any, n: int) -> Any:
    """x^n by squares, several times as fast as a power of floats."""
    if n < 2:
        return x if n else x * 0 + 1
    root = _power(x * x, n // 2)
    return root * x if n % 2 else root


def _check_degree(kernel: Any) -> None:
    """Refuse a degree that is no whole number, or at which the formula is all rounding."""
    if not isinstance(kernel.degree, Integral) or not 1 <= int(kernel.degree) <= _HIGHEST:
        raise GridError(f"{kernel!r} was given; a whole degree from 1 to {_HIGHEST} was expected.")


@dataclass(frozen=True)
class Polynomial:
    """The kernel c_p (1 - s^2)^p, with c_p = (2p + 1)! / (2^(2p + 1) p!^2).

    Its k-th derivative is (1 - s^2)^(p-k) Q_k(s) with Q_(k+1) = (1 - s^2) Q_k' - 2 (p - k) s Q_k, for k <= p.
    ``degree`` is p.

    >>> import numpy as np
    >>> float(Polynomial(1)(np.array(0.0)))
    0.75
    """

    degree: int = 8

    def __post_init__(self) -> None:
        _check_degree(self)

    @classmethod
    def for_order(cls, order: int, degree: int | None = None) -> tuple[Kernel, float]:
        """Of degree ``order + 4`` by default, and its radius in cells."""
        return cls(degree or order + 4), _cells(order)

    @property
    def smoothness(self) -> float:
        """Order p is bounded, order p + 1 is not."""
        return self.degree

    def __call__(self, s: Any, order: int = 0) -> Any:
        """Derivative of that order at ``s``, same shape as ``s``."""
        check_order(self, order)
        p = self.degree
        scale = factorial(2 * p + 1) / (2 ** (2 * p + 1) * factorial(p) ** 2)
        w = 1 - s * s
        inside = w > 0
        w = namespace(s).where(inside, w, w * 0)
        value = scale * _power(w, p - order) * _horner(_polynomial_factor(p, order), s)
        return namespace(s).where(inside, value, 0.0)


@memo
def _polynomial_factor(degree: int, order: int) -> tuple[float, ...]:
    q, w, s = Poly([1.0]), Poly([1.0, 0.0, -1.0]), Poly([0.0, 1.0])
    for k in range(order):
        q = w * q.deriv() - 2 * (degree - k) * s * q
    return tuple(q.coef)


@dataclass(frozen=True)
class Bump:
    """The C-infinity bump c exp(-sharpness / (1 - s^2)) = c exp(phi(s)).

    Its k-th derivative is the bump times Q_k, with Q_(n+1) = sum_j C(n, j) Q_j phi^(n+1-j) by Leibniz's
    rule, and phi^(m) = -(sharpness/2) m! (1/(1 - s)^(m+1) + (-1)^m / (1 + s)^(m+1)).

    >>> import numpy as np
    >>> Bump()(np.array([-1.0, 1.0]), order=3)
    array([0., 0.])
    """

    sharpness: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.sharpness, Real) or not self.sharpness > 0:
            raise GridError(f"Bump of sharpness {self.sharpness!r}; a positive number was expected.")

    @classmethod
    def for_order(cls, order: int, degree: int | None = None) -> tuple[Kernel, float]:
        """The bump, which has no degree, and its radius in cells."""
        return cls(), _cells(order)

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
        x = xp.where(inside, s, 0.0)
        right, left = 1 / (1 - x), 1 / (1 + x)
        phi = [
            -self.sharpness / 2 * factorial(m) * (right ** (m + 1) + (-1) ** m * left ** (m + 1))
            for m in range(order + 1)
        ]
        factor = [x * 0.0 + 1.0]
        for n in range(order):
            factor.append(sum(comb(n, j) * factor[j] * phi[n + 1 - j] for j in range(n + 1)))
        return xp.where(inside, _bump_mass(self.sharpness) * xp.exp(phi[0]) * factor[order], 0.0)


@memo
def _bump_mass(sharpness: float) -> float:
    def density(s: float) -> float:
        return float(np.exp(-sharpness / (1 - s * s)))

    return 1 / scipy.integrate.quad(density, -1, 1, epsabs=0, epsrel=1e-13)[0]


@dataclass(frozen=True)
class BSpline:
    """The centred cardinal B-spline of a degree, its p + 1 knot intervals spread over [-1, 1].

    With c = (p + 1)/2 it is c/p! sum_i (-1)^i C(p + 1, i) max(c - i - c|s|, 0)^p: truncated powers taken from
    the outside in, which keep their relative precision up to the edge. At a radius of (p + 1)/2 cells its
    integer translates reproduce polynomials without correction (Strang-Fix). ``degree`` is p.

    >>> import numpy as np
    >>> BSpline(1)(np.array([-0.5, 0.0, 0.5]))
    array([0.5, 1. , 0.5])
    """

    degree: int = 7

    def __post_init__(self) -> None:
        _check_degree(self)

    @classmethod
    def for_order(cls, order: int, degree: int | None = None) -> tuple[Kernel, float]:
        """An odd degree of ``order + 3`` or more, and the radius of (degree + 1)/2 cells.

        Its integer translates then satisfy the moment conditions without correction, and its width (standard
        deviation sqrt((degree + 1)/12) cells) is about half that of a polynomial kernel with as many nodes
        as it needs.
        """
        if degree is None:
            degree = max(5, order + 3)
            degree += 1 - degree % 2
        return cls(degree), (degree + 1) / 2

    @property
    def smoothness(self) -> float:
        """Order p is piecewise constant, and bounded."""
        return self.degree

    def __call__(self, s: Any, order: int = 0) -> Any:
        """Derivative of that order at ``s``, same shape as ``s``."""
        check_order(self, order)
        xp = namespace(s)
        centre, power = (self.degree + 1) / 2, self.degree - order
        result = s * 0.0
        for i in range(self.degree // 2 + 1):
            left = centre - i - centre * xp.abs(s)
            inside = left > 0
            term = xp.where(inside, _power(left, power), left * 0)
            result = result + (-1) ** (i + order) * comb(self.degree + 1, i) * term
        result = result * (centre ** (order + 1) / factorial(power))
        return result * xp.sign(s) if order % 2 else result
