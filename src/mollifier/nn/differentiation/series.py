"""Truncated Taylor series carried through the layers of a network (Taylor-mode autodiff).

A series along D directions is a list ``x[0..K]``: the value ``x[0]`` (1, n, ...), shared by all directions,
and the coefficients ``x[k]`` (D_k, n, ...), with 1 for n where all points agree and None where the
coefficient is zero. Only the first D_k directions are carried to order k.

Linear maps act on each coefficient. A function y = s(x) follows from an ordinary differential equation it
satisfies: ``y' = w x'`` with w a polynomial in y gives ``k y_k = sum_j j x_j w_(k-j)``. The coefficient of
the highest order enters linearly, ``y_K = s'(x_0) x_K + r(x_1..x_(K-1))``, and so it does in a product,
``(x y)_K = x_0 y_K + y_0 x_K + r``, so that any combinations of the directions may be carried in its place:
collapsed Taylor mode (arXiv:2505.13644).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Series = list[Tensor | None]
# From a series to the series of the function, and the function's derivative at the value.
Function = Callable[[Series, "Carrier"], tuple[Series, Tensor]]


class Carrier:
    """Number of directions at each order, and the functions and products of such series.

    ``counts[k]`` directions are carried to order k, not increasing. At the highest order K combinations
    ``mix``, (m, counts[K]), of the directions replace them; None for no combination.
    """

    def __init__(self, counts: tuple[int, ...], mix: Tensor | None = None) -> None:
        self.counts, self.mix = counts, mix
        self.waves: tuple[Tensor, Series, Series] | None = None

    def start(self, points: Tensor, directions: Tensor) -> Series:
        """The series of ``points + t directions``: points (n, d), directions (D, d)."""
        series: Series = [points[None], directions[:, None], *(None,) * (len(self.counts) - 2)]
        if len(series) == 2:
            series[1] = self._mixed(series[1])
        return series

    def apply(self, function: Function, x: Series) -> Series:
        """The series of a function of each entry."""
        top = x[-1]
        y, slope = function([*x[:-1], None], self)
        y[-1] = self._top(slope, top, y[-1])
        return y

    def _top(self, slope: Tensor, top: Tensor | None, rest: Tensor | None) -> Tensor | None:
        """Highest coefficient ``slope * top + mix rest``."""
        rest = self._mixed(rest)
        if top is None or rest is None:
            return rest if top is None else slope * top
        return torch.addcmul(rest, slope, top)

    def _mixed(self, coefficient: Tensor | None) -> Tensor | None:
        if self.mix is None or coefficient is None:
            return coefficient
        return torch.tensordot(self.mix.to(coefficient), coefficient, 1)

    def total(self, k: int, *terms: tuple[float, Tensor | None, Tensor | None]) -> Tensor | None:
        """Sum of ``factor * a * b`` where neither is None, for the directions carried to order k."""
        result = None
        for factor, a, b in terms:
            if a is None or b is None:
                continue
            a, b = self._carried(a, k), self._carried(b, k)
            if result is None:
                result = a * b if factor == 1 else factor * a * b
            else:
                result = torch.addcmul(result, a, b, value=factor)
        return result

    def _carried(self, a: Tensor, k: int) -> Tensor:
        # A slice of everything would cost a copy in the backward pass.
        return a[: self.counts[k]] if a.shape[0] > self.counts[k] else a

    def integral(self, k: int, x: Series, w: Series) -> Tensor | None:
        """``y_k`` of y' = w x'."""
        return self.total(k, *((j / k, x[j], w[k - j]) for j in range(1, k + 1)))

    def product(self, k: int, x: Series, y: Series) -> Tensor | None:
        """Coefficient k of x y; x may be y."""
        if x is not y:
            return self.total(k, *((1.0, x[j], y[k - j]) for j in range(k + 1)))
        pairs = [(2.0 if 2 * j < k else 1.0, x[j], x[k - j]) for j in range(k // 2 + 1)]
        return self.total(k, *pairs)

    def bilinear(self, x: Series, y: Series, of: Callable[[Tensor, Tensor], Tensor] = torch.mul) -> Series:
        """The series of ``of(x, y)``, linear in each; of the product by default."""
        top = len(x) - 1
        result: Series = [of(value(x), value(y))]
        for k in range(1, top):
            result.append(self._convolved(k, x, y, of, range(k + 1)))
        rest = self._mixed(self._convolved(top, x, y, of, range(1, top)))
        ends = [of(a, b) for a, b in ((x[0], y[top]), (x[top], y[0])) if a is not None and b is not None]
        result.append(total_of([*ends, rest]))
        return result

    def _convolved(
        self, k: int, x: Series, y: Series, of: Callable[[Tensor, Tensor], Tensor], js: range
    ) -> Tensor | None:
        """Sum of ``of(x_j, y_(k-j))`` over some j, for the directions carried to order k."""
        pairs = ((x[j], y[k - j]) for j in js)
        return total_of(
            [
                of(self._carried(a, k), self._carried(b, k))
                for a, b in pairs
                if a is not None and b is not None
            ]
        )


def total_of(terms: list[Tensor | None]) -> Tensor | None:
    """The sum of those that are not None; None for none."""
    present = [t for t in terms if t is not None]
    return sum(present[1:], present[0]) if present else None


def mapped(of: Callable[[Tensor], Tensor], x: Series) -> Series:
    """A linear map of every coefficient."""
    return [None if c is None else of(c) for c in x]


def value(x: Series) -> Tensor:
    """The value, shape (1, n, ...)."""
    assert x[0] is not None
    return x[0]


def less(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The difference of two coefficients, each None where it is zero."""
    if a is None or b is None:
        return a if b is None else -b
    return a - b


