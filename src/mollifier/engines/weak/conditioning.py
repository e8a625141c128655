"""Readings of an unknown field, as what they tell of its coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mollifier.data.observations import Samples
from mollifier.engines.splines.basis import Basis
from mollifier.problem.measurements import exact

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FieldMeasurements:
    """Readings of one field: ``values = rows @ coefficients + sd * noise``.

    Attributes
    ----------
    name
        The unknown.
    rows
        Its functions at the readings, shape (n, size).
    values, sd
        Shape (n,).
    sure
        Which are exact, shape (n,): conditions that the field meets.
    """

    name: str
    rows: Array
    values: Array
    sd: Array
    sure: NDArray[np.bool_]

    @classmethod
    def of(cls, basis: Basis, samples: Samples) -> FieldMeasurements:
        """The readings of the unknown that a basis stands for."""
        points = dict(zip(samples.coordinates, samples.points.T, strict=True))
        return cls(basis.name, basis.rows(points), samples.values, samples.sd, exact(samples))

    @cached_property
    def conditions(self) -> FieldMeasurements | None:
        """The exact ones; None where there are none."""
        kept = self.sure
        if not kept.any():
            return None
        return FieldMeasurements(self.name, self.rows[kept], self.values[kept], self.sd[kept], kept[kept])

    @cached_property
    def information(self) -> Array:
        """Precision that the readings give the coefficients, shape (size, size)."""
        weighed = self.rows / self.sd[:, None]
        return weighed.T @ weighed

    @cached_property
    def right(self) -> Array:
        """Precision times coefficients, shape (size,)."""
        return self.rows.T @ (self.values / self.sd**2)

    def misfit(self, coefficients: Array) -> float:
        """Rms distance of the field from its readings, in their standard errors."""
        return float(np.sqrt(np.mean(((self.rows @ coefficients - self.values) / self.sd) ** 2)))
