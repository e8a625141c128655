"""Inputs that repeat with the period of their axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PeriodicInputs(nn.Module):
    """Replace each periodic coordinate xi in [-1, 1] by (sin pi xi, cos pi xi); the others pass.

    Examples
    --------
    >>> PeriodicInputs([True, False])(torch.tensor([[-1.0, 0.3], [1.0, 0.3]])).round(decimals=5).abs()
    tensor([[0.0000, 1.0000, 0.3000],
            [0.0000, 1.0000, 0.3000]])
    """

    def __init__(self, periodic: Sequence[bool]) -> None:
        super().__init__()
        self.periodic = tuple(periodic)

    @property
    def outputs(self) -> int:
        """Number of columns that come out."""
        return sum(2 if p else 1 for p in self.periodic)

    def forward(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, outputs)."""
        columns = []
        for i, periodic in enumerate(self.periodic):
            c = x[..., i]
            columns += [torch.sin(math.pi * c), torch.cos(math.pi * c)] if periodic else [c]
        return torch.stack(columns, dim=-1)
