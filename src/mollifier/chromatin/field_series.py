"""The measured fields of a nucleus that a map of rates is estimated from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FieldSeries:
    """The fields of a nucleus over its pixels and frames."""

    #: phi_d, the variance of its errors, and 1 - phi_n, each of shape (pixels, frames).
    phi_d: Array
    variance: Array
    chromatin: Array
    times: Array  #: Of the frames, shape (frames,).
    depth: Array  #: Distance from the nuclear edge, shape (pixels,).
    shared: float = 1.0  #: Number of pixels over which errors are correlated; 1 for independent errors.
    #: Fields as they are when something common to all pixels is one standard deviation off, in all frames
    #: together, as the fading of a dye, or in each by itself, as the place of a nucleus: their differences
    #: from these fields count as noise.
    others: tuple[FieldSeries, ...] = ()
    shaken: tuple[FieldSeries, ...] = ()

    @property
    def phi_h(self) -> Array:
        """Heterochromatin."""
        return (self.chromatin + self.phi_d) / 2

    @property
    def phi_e(self) -> Array:
        """Euchromatin."""
        return (self.chromatin - self.phi_d) / 2
