"""Shapes of simulated nuclei and patterns of rates on them."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import xarray as xr

from mollifier.chromatin import rasters
from mollifier.chromatin.ranges import require
from mollifier.chromatin.rasters import edge_distance, pixel_spacing
from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.io.draws import Rng, generator

# Wave numbers of the edge, around the nucleus.
_WAVES = (2, 3, 4)
Pattern = Literal["uniform", "gradient", "patches", "peripheral"]


def nucleus(
    diameter: float = 1800.0, pixels: int = 256, uneven: float = 0.06, rng: Rng = 0, margin: float = 0.08
) -> xr.DataArray:
    """A mask (x, y) of a random rounded shape of some mean diameter in nm, in a square of pixels.

    The amplitude of the waves of its edge and the free space at every side are relative to the radius. Raises
    `ConfigurationError` if a size is out of range.

    >>> mask = nucleus(1000.0, 40)
    >>> mask.shape, mask["x"].attrs["units"], bool(mask[20, 20]), bool(mask[0, 0])
    ((40, 40), 'nm', True, False)
    """
    require({"diameter": diameter}, above=True)
    require({"pixels": pixels}, low=4)
    require({"uneven": uneven}, high=0.3)
    require({"margin": margin})
    rng = generator(rng)
    waves = [(k, *(uneven / k * rng.standard_normal(2)).tolist()) for k in _WAVES]
    largest = 1 + sum(float(np.hypot(a, b)) for _, a, b in waves)
    half = diameter / 2 * largest * (1 + margin)
    place = half * (2 * np.arange(pixels) + 1 - pixels) / pixels
    x, y = place[:, None], place
    angle = np.arctan2(y, x)
    edge = diameter / 2 * (1 + sum(a * np.cos(k * angle) + b * np.sin(k * angle) for k, a, b in waves))
    return xr.DataArray(np.hypot(x, y) < edge, rasters.pixels(place, place), ("x", "y"), "mask")


def rate_pattern(
    mask: xr.DataArray, kind: Pattern = "patches", level: float = 0.6, contrast: float = 0.4, rng: Rng = 0
) -> xr.DataArray:
    """A true lam(x, y) on the pixels of a mask, positive everywhere.

    It is "uniform", a "gradient" along a random direction, "patches", a random smooth field, or "peripheral",
    higher near the edge, with median ``level`` and with ``contrast``, the standard deviation of log(lam)
    within the nucleus. Raises `ConfigurationError` if there is no such pattern, or the level is not positive.

    >>> lam = rate_pattern(nucleus(1000.0, 40), "gradient", level=0.5, contrast=0.3)
    >>> bool(lam.min() > 0), lam.dims
    (True, ('x', 'y'))
    """
    if kind not in get_args(Pattern):
        raise ConfigurationError(f"There is no pattern '{kind}'.{did_you_mean(kind, get_args(Pattern))}")
    require({"level": level}, above=True)
    require({"contrast": contrast})
    rng = generator(rng)
    x, y = mask["x"].values[:, None], mask["y"].values
    size = float(np.sqrt(mask.values.sum()) * pixel_spacing(mask))
    shape = np.zeros(mask.shape)
    if kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        shape = (np.cos(angle) * x + np.sin(angle) * y) / size
    elif kind == "peripheral":
        shape = np.exp(-np.maximum(edge_distance(mask).values, 0.0) / (size / 5))
    elif kind == "patches":
        for p, q in ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2)):
            phase = rng.uniform(0, 2 * np.pi)
            shape = shape + rng.standard_normal() * np.cos(4.5 / size * (p * x + q * y) + phase)
    inside = mask.values.astype(bool)
    spread = float(shape[inside].std())
    middle = float(np.median(shape[inside]))
    log = contrast * (shape - middle) / spread if spread > 0 else shape
    return mask.copy(data=level * np.exp(log)).rename("lam")
