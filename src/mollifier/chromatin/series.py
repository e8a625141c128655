"""The measured fields of a nucleus over time: its pixels and frames, and integrals from frame to frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

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


# Points of the quadrature of a function of time between two frames.
_POINTS = 40


@dataclass(frozen=True, eq=False)
class TimeRows:
    """Rows in time of a series of frames."""

    #: The change of a field and its integral as sums over the frames, each (rows, frames).
    change: Array
    hold: Array
    functions: Array  #: The functions of time at the frames, (frames, m).
    weights: Array  #: The integral of a field times each function, (rows, frames, m).


def time_rows(times: Array, most: int, functions: Array | Callable[[Array], Array] | None = None) -> TimeRows:
    """Rows of a series at times (frames,); one frame alone is a steady state.

    Integrals are those of the spline through the frames. Beyond ``most`` rows, low-frequency cosines replace
    those of single intervals. The functions are smooth ones by their values at the frames, (frames, m); or
    one function of time, which may be steeper than the frames resolve; by default the constant.

    >>> rows = time_rows(np.arange(5.0), 9, lambda t: np.where(t < 2.5, 0.0, 1.0))
    >>> round(float(rows.weights[0].sum()), 2), round(float(rows.hold[0].sum()), 2)
    (1.5, 4.0)
    """
    count = len(times)
    if functions is None:
        functions = np.ones((count, 1))
    if count == 1:
        at = functions(times)[:, None] if callable(functions) else functions
        return TimeRows(np.zeros((1, 1)), np.ones((1, 1)), at, at[None])
    spline = make_interp_spline(times, np.eye(count), k=3 if count > 3 else 1)
    hold = np.diff(spline.antiderivative()(times), axis=0)
    change = np.diff(np.eye(count), axis=0)
    kept = min(most, count - 1)
    slow = np.cos(np.pi * np.outer(np.arange(kept), np.arange(count - 1) + 0.5) / (count - 1))
    if callable(functions):
        share = (np.arange(_POINTS) + 0.5) / _POINTS
        fine = times[:-1, None] + np.diff(times)[:, None] * share
        step = np.diff(times)[:, None] / _POINTS * functions(fine)
        weights = (slow @ np.einsum("is,isk->ik", step, spline(fine)))[..., None]
        functions = functions(times)[:, None]
    else:
        weights = (slow @ hold)[..., None] * functions
    return TimeRows(slow @ change, slow @ hold, functions, weights)
