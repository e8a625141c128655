"""The sinusoidal representation network."""

from __future__ import annotations

import math

from torch import nn

from mollifier.nn.layers import Layered, Sine


class SIREN(Layered):
    """The sinusoidal representation network (Sitzmann et al., arXiv:2006.09661).

    Each hidden layer is ``sin(frequency * (W x + b))``. Weights are uniform within ``1/inputs`` in the first
    layer and within ``sqrt(6/width) / frequency`` in the other hidden ones. From the second layer on, values
    before the sine are then about standard normal, and values after it have about the arcsine distribution: a
    variance v becomes ``1 - exp(-2 v)``, which tends to 0.80 whatever the depth. Weights of the last, linear,
    layer are uniform within ``sqrt(6/width)``: the output has unit size. Further options as of `Network`.

    Parameters
    ----------
    frequency
        The paper takes 30, for pictures. A smooth field from noisy measurements needs much less: high
        frequencies fit the noise between the measurements.

    Notes
    -----
    The paper leaves the biases open. Those of the first layer give its waves uniform phases, the others are
    zero, so that they do not add to the variance above.

    Examples
    --------
    >>> import torch
    >>> SIREN(2, 3, width=8)(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self, inputs: int, outputs: int, width: int = 16, depth: int = 4, frequency: float = 3.0
    ) -> None:
        super().__init__(inputs, outputs, width=width, depth=depth)
        layers: list[nn.Module] = []
        last = inputs
        for i in range(depth):
            bound = math.sqrt(6 / last) / frequency if i else 1 / inputs
            phase = 0.0 if i else math.pi / frequency
            layers += [_uniform(last, width, bound, phase), Sine(frequency)]
            last = width
        self.layers = nn.Sequential(*layers, _uniform(last, outputs, math.sqrt(6 / last)))


def _uniform(inputs: int, outputs: int, weight: float, bias: float = 0.0) -> nn.Linear:
    """A linear layer with weights and biases uniform within bounds."""
    layer = nn.Linear(inputs, outputs)
    nn.init.uniform_(layer.weight, -weight, weight)
    nn.init.uniform_(layer.bias, -bias, bias)
    return layer
