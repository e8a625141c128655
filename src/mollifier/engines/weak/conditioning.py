"""Measurements of an unknown field, as linear equations for its coefficients.

The priors are judged by the evidence of all data given the measurements: see `LinearisedProblem`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mollifier.data.observations import Samples
from mollifier.engines.splines.basis import Basis
from mollifier.mollify.arrays import Array


@dataclass(frozen=True, eq=False)
class FieldMeasurements:
    """Measurements of one field: ``values = rows @ coefficients + sd * noise``."""

    name: str  #: The unknown.
    rows: Array  #: Its basis functions at the places of the measurements, shape (n, size).
    #: Measured values and their standard errors in the field's unit, shape (n,).
    values: Array
    sd: Array

    @classmethod
    def of(cls, basis: Basis, samples: Samples) -> FieldMeasurements:
        """The measurements of the unknown that a basis represents."""
        points = dict(zip(samples.coordinates, samples.points.T, strict=True))
        return cls(basis.name, basis.rows(points), samples.values, samples.sd)

    @cached_property
    def information(self) -> Array:
        """Fisher information of the coefficients, shape (size, size)."""
        weighted = self.rows / self.sd[:, None]
        return weighted.T @ weighted

    @cached_property
    def right(self) -> Array:
        """The information times the measured coefficients, shape (size,)."""
        return self.rows.T @ (self.values / self.sd**2)

    def misfit(self, coefficients: Array) -> float:
        """Rms distance of the field with coefficients (size,) from the measurements, in standard errors."""
        return float(np.sqrt(np.mean(((self.rows @ coefficients - self.values) / self.sd) ** 2)))
