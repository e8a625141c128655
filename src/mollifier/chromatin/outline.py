"""The position of a nucleus's outline, from the fall of its signal there.

Over the distance d from a given outline, counted inwards, the mean signal is modelled as

    b + (a + c (d - offset)) N((d - offset)/width),

with N the normal distribution: a blurred step at the true edge. The fit is repeated in sectors around the
nucleus, whose scatter gives the standard error of the common offset, with that of the raster of the mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.optimize import curve_fit
from scipy.special import ndtr

from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import edge_distance, pixel_spacing
from mollifier.errors import DataError

Array = NDArray[np.float64]


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


DEFAULT = OutlineTuning()


@dataclass(frozen=True)
class Offset:
    """How far within the given outline the edge lies, its standard error, and the fall's width, in nm."""

    value: float
    sd: float
    width: float


def fitted_outline(sample: NucleusData, tuning: OutlineTuning = DEFAULT) -> tuple[NucleusData, Offset]:
    """The nucleus with its outline moved to where the signal falls.

    Raises `DataError` if the mask moves, or there is no fall near it.
    """
    mask = sample.mask
    if "t" in mask.dims:
        raise DataError("The outline of a moving nucleus was to be fitted; one without time was expected.")
    mask = mask.transpose("x", "y").astype(bool)
    pixel = pixel_spacing(mask)
    reach = max(tuning.reach[0], tuning.reach[1] * pixel)
    pad = math.ceil(reach / pixel) + 2
    wide = mask.pad(x=pad, y=pad, constant_values=False)
    wide = wide.assign_coords({c: _longer(mask[c].values, pad, pixel) for c in ("x", "y")})
    distance = edge_distance(wide)
    profile = _image_profile if sample.image is not None else _point_profile
    edges = np.linspace(-reach, reach, tuning.bins + 1)
    mean, sd = profile(sample, mask, distance, edges, tuning.sectors)
    middle = (edges[1:] + edges[:-1]) / 2
    offset = _fit(middle, mean, sd, reach, tuning)
    offset = replace(offset, sd=math.hypot(offset.sd, tuning.raster * pixel))
    x, y = (_finer(wide[c].values, tuning.finer) for c in ("x", "y"))
    gx, gy = np.meshgrid(x, y, indexing="ij")
    moved = _at(distance, gx.ravel(), gy.ravel()).reshape(gx.shape) > offset.value
    coords = {"x": ("x", x, mask["x"].attrs), "y": ("y", y, mask["y"].attrs)}
    return replace(sample, mask=xr.DataArray(moved, coords, ("x", "y"), "inside")), offset


def _longer(values: Array, pad: int, pixel: float) -> Array:
    return values[0] + pixel * (np.arange(len(values) + 2 * pad) - pad)


def _finer(values: Array, times: int) -> Array:
    step = (values[1] - values[0]) / times
    return values[0] - (times - 1) / 2 * step + step * np.arange(times * len(values))


def _at(field: xr.DataArray, x: Array, y: Array) -> Array:
    """A map at points, between its pixels."""
    place = [(v - float(field[c][0])) / float(field[c][1] - field[c][0]) for c, v in (("x", x), ("y", y))]
    return map_coordinates(field.values, place, order=1, mode="nearest")


def _sector(mask: xr.DataArray, x: Array, y: Array, count: int) -> NDArray[np.intp]:
    i, j = np.nonzero(mask.values)
    angle = np.arctan2(y - mask["y"].values[j].mean(), x - mask["x"].values[i].mean())
    return np.minimum(((angle / (2 * np.pi) + 0.5) * count).astype(np.intp), count - 1)


def _table(
    d: Array, sector: NDArray[np.intp], edges: Array, count: int, weight: Array | None = None
) -> Array:
    """Sums in bins of sector and distance, (sectors, bins)."""
    bins = [np.arange(count + 1) - 0.5, edges]
    return np.histogram2d(sector, d, bins=bins, weights=weight)[0]