def _solved(
    x: Series,
    carrier: Carrier,
    start: Tensor,
    slope: Tensor,
    following: Callable[[Series, int], Tensor | None],
) -> tuple[Series, Tensor]:
    """The series of y with ``y' = w(y) x'``, from the values of y and w.

    ``following(y, k)`` is coefficient k >= 1 of w, from coefficients of y up to k.
    """
    y: Series = [start]
    w: Series = [slope]
    for k in range(1, len(x)):
        y.append(carrier.integral(k, x, w))
        if k < len(x) - 1:
            w.append(following(y, k))
    return y, slope


def tanh(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """``y' = (1 - y^2) x'``."""
    start = torch.tanh(value(x))
    return _solved(x, carrier, start, 1 - start**2, lambda y, k: less(None, carrier.product(k, y, y)))


def sigmoid(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """``y' = (y - y^2) x'``."""
    start = torch.sigmoid(value(x))
    slope = start * (1 - start)
    return _solved(x, carrier, start, slope, lambda y, k: less(y[k], carrier.product(k, y, y)))


def exponential(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """``y' = y x'``."""
    start = torch.exp(value(x))
    return _solved(x, carrier, start, start, lambda y, k: y[k])


def sine_cosine(x: Series, carrier: Carrier) -> tuple[Series, Series]:
    """``s' = c x'`` and ``c' = -s x'``; both are kept for whoever needs the other next."""
    if carrier.waves is not None and carrier.waves[0] is x[0]:
        return list(carrier.waves[1]), list(carrier.waves[2])
    s: Series = [torch.sin(value(x))]
    c: Series = [torch.cos(value(x))]
    for k in range(1, len(x)):
        s.append(carrier.integral(k, x, c))
        c.append(less(None, carrier.integral(k, x, s)))
    carrier.waves = value(x), list(s), list(c)
    return s, c


def sine(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """As `sine_cosine`."""
    s, c = sine_cosine(x, carrier)
    return s, value(c)


def cosine(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """As `sine_cosine`."""
    s, c = sine_cosine(x, carrier)
    return c, -value(s)


def silu(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """x times its sigmoid."""
    s, slope = sigmoid(x, carrier)
    return [carrier.product(k, x, s) for k in range(len(x))], value(s) + value(x) * slope


def gelu(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """x Phi(x), with Phi' = phi and phi = exp(-x^2 / 2) / sqrt(2 pi)."""
    half_square: Series = [scaled(carrier.product(k, x, x), -0.5) for k in range(len(x) - 1)]
    bell: Series = [scaled(e, 1 / math.sqrt(2 * math.pi)) for e in exponential(half_square, carrier)[0]]
    cumulative: Series = [torch.special.ndtr(value(x))]
    cumulative += [carrier.integral(k, x, bell) for k in range(1, len(x))]
    slope = value(cumulative) + value(x) * value(bell)
    return [carrier.product(k, x, cumulative) for k in range(len(x))], slope


def gelu_tanh(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """x (1 + tanh(a x + a b x^3)) / 2, the approximation."""
    a, b = math.sqrt(2 / math.pi), 0.044715
    square: Series = [carrier.product(k, x, x) for k in range(len(x))]
    z: Series = [less(scaled(x[k], a), scaled(carrier.product(k, x, square), -a * b)) for k in range(len(x))]
    t, slope = tanh([*z[:-1], None], carrier)
    t[-1] = carrier.total(len(x) - 1, (1.0, slope, z[-1]), (1.0, torch.ones_like(slope), t[-1]))
    slope = slope * a * (1 + 3 * b * value(x) ** 2)
    y: Series = [scaled(carrier.product(k, x, [value(t) + 1, *t[1:]]), 0.5) for k in range(len(x))]
    return y, (1 + value(t) + value(x) * slope) / 2


def scaled(a: Tensor | None, factor: float) -> Tensor | None:
    """factor * a where None is zero."""
    return None if a is None else factor * a


def softplus(beta: float) -> Function:
    """log(1 + exp(beta x)) / beta, whose derivative is the sigmoid of beta x."""

    def function(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
        w, _ = sigmoid([scaled(c, beta) for c in x[:-1]], carrier)
        y: Series = [functional.softplus(value(x), beta)]
        y += [carrier.integral(k, x, w) for k in range(1, len(x))]
        return y, value(w)

    return function


def reciprocal(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """``1 / x``, of which ``y' = -y^2 x'``."""
    start = 1 / value(x)
    return _solved(x, carrier, start, -(start**2), lambda y, k: less(None, carrier.product(k, y, y)))


def reciprocal_root(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """``x^(-1/2)``, of which ``y' = -y^3 x' / 2``."""
    start = torch.rsqrt(value(x))
    square: Series = [start**2]

    def following(y: Series, k: int) -> Tensor | None:
        square.append(carrier.product(k, y, y))
        return scaled(carrier.product(k, square, y), -0.5)

    return _solved(x, carrier, start, -0.5 * start**2 * start, following)
