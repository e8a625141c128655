"""What the fractions of a nucleus are read off: an image, or a density whose pixels err by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from mollifier.chromatin.density import density, on_grid, stencil
from mollifier.chromatin.fractions import Thresholds, fractions
from mollifier.chromatin.samples import Sample, StudySettings
from mollifier.chromatin.voronoi import SPREAD

# Pixels to the side of a block of a map of Voronoi cells, whose errors are then independent, and blocks to
# the width of a kernel, whose errors are not.
_VORONOI, _BLOCKS = 6, 2.0


def relative_levels(sample: Sample, settings: StudySettings) -> tuple[float, float]:
    """The levels of a nucleus's own euchromatin and heterochromatin, each beside its mean signal.

    They do not depend on how many labels it has or how bright it is, so that other nuclei can be read by
    them.
    """
    value = signal(sample, settings)
    ground, mean = ground_and_mean(value, sample.mask, settings.thresholds)
    found = fractions(value, sample.mask, thresholds=settings.thresholds, psf_sd=settings.psf_sd).attrs
    e, h = ((found[f"threshold_{n}"] - ground) / mean for n in ("euchromatin", "heterochromatin"))
    return float(e), float(h)


def signal(sample: Sample, settings: StudySettings) -> xr.Dataset | xr.DataArray:
    """What fractions are read off: the image, or the density on pixels of about half the kernel's width."""
    if sample.image is not None:
        return sample.image
    s, mask = settings, sample.mask
    options: dict[str, Any] = {
        "mask": mask, "pixel": s.pixel, "width": s.width, "method": s.method, "merge": s.merge
    }  # fmt: skip
    first = density(
        sample.frames[0], **options, windows=s.windows,
        frame_interval=s.frame_interval if s.windows > 1 else None,
    )  # fmt: skip
    if len(sample.frames) == 1:
        return _blocked(first)
    options |= {"pixel": first.attrs["pixel"], "width": first.attrs.get("kernel_width", s.width)}
    fields = [first, *(density(f, **options) for f in sample.frames[1:])]
    times = xr.Variable("t", np.array(sample.times), {"units": "s"})
    lapse = xr.concat(fields, times, join="override", combine_attrs="override").transpose("x", "y", "t")
    return _blocked(lapse)


def _blocked(found: xr.Dataset) -> xr.Dataset:
    """Means over blocks: with few pixels to a kernel's width, and of Voronoi cells with errors of their own.

    The ``noise_area`` stays what it is named for: that over which errors are shared.
    """
    attrs, pixel = dict(found.attrs), float(found.attrs["pixel"])
    kernel = attrs["method"] == "kernel"
    k = round(attrs["kernel_width"] / _BLOCKS / pixel) if kernel else _VORONOI
    if k < 2:
        return found
    blocks = found.coarsen(x=k, y=k, boundary="pad")
    value, sd = blocks.mean()["density"], blocks.mean()["density_sd"]
    if kernel:
        w = stencil(attrs["kernel_width"], pixel)
        both = np.convolve(w, np.full(k, 1 / k))
        smaller = float(np.sum(both**2) / np.sum(w**2))
        sd = sd * smaller
        attrs["noise_area"] = attrs["noise_area"] / smaller**2
    else:
        sd = value / np.sqrt(SPREAD + value * (k * pixel) ** 2)
    value.attrs, sd.attrs = found["density"].attrs, found["density_sd"].attrs
    known: Any = found["density"].notnull()
    whole = known.coarsen(x=k, y=k, boundary="pad").mean() > 0.5
    # Written out, because the last block may reach beyond the map.
    middle = {
        c: float(found[c][0]) + (k - 1) / 2 * pixel + k * pixel * np.arange(value.sizes[c])
        for c in ("x", "y")
    }
    coords = {c: (c, middle.get(str(c), v.values), found[c].attrs) for c, v in value.coords.items()}
    # Pixels sample no detail finer than two of them.
    coarser = {"pixel": k * pixel, "blocks": k, "resolution": max(attrs["resolution"], 2 * k * pixel)}
    blocked = xr.Dataset({"density": value.where(whole), "density_sd": sd.where(whole)}).assign_coords(coords)
    return blocked.assign_attrs({**attrs, **coarser})


def ground_and_mean(
    value: xr.Dataset | xr.DataArray, mask: xr.DataArray, thresholds: Thresholds
) -> tuple[float, float]:
    """Level of nucleoplasm alone, and the mean signal inside above it."""
    image = value["density"] if isinstance(value, xr.Dataset) else value
    ground = thresholds.background
    if ground is None:
        whole = float(np.nanquantile(image.values, thresholds.background_quantile))
        ground = 0.0 if isinstance(value, xr.Dataset) else whole
    flat = image.mean([d for d in image.dims if d not in ("x", "y")]).transpose("x", "y")
    still = mask.any("t") if "t" in mask.dims else mask
    inside = on_grid(still, flat["x"].values, flat["y"].values)
    return float(ground), float(np.nanmean(flat.values[inside])) - float(ground)
