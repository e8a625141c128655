"""The signal of a nucleus: an image, or a density on pixels with nearly independent errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from mollifier.chromatin.density import density, stencil
from mollifier.chromatin.fractions import background, field_of, fractions
from mollifier.chromatin.lever_rule import Thresholds
from mollifier.chromatin.movies import settled
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import at_one_time, in_plane, on_grid
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.voronoi import SPREAD

# Pixels to the side of a block of a Voronoi map, between which errors are independent, and blocks to the
# width of a kernel, between which they are correlated.
_VORONOI, _BLOCKS = 6, 2.0
# Most pixels inside a nucleus for the map of rates, which bounds its memory and time.
_MOST_PIXELS = 100_000


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
        sample.frames, mask=mask, pixel=s.pixel, width=s.width, method=s.method, merge=s.merge,
        windows=s.windows, frame_interval=s.frame_interval if s.windows > 1 else None, times=sample.times,
    )  # fmt: skip
    return _blocked(found)


def _blocked(found: xr.Dataset) -> xr.Dataset:
    """Means over blocks of pixels: about two to the width of a kernel, independent ones for Voronoi cells.

    The attribute ``noise_area`` is updated to the area over which errors of blocks are correlated.
    """
    attrs, pixel = dict(found.attrs), float(found.attrs["pixel"])
    kernel = attrs["method"] == "kernel"
    k = round(attrs["kernel_width"] / _BLOCKS / pixel) if kernel else _VORONOI
    if k < 2:
        return found
    blocks = block_means(found, k)
    value, sd = blocks["density"], blocks["density_sd"]
    if kernel:
        w = stencil(attrs["kernel_width"], pixel)
        both = np.convolve(w, np.full(k, 1 / k))
        smaller = float(np.sum(both**2) / np.sum(w**2))
        sd = sd * smaller
        attrs["noise_area"] = attrs["noise_area"] / smaller**2
    else:
        sd = value / np.sqrt(SPREAD + value * (k * pixel) ** 2)
    # The resolution is two pixels or more.
    coarser = {"pixel": k * pixel, "blocks": k, "resolution": max(attrs["resolution"], 2 * k * pixel)}
    blocked = blocks.assign(density=value, density_sd=sd.assign_attrs(found["density_sd"].attrs))
    return blocked.assign_attrs({**attrs, **coarser})


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
