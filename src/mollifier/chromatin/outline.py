"""The position of a nucleus's outline, from the fall of its signal there.

Over the distance d from a given outline, counted inwards, the mean signal is modelled as

    b + (a + c (d - offset)) N((d - offset)/width),

with N the normal distribution: a blurred step at the true edge. The fit is repeated in sectors around the
nucleus, whose scatter gives the standard error of the common offset, with that of the raster of the mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import map_coordinates
from scipy.optimize import curve_fit
from scipy.special import ndtr

from mollifier.chromatin.fractions import field_of
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import edge_distance, in_plane, pixel_spacing, pixels
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

Sums = Callable[..., list[Array]]


@dataclass(frozen=True)
class OutlineTuning:
    """Numbers that steer the fit; lengths in nm."""

    #: Distances to either side of the outline that are fitted, at least, and in pixels of the mask.
    reach: tuple[float, float] = (80.0, 4.0)
    bins: int = 32  #: Of the distance.
    sectors: int = 8  #: Around the nucleus.
    finer: int = 2  #: Pixels of the new mask to a side of one of the old.
    fall: float = 5.0  #: Smallest fall of the signal, in standard errors of one bin.
    raster: float = 0.1  #: Standard error of an outline that is given by the pixels of a mask, in pixels.


TUNING = OutlineTuning()


@dataclass(frozen=True)
class Offset:
    """How far within the given outline the edge lies, its standard error, and the fall's width, in nm."""

    value: float
    sd: float
    width: float


def fitted_outline(sample: NucleusData) -> tuple[NucleusData, Offset]:
    """The nucleus with its outline moved to where the signal falls.

    Raises `DataError` if the mask moves, or there is no fall near it.
    """
    mask = sample.mask
    if "t" in mask.dims:
        raise DataError("The outline of a moving nucleus was to be fitted; one without time was expected.")
    mask = mask.transpose("x", "y").astype(bool)
    pixel = pixel_spacing(mask)
    reach = max(TUNING.reach[0], TUNING.reach[1] * pixel)
    pad = math.ceil(reach / pixel) + 2
    wide = mask.pad(x=pad, y=pad, constant_values=False)
    x, y = (mask[c].values[0] + pixel * (np.arange(wide.sizes[c]) - pad) for c in ("x", "y"))
    distance = edge_distance(wide.assign_coords(x=x, y=y))
    edges = np.linspace(-reach, reach, TUNING.bins + 1)

    def sums(px: Array, py: Array, *weights: Array | None) -> list[Array]:
        """Weighted sums over points in bins of sector and distance, (sectors, bins) each."""
        i, j = np.nonzero(mask.values)
        angle = np.arctan2(py - mask["y"].values[j].mean(), px - mask["x"].values[i].mean())
        sector = np.floor((angle / (2 * np.pi) + 0.5) * TUNING.sectors).clip(max=TUNING.sectors - 1)
        bins = [np.arange(TUNING.sectors + 1) - 0.5, edges]
        return [np.histogram2d(sector, _at(distance, px, py), bins, weights=w)[0] for w in weights]

    profile = _image_profile if sample.image is not None else _point_profile
    mean, sd = profile(sample, mask, sums)
    offset = _fit((edges[1:] + edges[:-1]) / 2, mean, sd, reach)
    offset = replace(offset, sd=math.hypot(offset.sd, TUNING.raster * pixel))
    x, y = (_finer(v, TUNING.finer) for v in (x, y))
    gx, gy = np.meshgrid(x, y, indexing="ij")
    moved = _at(distance, gx.ravel(), gy.ravel()).reshape(gx.shape) > offset.value
    return replace(sample, mask=xr.DataArray(moved, pixels(x, y), ("x", "y"), "inside")), offset


def _finer(values: Array, times: int) -> Array:
    step = (values[1] - values[0]) / times
    return values[0] - (times - 1) / 2 * step + step * np.arange(times * len(values))


