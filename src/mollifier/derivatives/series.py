"""Truncated Taylor series carried through the layers of a network (Taylor-mode autodiff).

A series along D directions is a list ``x[0..K]``: the value ``x[0]`` (n, f), shared by all directions, and
the coefficients ``x[k]`` (D_k, n, f), with 1 for n where all points agree and None where the coefficient is
zero. Only the first D_k directions are carried to order k.

Linear maps act on each coefficient. A function y = s(x) follows from an ordinary differential equation it
satisfies: ``y' = w x'`` with w a polynomial in y gives ``k y_k = sum_j j x_j w_(k-j)``. The coefficient of
the highest order enters linearly, ``y_K = s'(x_0) x_K + r(x_1..x_(K-1))``, so that any combinations of the
directions may be carried in its place: collapsed Taylor mode (arXiv:2505.13644).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mollifier.errors import ConfigurationError
from mollifier.networks.mlp import MLP, Affine, FourierFeatures, Sine
from mollifier.networks.periodic import PeriodicInputs

Series = list[Tensor | None]
# From a series to the series of the function, and the function's derivative at the value.
Function = Callable[[Series, "Carrier"], tuple[Series, Tensor]]


class Carrier:
    """Carries series through modules.

    Parameters
    ----------
    counts
        ``counts[k]``: number of directions carried to order k, not increasing.
    mix
        Combinations (m, counts[K]) of the directions carried at the highest order K in place of the
        directions; None carries them as they are.
    """

    def __init__(self, counts: tuple[int, ...], mix: Tensor | None = None) -> None:
        self.counts, self.mix = counts, mix

    def start(self, points: Tensor, directions: Tensor) -> Series:
        """The series of ``points + t directions``: points (n, d), directions (D, d)."""
        series: Series = [points, directions[:, None], *(None,) * (len(self.counts) - 2)]
        if len(series) == 2:
            series[1] = self._mixed(series[1])
        return series

    def through(self, module: nn.Module, x: Series) -> Series:
        """The series after a module.

        Raises
        ------
        ConfigurationError
            If there is no rule for the module.
        """
        if type(module) in _FUNCTIONS:
            return self.apply(_FUNCTIONS[type(module)], x)
        if type(module) not in _RULES:
            known = sorted(t.__name__ for t in (*_RULES, *_FUNCTIONS))
            raise ConfigurationError(
                f"Taylor mode has no rule for the module {type(module).__name__}; it knows "
                f"{', '.join(known)}. Take derivatives='nested' or 'mollifier', which work with any module."
            )
        return _RULES[type(module)](self, module, x)

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
        return a[: self.counts[k]] if a.ndim == 3 and a.shape[0] > self.counts[k] else a

    def integral(self, k: int, x: Series, w: Series) -> Tensor | None:
        """``y_k`` of y' = w x'."""
        return self.total(k, *((j / k, x[j], w[k - j]) for j in range(1, k + 1)))

    def product(self, k: int, x: Series, y: Series) -> Tensor | None:
        """Coefficient k of x y; x may be y."""
        if x is not y:
            return self.total(k, *((1.0, x[j], y[k - j]) for j in range(k + 1)))
        pairs = [(2.0 if 2 * j < k else 1.0, x[j], x[k - j]) for j in range(k // 2 + 1)]
        return self.total(k, *pairs)


def _value(x: Series) -> Tensor:
    assert x[0] is not None
    return x[0]


def _less(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """a - b where None is zero."""
    if a is None or b is None:
        return a if b is None else -b
    return a - b


def _tanh(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    y: Series = [torch.tanh(_value(x))]
    w: Series = [1 - _value(y) ** 2]
    for k in range(1, len(x)):
        y.append(carrier.integral(k, x, w))
        if k < len(x) - 1:
            w.append(_less(None, carrier.product(k, y, y)))
    return y, _value(w)


def _sigmoid(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    y: Series = [torch.sigmoid(_value(x))]
    w: Series = [_value(y) * (1 - _value(y))]
    for k in range(1, len(x)):
        y.append(carrier.integral(k, x, w))
        if k < len(x) - 1:
            w.append(_less(y[k], carrier.product(k, y, y)))
    return y, _value(w)


def _exp(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    y: Series = [torch.exp(_value(x))]
    for k in range(1, len(x)):
        y.append(carrier.integral(k, x, y))
    return y, _value(y)


def _sine_cosine(x: Series, carrier: Carrier) -> tuple[Series, Series]:
    s: Series = [torch.sin(_value(x))]
    c: Series = [torch.cos(_value(x))]
    for k in range(1, len(x)):
        s.append(carrier.integral(k, x, c))
        c.append(_less(None, carrier.integral(k, x, s)))
    return s, c


def _sine(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    s, c = _sine_cosine(x, carrier)
    return s, _value(c)


def _cosine(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    s, c = _sine_cosine(x, carrier)
    return c, -_value(s)


def _silu(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    s, slope = _sigmoid(x, carrier)
    return [carrier.product(k, x, s) for k in range(len(x))], _value(s) + _value(x) * slope


def _gelu(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """x Phi(x), with Phi' = phi and phi = exp(-x^2 / 2) / sqrt(2 pi)."""
    half_square: Series = [_scaled(carrier.product(k, x, x), -0.5) for k in range(len(x) - 1)]
    bell: Series = [_scaled(e, 1 / math.sqrt(2 * math.pi)) for e in _exp(half_square, carrier)[0]]
    cumulative: Series = [torch.special.ndtr(_value(x))]
    cumulative += [carrier.integral(k, x, bell) for k in range(1, len(x))]
    slope = _value(cumulative) + _value(x) * _value(bell)
    return [carrier.product(k, x, cumulative) for k in range(len(x))], slope