def _point_profile(
    sample: NucleusData, mask: xr.DataArray, distance: xr.DataArray, edges: Array, sectors: int
) -> tuple[Array, Array]:
    """Density of localisations and its Poisson error, (sectors, bins)."""
    x, y = (np.concatenate([getattr(f, c) for f in sample.frames]) for c in ("x", "y"))
    seen = _table(_at(distance, x, y), _sector(mask, x, y, sectors), edges, sectors)
    # Localisations were kept in the box of the mask.
    fine = [_finer(mask[c].values, 4) for c in ("x", "y")]
    gx, gy = (g.ravel() for g in np.meshgrid(*fine, indexing="ij"))
    area = _table(_at(distance, gx, gy), _sector(mask, gx, gy, sectors), edges, sectors)
    area *= (fine[0][1] - fine[0][0]) * (fine[1][1] - fine[1][0])
    with np.errstate(divide="ignore", invalid="ignore"):
        return seen / area, np.sqrt(seen + 1) / area


def _image_profile(
    sample: NucleusData, mask: xr.DataArray, distance: xr.DataArray, edges: Array, sectors: int
) -> tuple[Array, Array]:
    """Mean of the pixels and its error, (sectors, bins)."""
    image = sample.image
    assert image is not None
    plane = image["density"] if isinstance(image, xr.Dataset) else image
    plane = plane.mean([d for d in plane.dims if d not in ("x", "y")]).transpose("x", "y")
    gx, gy = (g.ravel() for g in np.meshgrid(plane["x"].values, plane["y"].values, indexing="ij"))
    d, sector, values = _at(distance, gx, gy), _sector(mask, gx, gy, sectors), plane.values.ravel()
    near = (d > edges[0]) & (d < edges[-1]) & np.isfinite(values)
    d, sector, values = d[near], sector[near], values[near]
    count = _table(d, sector, edges, sectors)
    total, squares = (_table(d, sector, edges, sectors, values**p) for p in (1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        spread = np.sqrt(np.nanmean(np.maximum(squares / count - mean**2, 0.0)))
        return mean, spread / np.sqrt(count)


def _fit(d: Array, mean: Array, sd: Array, reach: float, tuning: OutlineTuning) -> Offset:
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
    try:
        best = curve_fit(
            _edge, d[known], whole, start, total[known] ** -0.5, bounds=bounds, x_scale=_scale(start)
        )[0]
    except RuntimeError as error:
        raise DataError(f"The fall of the signal at the outline could not be fitted ({error}).") from None
    each = []
    for m, w in zip(mean, weight, strict=True):
        k = w > 0
        if k.sum() < len(d) / 2:
            continue
        free = [best[0], best[2], best[3], best[4]]

        def local(v: Array, o: float, b: float, a: float, c: float) -> Array:
            return _edge(v, o, best[1], b, a, c)

        each.append(
            curve_fit(local, d[k], m[k], free, w[k] ** -0.5, method="trf", x_scale=_scale(free))[0][0]
        )
    scatter = float(np.std(each, ddof=1)) if len(each) > 2 else math.inf
    fall = best[3] / float(np.median(total[known] ** -0.5))
    if not (fall > tuning.fall and scatter < reach / 3 and abs(best[0]) < 0.9 * reach):
        raise DataError(
            f"The signal does not fall within {reach:.0f} nm of the outline; it lies elsewhere, or the "
            "nucleus has neighbours all around."
        )
    return Offset(float(best[0]), scatter / math.sqrt(len(each)), float(best[1]))


def _scale(start: list[float]) -> list[float]:
    largest = max(abs(v) for v in start[2:]) or 1.0
    return [10.0 if k < len(start) - 3 else largest for k in range(len(start))]


def _edge(d: Array, offset: float, width: float, ground: float, height: float, slope: float) -> Array:
    from_edge = d - offset
    return ground + (height + slope * from_edge) * ndtr(from_edge / width)
