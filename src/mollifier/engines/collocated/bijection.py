"""Bounds by bijection: from a raw value around zero to a value within bounds, starting at a level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mollifier.nn.layers import Affine
from mollifier.problem.unknowns import Unknown

_SOFTPLUS_UNIT = math.log(math.e - 1)  # softplus of this is 1
# Nearest to the upper bound, as a share of the range, that a value may start: nearer, rounding puts it there.
_EDGE = 1e-12


class Bijection(nn.Sequential):
    """raw -> value: zero maps to the level, a unit step moves the value by about the scale.

    No bounds: ``level + scale*raw``; one bound: a softplus; two: a logistic between them. With bounds the
    step is set by the distance from the level to them.

    Examples
    --------
    >>> from mollifier.problem.unknowns import ScalarUnknown
    >>> positive = Bijection(ScalarUnknown(lower=0.0))
    >>> positive.start_from(level=3.0, scale=1.0)
    >>> round(float(positive(torch.zeros(1))), 6)
    3.0
    """

    def __init__(self, unknown: Unknown) -> None:
        self.lower, self.upper = unknown.lower, unknown.upper
        first = last = Affine([1.0], [0.0])
        parts: list[nn.Module] = [first]
        if self.lower is not None and self.upper is not None:
            last = Affine([self.upper - self.lower], [self.lower])
            parts += [nn.Sigmoid(), last]
        elif self.lower is not None or self.upper is not None:
            last = Affine([1.0], [0.0])
            parts += [nn.Softplus(), last]
        super().__init__(*parts)
        self._ends = (first, last)

    def start_from(self, level: float, scale: float) -> None:
        """Map zero to ``level``, which must lie strictly within the bounds; ``scale`` sets the step."""
        first, last = self._ends
        if len(self) == 1:
            _set(first, scale, level)
        elif self.lower is not None and self.upper is not None:
            share = (level - self.lower) / (self.upper - self.lower)
            _set(first, 1.0, math.log(share / max(1 - share, _EDGE)))
            _set(last, self.upper - self.lower, self.lower)
        else:
            _set(first, 1.0, _SOFTPLUS_UNIT)
            if self.lower is not None:
                _set(last, level - self.lower, self.lower)
            elif self.upper is not None:
                _set(last, level - self.upper, self.upper)


def _set(affine: Affine, scale: float, shift: float) -> None:
    affine.scale.fill_(scale)
    affine.shift.fill_(shift)


class Scalar(nn.Module):
    """One unknown number: a raw parameter and its bijection; its value is 0-d, float64.

    Parameters
    ----------
    unknown
        Bounds.
    """

    def __init__(self, unknown: Unknown) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.bijection = Bijection(unknown).double()

    def forward(self) -> Tensor:
        """The value, shape ()."""
        return self.bijection(self.raw)[0]

    def slope(self) -> float:
        """Derivative of the value with respect to the raw parameter."""
        raw = self.raw.detach().clone().requires_grad_()
        return float(torch.autograd.grad(self.bijection(raw)[0], raw)[0])
