"""Fractions from two marks, one of heterochromatin and one of euchromatin: their levels need no lever rule.

A mark shows its phase alone, ``x = h s`` and ``y = e (1 - s)`` with s the share of heterochromatin, so that
``x/h + y/e = 1`` everywhere: the levels h and e of the pure phases are those at which this sum varies least,
relative to its noise (total least squares, Golub and Van Loan, SIAM J. Numer. Anal. 17:883, 1980).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg as sl
import xarray as xr
from numpy.typing import NDArray

from mollifier.chromatin.assumptions import Assumptions, Variation
from mollifier.chromatin.fractions import measured, within
from mollifier.chromatin.lever_rule import NO_BACKGROUND, Thresholds
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.signals import ground_and_mean, signal
from mollifier.errors import DataError

Array = NDArray[np.float64]

# Tiles along each side of a nucleus, one of which is left out at a time for the errors of the levels.
_TILES = 4


@dataclass(frozen=True)
class ColourLevels:
    """Levels of the share of heterochromatin, 0 and 1 but for their errors."""

    thresholds: Thresholds  #: The levels, two phases with their nucleoplasm.
    sd: tuple[float, float]  #: Standard errors of the levels of euchromatin and of heterochromatin.

    def at(self, model: ChromatinModel) -> None:
        """They do not depend on the model."""

    def variations(self, assumed: Assumptions) -> Iterator[Variation]:
        """As `Assumptions.thresholds`: of the levels by their own errors."""
        t, (e, h) = self.thresholds, self.sd
        yield "euchromatin", e, replace(t, euchromatin=-e), replace(t, euchromatin=e), 2.0
        yield "heterochromatin", h, replace(t, heterochromatin=1 - h), replace(t, heterochromatin=1 + h), 2.0
        yield from replace(assumed, levels=0.0).thresholds(self.thresholds, self.thresholds, xr.DataArray())


def two_colours(sample: NucleusData, settings: StudySettings) -> tuple[xr.Dataset, ColourLevels]:
    """The share of heterochromatin in the chromatin as a signal, and its levels.

    The sample is a nucleus with a mark of heterochromatin, whose ``euchromatin`` is itself with a mark of
    euchromatin. Of the levels in the settings only the background and the nucleoplasm are used. Raises
    `DataError` if the marks do not exclude each other.
    """
    assert sample.euchromatin is not None
    first = signal(sample, settings)
    pixel = first.attrs.get("pixel", 0.0) / first.attrs.get("blocks", 1) or None
    alike = replace(settings, pixel=pixel, width=first.attrs.get("kernel_width"))
    second = signal(sample.euchromatin, alike)
    (x, x_sd, attrs), (y, y_sd, other) = (_above(v, sample.mask, settings) for v in (first, second))
    known = (x.notnull() & y.notnull() & within(sample.mask, x)).transpose(*x.dims).values
    values = np.stack([x.values[known], y.values[known]])
    noise = np.diag(np.array([np.mean(e.values[known] ** 2) for e in (x_sd, y_sd)], dtype=np.float64))
    a, b = _inverse_levels(values, noise)
    tile = _tiles(known)
    kept = np.array([_inverse_levels(values[:, tile != k], noise) for k in np.unique(tile)])
    errors = np.sqrt((len(kept) - 1) * np.var(kept, axis=0)) / (a, b)
    w = float(b**2 * noise[1, 1] / (a**2 * noise[0, 0] + b**2 * noise[1, 1]))
    share, sd = w * a * x + (1 - w) * (1 - b * y), np.hypot(w * a * x_sd, (1 - w) * b * y_sd)
    attrs |= {"resolution": max(attrs["resolution"], other["resolution"])}
    attrs |= {"level_heterochromatin_mark": 1 / a, "level_euchromatin_mark": 1 / b}
    found = xr.Dataset({"density": share.assign_attrs(units="1"), "density_sd": sd}, attrs=attrs)
    chosen = replace(
        settings.thresholds, background=NO_BACKGROUND, euchromatin=0.0, heterochromatin=1.0, two_phases=True
    )
    return found, ColourLevels(chosen, (float((1 - w) * errors[1]), float(w * errors[0])))


def _above(
    value: xr.Dataset | xr.DataArray, mask: xr.DataArray, s: StudySettings
) -> tuple[xr.DataArray, xr.DataArray, dict[str, str | float | int]]:
    """A signal above its background, its standard error, and attributes."""
    seen, sd, attrs = measured(value, None, s.psf_sd)
    return seen - ground_and_mean(value, mask, s.thresholds)[0], sd, attrs


def _inverse_levels(values: Array, noise: Array) -> Array:
    """1/h and 1/e from the signals (2, n) and their mean noise variances, a diagonal matrix."""
    vector = np.asarray(sl.eigh(np.cov(values), noise)[1])[:, 0]
    found = vector / float(vector @ values.mean(axis=1))
    if not (found > 0).all():
        alike = float(np.corrcoef(values)[0, 1])
        raise DataError(
            f"The channels do not exclude each other: their correlation in the nucleus is {alike:+.2f}. A "
            "mark of heterochromatin (--channel) and one of euchromatin (--euchromatin-channel) were "
            "expected; leave out the second to use levels of one."
        )
    return found


def _tiles(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of the tile of each known pixel, in equal parts of them along each axis."""
    place = np.argwhere(known)[:, :2]
    parts = [np.argsort(np.argsort(p, kind="stable")) * _TILES // len(p) for p in place.T]
    return parts[0] * _TILES + parts[1]
