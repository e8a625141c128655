"""Kinds of NumPy arrays, as annotations name them, and their mean size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]


def finite_mean(values: Array) -> float:
    """Mean of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if finite.size else float("nan")


def rms(values: Array) -> float:
    """Root mean square of the finite values; NaN where there is none."""
    return float(np.sqrt(finite_mean(values**2)))
