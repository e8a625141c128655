"""The signal of a nucleus: an image, a density on pixels with nearly independent errors, or two marks.

Of two marks, one shows heterochromatin and one euchromatin, ``x = h s`` and ``y = e (1 - s)`` with s the
share of heterochromatin, so that ``x/h + y/e = 1`` everywhere: the levels h and e of the pure phases need no
lever rule. They are those at which this sum varies least, relative to its noise (total least squares, Golub
and Van Loan, SIAM J. Numer. Anal. 17:883, 1980).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg as sl
import xarray as xr

from mollifier.chromatin.density import density, stencil
from mollifier.chromatin.fractions import (
    NO_BACKGROUND,
    Thresholds,
    background,
    field_of,
    fractions,
    measured,
    within,
)
from mollifier.chromatin.movies import settled
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import at_one_time, in_plane, on_grid
from mollifier.chromatin.settings import Assumptions, Levels, StudySettings, Variation
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Index, Mask

_BLOCKS = 2.0  # Blocks of pixels to the width of a kernel, between which errors are correlated.
_MOST_PIXELS = 100_000  # Most pixels inside a nucleus for the map of rates, which bounds its memory and time.


def relative_levels(sample: NucleusData, settings: StudySettings) -> tuple[float, float]:
    """Levels of euchromatin and heterochromatin of a nucleus, in units of its mean signal.

    They are independent of brightness and number of labels, and apply to other nuclei.
    """
    sample = settled(sample, settings).sample
    value = signal(sample, settings)
    ground, mean = ground_and_mean(value, sample.mask, settings.thresholds)
    found = fractions(value, sample.mask, thresholds=settings.thresholds, psf_sd=settings.psf_sd).attrs
    e, h = ((found[f"threshold_{n}"] - ground) / mean for n in ("euchromatin", "heterochromatin"))
    return float(e), float(h)


def signal(sample: NucleusData, settings: StudySettings) -> xr.Dataset | xr.DataArray:
    """The signal for the fractions: the image, or the density on pixels of about half the kernel width."""
    if sample.image is not None:
        return sample.image
    s, mask = settings, sample.mask
    found = density(
        sample.frames, mask=mask, pixel=s.pixel, width=s.width, merge=s.merge, times=sample.times
    )  # fmt: skip
    return _blocked(found)


def _blocked(found: xr.Dataset) -> xr.Dataset:
    """Means over blocks of pixels, about two to the width of the kernel.

    The attribute ``noise_area`` is updated to the area over which errors of blocks are correlated.
    """
    attrs, pixel = dict(found.attrs), float(found.attrs["pixel"])
    k = round(attrs["kernel_width"] / _BLOCKS / pixel)
    if k < 2:
        return found
    blocks, w = block_means(found, k), stencil(attrs["kernel_width"], pixel)
    both = np.convolve(w, np.full(k, 1 / k))
    smaller = float(np.sum(both**2) / np.sum(w**2))
    sd = (blocks["density_sd"] * smaller).assign_attrs(found["density_sd"].attrs)
    # The resolution is two pixels or more.
    coarser = {"pixel": k * pixel, "blocks": k, "resolution": max(attrs["resolution"], 2 * k * pixel)}
    coarser["noise_area"] = attrs["noise_area"] / smaller**2
    return blocks.assign(density_sd=sd).assign_attrs({**attrs, **coarser})


def for_rate(fields: xr.Dataset) -> xr.Dataset:
    """The fields on pixels for the map of rates: blocks where there would be too many.

    Means over blocks keep the integrals of the fractions. Errors average out over blocks larger than
    ``noise_area``.
    """
    known: Any = fields["phi_d"].notnull()
    inside = int(known.any("t").sum() if "t" in known.dims else known.sum())
    k = math.ceil(math.sqrt(inside / _MOST_PIXELS))
    if k <= 1:
        return fields
    pixel = float(fields["x"][1] - fields["x"][0])
    correlated = max(float(fields.attrs.get("noise_area", 0.0)), pixel**2)
    area = (k * pixel) ** 2
    blocks = block_means(fields, k)
    smaller = math.sqrt(min(correlated / area, 1.0))
    errors = {n: blocks[n] * smaller for n in blocks.data_vars if str(n).endswith("_sd")}
    return blocks.assign(errors).assign_attrs(noise_area=max(correlated, area), pixel=k * pixel)


def block_means(fields: xr.Dataset, k: int) -> xr.Dataset:
    """Means over blocks of k by k pixels; NaN where half of a block or less is known."""
    pixel = float(fields["x"][1] - fields["x"][0])
    blocks: Any = fields.coarsen(x=k, y=k, boundary="pad").mean()
    known: Any = fields[next(iter(fields.data_vars))].notnull()
    whole = known.coarsen(x=k, y=k, boundary="pad").mean() > 0.5
    # Centres are computed here, because the last block may reach beyond the map.
    x, y = (float(fields[c][0]) + pixel * (k * np.arange(blocks.sizes[c]) + (k - 1) / 2) for c in ("x", "y"))
    middle = {c: (c, v, fields[c].attrs) for c, v in (("x", x), ("y", y))}
    middle |= {"t": ("t", fields["t"].values, fields["t"].attrs)} if "t" in fields.coords else {}
    kept = {n: blocks[n].where(whole).assign_attrs(fields[n].attrs) for n in fields.data_vars}
    return xr.Dataset(kept).assign_coords(middle).assign_attrs(fields.attrs)


def ground_and_mean(
    value: xr.Dataset | xr.DataArray, mask: xr.DataArray, thresholds: Thresholds
) -> tuple[float, float]:
    """Level of the background, and the mean signal inside the nucleus above it."""
    ground, flat = background(value, thresholds), in_plane(field_of(value))
    inside = on_grid(at_one_time(mask), flat["x"].values, flat["y"].values)
    return ground, float(np.nanmean(flat.values[inside])) - ground


# Tiles along each side of a nucleus, one of which is left out at a time for the errors of the levels.
_TILES = 4


@dataclass(frozen=True, eq=False)
class ColourLevels(Levels):
    """Levels of the share of heterochromatin, 0 and 1 but for their errors."""

    sd: tuple[float, float]  #: Standard errors of the levels of euchromatin and of heterochromatin.

    def variations(self, assumed: Assumptions, phi: xr.Dataset) -> Iterator[Variation]:
        """Of the levels by their own errors."""
        t, (e, h) = self.thresholds, self.sd
        yield "euchromatin", e, replace(t, euchromatin=-e), replace(t, euchromatin=e), 2.0
        yield "heterochromatin", h, replace(t, heterochromatin=1 - h), replace(t, heterochromatin=1 + h), 2.0
        yield from super().variations(replace(assumed, levels=0.0), phi)


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


def _tiles(known: Mask) -> Index:
    """Number of the tile of each known pixel, in equal parts of them along each axis."""
    place = np.argwhere(known)[:, :2]
    parts = [np.argsort(np.argsort(p, kind="stable")) * _TILES // len(p) for p in place.T]
    return parts[0] * _TILES + parts[1]
