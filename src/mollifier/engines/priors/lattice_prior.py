"""Priors on the coefficients of fields that are values on a lattice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mollifier.engines.priors.evidence import PriorOnCoefficients, QuadraticForm
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.priors.shapes import Shape
from mollifier.mollify.arrays import Array

_ROUNDED = 1e-14  # Rounding of a precision, over its stiffest mode.


class LatticePrior(PriorOnCoefficients):
    """The prior of a field whose coefficients are values on its lattice.

    ``columns`` are the places of the p coefficients among all unknowns, ``x`` (p,) are these in units of the
    field's size, and ``unit`` is the change of ``x`` as a coefficient changes by one. ``count`` is the number
    of samples, by which a strength is multiplied: the loss is a mean over samples.
    """

    def __init__(self, columns: slice, prior: FieldPrior, x: Array, unit: float, count: int) -> None:
        self.columns, self.prior, self.count = columns, prior, count
        self._x, self._unit = x, unit
        # A coefficient is held to the field's size in the mean square.
        self.held = unit**2 / len(x)
        self._forms: dict[Shape, QuadraticForm] = {}

    @property
    def mean_square(self) -> float:
        return self.count * self._unit**2 * (1 - 1 / len(self._x))

    def form(self, shape: Shape) -> QuadraticForm:
        if shape not in self._forms:
            form, count, unit = self.prior.form(shape), self.count, self._unit
            rows = form.rows(self._x)
            self._forms[shape] = QuadraticForm(
                count * unit**2 * form.square,
                count * unit * form.gradient(self._x),
                count * float(rows @ rows),
            )
        return self._forms[shape]

    def of(self, prior: FieldPrior) -> LatticePrior:
        return LatticePrior(self.columns, prior, self._x, self._unit, self.count)

    def on_lattice(self, shift: Array, covariance: Array) -> tuple[Array, Array]:
        here, unit = self.columns, self._unit
        return self._x + unit * shift[here], unit**2 * covariance[here, here]

    def log_determinant(self, shape: Shape, strength: float) -> float:
        spectrum = self.count * self._unit**2 * self.prior.form(shape).spectrum
        return float(np.log(strength * spectrum + self.held).sum())

    def strongest(self, shape: Shape) -> float:
        stiffest = self.count * self._unit**2 * float(self.prior.form(shape).spectrum[-1])
        return self.held / max(_ROUNDED * stiffest, 1e-300)

    def log_variance(self, shape: Shape, strength: float) -> tuple[float, float]:
        return float(np.log(self.prior.form(shape).variance / (strength * self.count))), 1.0


def keep_local(priors: Mapping[str, FieldPrior], found: Mapping[str, PriorOnCoefficients]) -> None:
    """Let strengths vary as in priors that were found on the same lattices."""
    for name, prior in found.items():
        assert isinstance(prior, LatticePrior)
        priors[name].vary_as(prior.prior)
