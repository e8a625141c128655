"""Slopes for unknown fields, from data that are independent of the residuals.

Residuals are linear in the noise e of the fields, ``r = r0 + J e`` with covariance ``C = J S J'``. The slopes
of noisy fields go with them, which is why products of the two are biased. The fields moved onto the equation,

    u - S J' C^-1 r,

have errors that do not: it is the step that takes measured values to the nearest that meet the equation
(Britt and Luecke, Technometrics 15:233, 1973), and what it leaves of e is uncorrelated with J e. Any
mollifier keeps that, and takes most of what is left away. The slopes then are instruments, nearly those
without noise: their products with the residuals need no correction, and the information is never negative,
however many coefficients there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.weak.prepare import smoother
from mollifier.engines.weak.sums import GridData, WeakSums
from mollifier.engines.weak.testspace import TestSpace

Array = NDArray[np.float64]

_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Instruments:
    """Slopes from mollified fields that lie near the equation.

    Attributes
    ----------
    sums
        Over the noisy fields.
    smooth
        Over the fields about which the residuals are linearised.
    smoothers
        What mollifies each field.
    """

    sums: WeakSums
    smooth: WeakSums
    smoothers: Mapping[str, Callable[[Array], Array]]

    @classmethod
    def of(cls, sums: WeakSums, smooth: WeakSums) -> Instruments:
        """Mollifiers of the least risk for the fields as they are measured."""
        m = sums.data
        found = {f: smoother(m.values[f], m.grid, m.variances[f], m.gaps) for f in sums.form.fields}
        return cls(sums, smooth, found)

    def moved(
        self, space: TestSpace, coefficients: Array, residuals: Array, weighed: Array
    ) -> dict[str, Array]:
        """The fields moved onto the equation, no further than noise explains; parameters as of `slopes`."""
        # Residuals beyond the noise, as far from the answer, would move them by more.
        limit = min(1.0, len(residuals) / max(float(residuals @ weighed), _TINY))
        m, pull = self.sums.data, self.smooth.pulled(space, coefficients, limit * weighed)
        return {f: m.values[f] - m.variances[f] * pull[f] for f in self.smoothers}

    def slopes(self, space: TestSpace, coefficients: Array, residuals: Array, weighed: Array) -> sp.csr_array:
        """Slopes of the residuals, shape (rows, coefficients).

        Parameters
        ----------
        space, coefficients
            Where.
        residuals, weighed
            r and ``C^-1 r``, shape (rows,).
        """
        moved = self.moved(space, coefficients, residuals, weighed)
        fields = {f: mollify(moved[f]) for f, mollify in self.smoothers.items()}
        m, exact = self.sums.data, dict.fromkeys(fields, np.zeros(()))
        clear = GridData(m.grid, {**m.values, **fields}, exact, m.gaps)
        return WeakSums(self.sums.integrands, clear, self.sums.bases).rows(space, coefficients).slopes