def _at(field: xr.DataArray, x: Array, y: Array) -> Array:
    """A map at points, between its pixels."""
    place = [(v - float(field[c][0])) / float(field[c][1] - field[c][0]) for c, v in (("x", x), ("y", y))]
    return map_coordinates(field.values, place, order=1, mode="nearest")


def _point_profile(sample: NucleusData, mask: xr.DataArray, sums: Sums) -> tuple[Array, Array]:
    """Density of localisations and its Poisson error, (sectors, bins)."""
    x, y = (np.concatenate([getattr(f, c) for f in sample.frames]) for c in ("x", "y"))
    (seen,) = sums(x, y, None)
    # Localisations were kept in the box of the mask.
    x, y = (_finer(mask[c].values, 4) for c in ("x", "y"))
    (area,) = sums(*(g.ravel() for g in np.meshgrid(x, y, indexing="ij")), None)
    area *= (x[1] - x[0]) * (y[1] - y[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        return seen / area, np.sqrt(seen + 1) / area


def _image_profile(sample: NucleusData, mask: xr.DataArray, sums: Sums) -> tuple[Array, Array]:
    """Mean of the pixels and its error, (sectors, bins)."""
    assert sample.image is not None
    plane = in_plane(field_of(sample.image))
    known = np.isfinite(plane.values)
    x, y = (g[known] for g in np.meshgrid(plane["x"].values, plane["y"].values, indexing="ij"))
    values = plane.values[known]
    count, total, squares = sums(x, y, None, values, values**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        spread = np.sqrt(np.nanmean(np.maximum(squares / count - mean**2, 0.0)))
        return mean, spread / np.sqrt(count)


def _fit(d: Array, mean: Array, sd: Array, reach: float) -> Offset:
    """The common offset and width; the error from the sectors."""
    with np.errstate(invalid="ignore"):
        weight = np.where(np.isfinite(sd) & (sd > 0) & np.isfinite(mean), sd**-2.0, 0.0)
    total = weight.sum(0)
    known = total > 0
    if known.sum() < len(d) / 2:
        raise DataError("There is too little signal around the outline to fit its position.")
    whole = np.nansum(np.where(weight > 0, weight * mean, 0.0), 0)[known] / total[known]
    high, low = np.quantile(whole, [0.8, 0.1])
    start = [0.0, reach / 6, low, high - low, 0.0]
    bounds = ([-reach, 1.0, -np.inf, 0.0, -np.inf], [reach, reach, np.inf, np.inf, np.inf])
    size = max(abs(low), abs(high - low)) or 1.0
    try:
        how: Any = {"bounds": bounds, "x_scale": [10.0, 10.0, *[size] * 3]}
        best = curve_fit(_edge, d[known], whole, start, total[known] ** -0.5, **how)[0]
    except RuntimeError as error:
        raise DataError(f"The fall of the signal at the outline could not be fitted ({error}).") from None
    width, free = best[1], best[[0, 2, 3, 4]]
    size = float(np.abs(free[2:]).max()) or 1.0

    def local(v: Array, o: float, b: float, a: float, c: float) -> Array:
        return _edge(v, o, width, b, a, c)

    each = []
    for m, w in zip(mean, weight, strict=True):
        if (w > 0).sum() >= len(d) / 2:
            x, y, error = d[w > 0], m[w > 0], w[w > 0] ** -0.5
            scale = [10.0, *[size] * 3]
            each.append(curve_fit(local, x, y, free, error, method="trf", x_scale=scale)[0][0])
    scatter = float(np.std(each, ddof=1)) if len(each) > 2 else math.inf
    fall = best[3] / float(np.median(total[known] ** -0.5))
    if not (fall > TUNING.fall and scatter < reach / 3 and abs(best[0]) < 0.9 * reach):
        raise DataError(
            f"The signal does not fall within {reach:.0f} nm of the outline; it lies elsewhere, or the "
            "nucleus has neighbours all around."
        )
    return Offset(float(best[0]), scatter / math.sqrt(len(each)), float(width))


def _edge(d: Array, offset: float, width: float, ground: float, height: float, slope: float) -> Array:
    from_edge = d - offset
    return ground + (height + slope * from_edge) * ndtr(from_edge / width)
