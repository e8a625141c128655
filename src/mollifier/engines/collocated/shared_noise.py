"""Declared random effects of the noise: what measurements share beside the field, as more unknowns.

Measurements are ``d = u + P B b + e`` with independent errors e, shapes B of one standard deviation and
coefficients b that are standard normal; P is the field for gains, and one for all else. The least over b of
the squared errors and of b'b is ``(d - u)' R^-1 (d - u)`` with R the covariance of e plus ``P B B' P``, so
that unknowns and states found together with b are those of generalised least squares. The field in P is that
of the last step: its derivative would bias it towards measurements with small gains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from mollifier.data.noise_model import NoiseEffect
from mollifier.engines.collocated.places import ObservedPlaces
from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array


class SharedNoise(nn.Module):
    """Coefficients b (k,) of the random effects of one field's noise, at most ``most``.

    ``level`` is the field at its places, (places,), which gains multiply; both are zero at first.
    """

    def __init__(self, field: str, effects: Sequence[NoiseEffect], places: ObservedPlaces, most: int) -> None:
        super().__init__()
        shapes = [e.at(places.columns) for e in effects]
        self.shapes = sp.csr_array(sp.hstack(shapes, format="csr"))
        rows, count = self.shapes.shape
        if count > most:
            raise ConfigurationError(
                f"The noise declared for '{field}' has {count:,} random effects; at most {most:,} were "
                "expected. Thin the data, declare fewer effects, or take engine 'weak' for data on a grid."
            )
        self.gains = np.repeat([e.gain for e in effects], [s.shape[1] for s in shapes])
        self.coefficients = nn.Parameter(torch.zeros(count, dtype=torch.float64))
        self.level: Tensor
        self.register_buffer("level", torch.zeros(rows, dtype=torch.float64))

    @property
    def matrix(self) -> sp.csr_array:
        """P B, shape (places, k)."""
        level = self.level.cpu().numpy()[:, None]
        parts = self.shapes * ~self.gains, (self.shapes * self.gains).multiply(level)
        return sp.csr_array(parts[0] + parts[1])

    def follow(self, state: Array) -> float:
        """Let gains multiply a state (places,); returns its change over its rms, zero where nothing gains."""
        if not self.gains.any():
            return 0.0
        moved = float(np.linalg.norm(state - self.level.cpu().numpy()) / (np.linalg.norm(state) or 1.0))
        self.level.copy_(torch.from_numpy(state))
        return moved

    def forward(self, state: Tensor) -> Tensor:
        """What measurements of a state (places,) have beside it, of the same shape."""
        shapes = sp.coo_array(self.shapes)
        row, column = (torch.from_numpy(i.astype(np.int64)).to(state.device) for i in shapes.coords)
        size, gains = (torch.from_numpy(v).to(state.device) for v in (shapes.data, self.gains))
        parts = size * self.coefficients[column] * torch.where(gains[column], state[row], 1.0)
        return torch.zeros_like(state).index_add(0, row, parts)
