"""The fading of a dye: the decay of a nucleus's total signal, and frames without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.errors import DataError

Array = NDArray[np.float64]

# Fewest frames of the fit.
_LEAST = 4


@dataclass(frozen=True)
class Bleaching:
    """An exponential decay of the signal."""

    #: Decay rate and its standard error, 1/s.
    rate: float
    sd: float
    start: float  #: Time of the first frame, s, whose signal is kept.

    def factor(self, times: Array, errors: float = 0.0) -> Array:
        """By which the signal at these times is multiplied, with the rate some standard errors off."""
        return np.exp((self.rate + errors * self.sd) * (times - self.start))


def flicker(level: Array) -> float:
    """Relative standard deviation of a mean signal from frame to frame, from its second differences.

    >>> t, rng = np.arange(2000.0), np.random.default_rng(0)
    >>> round(flicker(np.exp(-t / 500) * (1 + 0.01 * rng.standard_normal(2000))), 3)
    0.01
    """
    second = np.diff(np.log(level), 2)
    return float(np.sqrt(np.mean(second**2) / 6)) if second.size else 0.0


def fitted(signal: xr.DataArray, mask: xr.DataArray, until: float | None = None) -> Bleaching:
    """The decay of the mean signal of a nucleus.

    ``signal`` is above the background, over x, y and t, of a nucleus at rest with a mask over x and y. The
    logarithm of the mean is fitted by a line. Its standard error follows from the scatter about the line, in
    which neighbouring frames count as one where they are alike: what the chromatin itself does to the total
    signal scatters slowly. Only frames up to the time ``until`` of a treatment, s, are fitted, because it
    changes the total signal too; without one the total of the marks is assumed constant.

    Raises `DataError` if there are fewer than four frames, or no signal.

    >>> t = np.arange(0.0, 100.0, 10.0)
    >>> movie = xr.DataArray(np.exp(-t / 200) * np.ones((3, 3, 1)), {"t": t}, ("x", "y", "t"))
    >>> round(1 / fitted(movie, movie.isel(t=0, drop=True) > 0).rate)
    200
    """
    level = signal.where(mask > 0).mean(("x", "y"))
    times = level["t"].values.astype(float)
    kept = np.ones(len(times), dtype=bool) if until is None else times <= until
    if kept.sum() < _LEAST:
        before = "" if until is None else " before the treatment"
        raise DataError(
            f"There are {kept.sum()} frames{before}; the fading of a dye is fitted to {_LEAST} or more."
        )
    values = level.values[kept]
    if not (values > 0).all():
        raise DataError("The signal of the nucleus is not above the background in every frame.")
    t = times[kept] - times[kept].mean()
    logs = np.log(values)
    slope = float(t @ logs / (t @ t))
    left = logs - logs.mean() - slope * t
    free = max(len(t) - 2, 1)
    # Correlation of neighbours widens the error as that of a first-order autoregression does.
    alike = float(np.clip(left[1:] @ left[:-1] / max(left @ left, 1e-30), 0.0, 0.9))
    sd = float(np.sqrt(left @ left / free / (t @ t) * (1 + alike) / (1 - alike)))
    return Bleaching(-slope, sd, float(times[0]))
