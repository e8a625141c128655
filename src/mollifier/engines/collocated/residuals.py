"""Rows of the residual vector and their derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import scipy.sparse as sp

from mollifier.mollify.arrays import Array


@dataclass
class Residuals:
    """Some rows of the weighted residual vector and their derivatives."""

    values: Array  #: Shape (m,).
    #: (block, channel) -> derivative with respect to that channel's values at the block's nodes, shape (m,
    #: nodes): sparse, or a product or rows of `mollifier.engines.collocated.lattice`; or with respect to its
    #: weights where it is linear in them, shape (m, weights); a number is so many times the identity.
    fields: dict[tuple[int, int], Any] = field(default_factory=dict)
    scalars: dict[str, Array] = field(default_factory=dict)  #: Scalar unknown -> derivative, shape (m,).
    #: Field -> derivative with respect to the coefficients of its declared noise, shape (m, k), sparse.
    shared: dict[str, sp.csr_array] = field(default_factory=dict)
    constant: bool = False  #: Whether the rows depend on one channel alone, by the same matrix in every step.
    samples: bool = False  #: Whether the rows are misfits of samples, which depend on one channel alone.

    @property
    def step(self) -> int:
        """Slices of the rows must start at multiples of this number."""
        return max((getattr(m, "step", 1) for m in self.fields.values()), default=1)

    def scaled(self, factor: float) -> Residuals:
        """The same rows, each times a number."""
        fields = {k: sp.csr_array(m * factor) for k, m in self.fields.items()}
        scalars = {n: s * factor for n, s in self.scalars.items()}
        return Residuals(self.values * factor, fields, scalars)
