"""Heterochromatin at the lamina, measured as a rim: its thickness along the edge of the nucleus."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mollifier.chromatin.rasters import edge_distance, pixel_spacing

Array = NDArray[np.float64]

SEGMENTS = 50
# Greatest depth in pixels of the band along the edge whose area gives the length of the edge; the least is a
# quarter of it, and the greatest at most half that of the nucleus.
_BAND = 16.0


def rim_segments(places: Array, area: Array, mask: xr.DataArray, segments: int = SEGMENTS) -> pd.DataFrame:
    """Thickness of the rim in sectors of the nucleus: area of heterochromatin over length of the edge.

    Small parts of the rim have their centres at ``places`` (n, 2) in nm and an ``area`` (n,) in nm^2; sectors
    have even angles about the centre of the mask (x, y). The table has ``angle`` (rad), ``length``, ``area``
    and ``thickness`` in nm and nm^2, one row for each sector.

    The length of the edge follows from the area of a band between two depths a and b along it, ``length (b -
    a) - pi (b^2 - a^2)`` (Steiner's formula): neither the steps of the pixels nor their error in depth count.

    Examples
    --------
    >>> from mollifier.chromatin.shapes import nucleus
    >>> mask = nucleus(4000.0, 200, uneven=0.0)
    >>> i, j = np.nonzero(mask.values & (np.hypot(mask.x, mask.y) > 1700).values)
    >>> places = np.stack([mask.x.values[i], mask.y.values[j]], 1)
    >>> rim = rim_segments(places, np.full(len(i), pixel_spacing(mask) ** 2), mask)
    >>> float((rim["length"].sum() / (np.pi * 4000)).round(1)), float(rim["thickness"].mean().round(-1))
    (1.0, 280.0)
    """
    pixel = pixel_spacing(mask)
    depth = edge_distance(mask).values / pixel
    i, j = np.nonzero(mask.values)
    x, y = mask["x"].values[i], mask["y"].values[j]

    def sector(xs: Array, ys: Array) -> NDArray[np.int64]:
        angle = np.arctan2(ys - y.mean(), xs - x.mean()) % (2 * math.pi)
        return np.minimum((angle * segments / (2 * math.pi)).astype(np.int64), segments - 1)

    # The share of each pixel inside the band avoids steps of whole pixels.
    far = min(_BAND, float(depth.max()) / 2)
    near, beyond = (np.clip(d - depth[i, j] + 0.5, 0.0, 1.0) for d in (far / 4, far))
    band = np.bincount(sector(x, y), beyond - near, segments) / (0.75 * far)
    length = pixel * (band + math.pi * 1.25 * far / segments)
    found = np.bincount(sector(*places.T), area, segments)
    angle = (np.arange(segments) + 0.5) * 2 * math.pi / segments
    return pd.DataFrame({"angle": angle, "length": length, "area": found, "thickness": found / length})


def edge_length(mask: xr.DataArray) -> float:
    """Length of the edge of a mask, in its units."""
    return float(rim_segments(np.zeros((0, 2)), np.zeros(0), mask)["length"].to_numpy(float).sum())
