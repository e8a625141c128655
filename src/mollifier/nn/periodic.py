"""Inputs that repeat with the period of their axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mollifier.errors import ConfigurationError


class PeriodicInputs(nn.Module):
    """Replace each periodic coordinate xi in [-1, 1] by (sin pi xi, cos pi xi); the others pass.

    >>> PeriodicInputs([True, False])(torch.tensor([[-1.0, 0.3], [1.0, 0.3]])).round(decimals=5).abs()
    tensor([[0.0000, 1.0000, 0.3000],
            [0.0000, 1.0000, 0.3000]])
    """

    def __init__(self, periodic: Sequence[bool]) -> None:
        super().__init__()
        self.periodic = tuple(periodic)

    @property
    def outputs(self) -> int:
        """Number of columns after the replacement."""
        return sum(2 if p else 1 for p in self.periodic)

    def forward(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, outputs)."""
        columns = []
        for i, periodic in enumerate(self.periodic):
            c = x[..., i]
            columns += [torch.sin(math.pi * c), torch.cos(math.pi * c)] if periodic else [c]
        return torch.stack(columns, dim=-1)


def periodic_flags(inputs: int, periodic: Sequence[bool] | None) -> tuple[bool, ...]:
    """Whether each of the coordinates is periodic; None for none of them.

    Raises `ConfigurationError` if there is not one flag for each coordinate.
    """
    flags = (False,) * inputs if periodic is None else tuple(periodic)
    if len(flags) != inputs:
        raise ConfigurationError(
            f"periodic={list(flags)} was given for a network of {inputs} coordinates; one True or False for "
            "each was expected."
        )
    return flags


def with_periodic_inputs(
    inputs: int, periodic: Sequence[bool] | None, make: Callable[[int], nn.Module]
) -> nn.Module:
    """A network behind `PeriodicInputs`, which are left out where no coordinate is periodic.

    ``make`` makes the network from its number of input columns.
    """
    before = PeriodicInputs(periodic_flags(inputs, periodic))
    network = make(before.outputs)
    return nn.Sequential(before, network) if any(before.periodic) else network