def _gelu_tanh(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
    """x (1 + tanh(a x + a b x^3)) / 2, the approximation."""
    a, b = math.sqrt(2 / math.pi), 0.044715
    square: Series = [carrier.product(k, x, x) for k in range(len(x))]
    z: Series = [
        _less(_scaled(x[k], a), _scaled(carrier.product(k, x, square), -a * b)) for k in range(len(x))
    ]
    t, slope = _tanh([*z[:-1], None], carrier)
    t[-1] = carrier.total(len(x) - 1, (1.0, slope, z[-1]), (1.0, torch.ones_like(slope), t[-1]))
    slope = slope * a * (1 + 3 * b * _value(x) ** 2)
    y: Series = [_scaled(carrier.product(k, x, [_value(t) + 1, *t[1:]]), 0.5) for k in range(len(x))]
    return y, (1 + _value(t) + _value(x) * slope) / 2


def _scaled(a: Tensor | None, factor: float) -> Tensor | None:
    return None if a is None else factor * a


def _softplus(beta: float) -> Function:
    """log(1 + exp(beta x)) / beta, whose derivative is the sigmoid of beta x."""

    def function(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
        w, _ = _sigmoid([_scaled(c, beta) for c in x[:-1]], carrier)
        y: Series = [functional.softplus(_value(x), beta)]
        y += [carrier.integral(k, x, w) for k in range(1, len(x))]
        return y, _value(w)

    return function


def _linear(carrier: Carrier, module: nn.Linear, x: Series) -> Series:
    head = functional.linear(_value(x), module.weight, module.bias)
    return [head, *(None if c is None else functional.linear(c, module.weight) for c in x[1:])]


def _affine(carrier: Carrier, module: Affine, x: Series) -> Series:
    return [module(_value(x)), *(None if c is None else c * module.scale for c in x[1:])]


def _sequential(carrier: Carrier, module: nn.Sequential, x: Series) -> Series:
    for part in module:
        x = carrier.through(part, x)
    return x


def _fourier(carrier: Carrier, module: FourierFeatures, x: Series) -> Series:
    phase: Series = [None if c is None else functional.linear(c, module.frequencies) for c in x]
    s, c = carrier.apply(_sine, phase), carrier.apply(_cosine, phase)
    return [None if a is None or b is None else torch.cat([a, b], -1) for a, b in zip(s, c, strict=True)]


def _periodic(carrier: Carrier, module: PeriodicInputs, x: Series) -> Series:
    phase: Series = [_scaled(c, math.pi) for c in x]
    sine, cosine = carrier.apply(_sine, phase), carrier.apply(_cosine, phase)
    result: Series = []
    for plain, s, c in zip(x, sine, cosine, strict=True):
        if s is None or c is None:
            result.append(None)
            continue
        plain = torch.zeros_like(s) if plain is None else plain.expand_as(s)
        columns = [((s, i), (c, i)) if p else ((plain, i),) for i, p in enumerate(module.periodic)]
        result.append(torch.stack([source[..., i] for group in columns for source, i in group], -1))
    return result


_FUNCTIONS: dict[type[nn.Module], Function] = {
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    nn.SiLU: _silu,
    Sine: _sine,
}
_RULES: dict[type[nn.Module], Callable[[Carrier, Any, Series], Series]] = {
    nn.Identity: lambda carrier, module, x: x,
    nn.Linear: _linear,
    nn.Sequential: _sequential,
    nn.GELU: lambda carrier, module, x: carrier.apply(
        _gelu if module.approximate == "none" else _gelu_tanh, x
    ),
    nn.Softplus: lambda carrier, module, x: carrier.apply(_softplus(module.beta), x),
    MLP: lambda carrier, module, x: carrier.through(module.layers, x),
    Affine: _affine,
    FourierFeatures: _fourier,
    PeriodicInputs: _periodic,
}
