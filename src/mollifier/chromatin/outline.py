"""The position of a nucleus's outline, from the fall of its signal there.

Over the distance d from a given outline, counted inwards, the mean signal is modelled as

    b + (a + c (d - offset)) N((d - offset)/width),

with N the normal distribution: a blurred step at the true edge. The fit is repeated without each of several
sectors around the nucleus (jackknife), which gives the standard error of the common offset, with that of the
raster of the mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import map_coordinates
from scipy.optimize import curve_fit
from scipy.special import ndtr

from mollifier.chromatin.fractions import field_of
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import counts, edge_distance, in_plane, pixel_spacing, pixels
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

# Numbers that steer the fit; lengths in nm.

# Distances to either side of the outline that are fitted, at least, and in pixels of the mask.
_REACH = (80.0, 4.0)
_BINS = 32  # Of the distance.
_SECTORS = 8  # Around the nucleus.
_FINER = 2  # Pixels of the new mask to a side of one of the old.
_FALL = 5.0  # Smallest fall of the signal, in standard errors of one bin.
_RASTER = 0.1  # Standard error of an outline that is given by the pixels of a mask, in pixels.


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
    reach = max(_REACH[0], _REACH[1] * pixel)
    pad = math.ceil(reach / pixel) + 2
    wide = mask.pad(x=pad, y=pad, constant_values=False)
    x, y = (mask[c].values[0] + pixel * (np.arange(wide.sizes[c]) - pad) for c in ("x", "y"))
    distance = edge_distance(wide.assign_coords(x=x, y=y))
    places, values = _signal(sample, mask)
    i, j = np.nonzero(mask.values)
    middle = mask["x"].values[i].mean(), mask["y"].values[j].mean()
    angle = np.arctan2(places[1] - middle[1], places[0] - middle[0])
    sector = np.floor((angle / (2 * np.pi) + 0.5) * _SECTORS).clip(max=_SECTORS - 1)
    edges = np.linspace(-reach, reach, _BINS + 1)
    bins, depth = [np.arange(_SECTORS + 1) - 0.5, edges], _at(distance, *places)
    sums = np.stack([np.histogram2d(sector, depth, bins, weights=values**k)[0] for k in range(3)])
    d, whole = (edges[1:] + edges[:-1]) / 2, sums.sum(1)
    found, fall = _fit(d, whole, reach)
    each = [_fit(d, whole - part, reach)[0][0] for part in np.moveaxis(sums, 1, 0)]
    sd = math.sqrt(_SECTORS - 1) * float(np.std(each))
    near = abs(found[0]) < 0.9 * reach and sd * math.sqrt(_SECTORS) < reach / 3
    if not (fall > _FALL and near):
        raise DataError(
            f"The signal does not fall within {reach:.0f} nm of the outline; it lies elsewhere, or the "
            "nucleus has neighbours all around."
        )
    offset = Offset(float(found[0]), math.hypot(sd, _RASTER * pixel), float(found[1]))
    x, y = (_finer(v, _FINER) for v in (x, y))
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


def _signal(sample: NucleusData, mask: xr.DataArray) -> tuple[Array, Array]:
    """Places (2, n) and the signal there: pixels of an image, or counts of localisations on fine pixels."""
    if sample.image is not None:
        plane = in_plane(field_of(sample.image))
        x, y, values = plane["x"].values, plane["y"].values, plane.values
    else:
        # Localisations were kept in the box of the mask.
        x, y = (_finer(mask[c].values, 4) for c in ("x", "y"))
        values = np.sum([counts((x, y), f.x, f.y) for f in sample.frames], axis=0, dtype=float)
    known = np.isfinite(values)
    return np.stack(np.meshgrid(x, y, indexing="ij"))[:, known], values[known]


def _fit(d: Array, sums: Array, reach: float) -> tuple[Array, float]:
    """Parameters of `_edge`, and the fall in standard errors of a bin.

    From the distances of the bins and the sums of 1, of the signal and of its square in them, (3, bins).
    """
    known = sums[0] > 0
    if known.sum() < len(d) / 2:
        raise DataError("There is too little signal around the outline to fit its position.")
    count, total, squares = sums[:, known]
    mean = total / count
    sd = np.sqrt(np.mean(np.maximum(squares / count - mean**2, 0.0)) / count)
    high, low = np.quantile(mean, [0.8, 0.1])
    start = [0.0, reach / 6, low, high - low, 0.0]
    bounds = ([-reach, 1.0, -np.inf, 0.0, -np.inf], [reach, reach, np.inf, np.inf, np.inf])
    size = max(abs(low), abs(high - low)) or 1.0
    how: Any = {"bounds": bounds, "x_scale": [10.0, 10.0, *[size] * 3]}
    try:
        best = curve_fit(_edge, d[known], mean, start, sd, **how)[0]
    except RuntimeError as error:
        raise DataError(f"The fall of the signal at the outline could not be fitted ({error}).") from None
    return best, best[3] / float(np.median(sd))


def _edge(d: Array, offset: float, width: float, ground: float, height: float, slope: float) -> Array:
    from_edge = d - offset
    return ground + (height + slope * from_edge) * ndtr(from_edge / width)
