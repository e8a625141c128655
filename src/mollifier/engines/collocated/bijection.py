"""Bounds by a bijection from the real line."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from mollifier.mollify.arrays import Array
from mollifier.nn.layers import Affine
from mollifier.problem.unknowns import Bounded

_SOFTPLUS_UNIT = math.log(math.e - 1)  # softplus of this is 1
# Raw values beyond which the exponential is continued by its tangent: trial steps do not overflow.
_FARTHEST = 30.0
# Least distance of a first value from the upper bound, as a share of the range: less is lost in rounding.
_EDGE = 1e-12


class Bijection(nn.Sequential):
    """Raw value -> value within bounds: zero maps to a level, a unit step moves the value by about a scale.

    Without bounds ``level + scale*raw``; with one bound a softplus or an exponential; with two a logistic
    function between them. With bounds, their distance from the level replaces the scale.

    ``logarithmic``: the raw value is the logarithm of the distance from a single bound, so that a prior of
    raw values is one of ratios: a permeability of 40 and one of 400 may vary by as many per cent. With a
    softplus it is the distance itself far from the bound. Between two bounds it is that of the odds either
    way.

    >>> from mollifier.problem.unknowns import ScalarUnknown
    >>> positive = Bijection(ScalarUnknown(lower=0.0))
    >>> positive.start_from(level=3.0, scale=1.0)
    >>> round(float(positive(torch.zeros(1))), 6)
    3.0
    """

    def __init__(self, unknown: Bounded, logarithmic: bool = False) -> None:
        self.lower, self.upper = unknown.lower, unknown.upper
        self.logarithmic = logarithmic and (self.lower is not None or self.upper is not None)
        self._raw_of_one = 0.0 if self.logarithmic else _SOFTPLUS_UNIT
        first = last = Affine([1.0], [0.0])
        parts: list[nn.Module] = [first]
        if self.lower is not None and self.upper is not None:
            last = Affine([self.upper - self.lower], [self.lower])
            parts += [nn.Sigmoid(), last]
        elif self.lower is not None or self.upper is not None:
            last = Affine([1.0], [0.0])
            parts += [_Exponential() if logarithmic else nn.Softplus(), last]
        super().__init__(*parts)
        self._ends = (first, last)

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return self.lower is not None or self.upper is not None

    def start_from(self, level: float, scale: float) -> None:
        """Map zero to ``level``, strictly within the bounds, and a unit step to about ``scale``."""
        first, last = self._ends
        if len(self) == 1:
            _set(first, scale, level)
        elif self.lower is not None and self.upper is not None:
            share = (level - self.lower) / (self.upper - self.lower)
            _set(first, 1.0, math.log(share / max(1 - share, _EDGE)))
            _set(last, self.upper - self.lower, self.lower)
        else:
            _set(first, 1.0, self._raw_of_one)
            if self.lower is not None:
                _set(last, level - self.lower, self.lower)
            elif self.upper is not None:
                _set(last, level - self.upper, self.upper)

    def values(self, raw: Array) -> Array:
        """Values at raw ones, in their shape."""
        with torch.no_grad():
            return self(torch.from_numpy(raw)).numpy()

    def slopes(self, raw: Array) -> Array:
        """Derivatives (n,) of values by raw ones."""
        with torch.enable_grad():
            at = torch.from_numpy(raw).requires_grad_()
            return torch.autograd.grad(self(at).sum(), at)[0].numpy()

    def mean_slopes(self, raw: Array, sd: Array, points: int) -> Array:
        """Rms change of values over that of raw ones, which are normal with ``sd`` about ``raw``; shape (n,).

        By ``points`` Gauss-Hermite points. It is at most that of a change by two standard deviations, which
        the rms of a value far below an exponential exceeds by its tail alone. It has the sign of the slope.

        >>> from mollifier.problem.unknowns import ScalarUnknown
        >>> positive = Bijection(ScalarUnknown(lower=0.0)).double()
        >>> positive.mean_slopes(np.full(2, -8.0), np.array([0.1, 4.0]), 11).round(4).tolist()
        [0.0003, 0.0824]
        """
        places, weights = np.polynomial.hermite_e.hermegauss(points)
        sd = np.maximum(sd, 1e-6)
        moved = self.values(raw[:, None] + sd[:, None] * [*places, -2.0, 2.0]) - self.values(raw)[:, None]
        size = np.sqrt(np.square(moved[:, :-2]) @ (weights / weights.sum()))
        most = np.abs(moved[:, -2:]).max(axis=1) / 2
        return np.copysign(np.minimum(size, most) / sd, self.slopes(raw))


class _Exponential(nn.Module):
    """The exponential, continued by its tangent.

    >>> _Exponential()(torch.tensor([0.0, 1.0]).double()).numpy().round(3).tolist()
    [1.0, 2.718]
    """

    def forward(self, raw: Tensor) -> Tensor:
        """The exponential of raw values, in their shape; beyond `_FARTHEST` its tangent there."""
        near = raw.clamp(max=_FARTHEST)
        return torch.exp(near) * (1 + raw - near)


def _set(affine: Affine, scale: float, shift: float) -> None:
    affine.scale.fill_(scale)
    affine.shift.fill_(shift)


class Scalar(nn.Module):
    """One unknown number: a raw parameter and its bijection; its value is 0-d, float64."""

    def __init__(self, unknown: Bounded) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.bijection = Bijection(unknown).double()

    def forward(self) -> Tensor:
        """The value, shape ()."""
        return self.bijection(self.raw)[0]

    def distance_to_bound(self, change: float) -> float:
        """Distance from the value to the bound in the direction of a change; infinite without one."""
        bound = self.bijection.upper if change > 0 else self.bijection.lower
        return math.inf if bound is None else abs(bound - float(self.forward().detach()))

    def assign(self, value: float) -> None:
        """Take a value within the bounds."""

        def above(raw: float) -> float:
            return float(self.bijection.values(np.array([raw]))[0]) - value

        high = next(r for k in range(1, 300) if above(-(r := 10.0**k)) * above(r) <= 0)
        with torch.no_grad():
            self.raw.fill_(brentq(above, -high, high))

    def slope(self) -> float:
        """Derivative of the value with respect to the raw parameter."""
        return float(self.bijection.slopes(self.raw.detach().numpy())[0])
