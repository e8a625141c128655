"""Outlines of nuclei: polygons from GeoJSON or tables of vertices, and the masks inside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from mollifier.chromatin.columns import read_columns
from mollifier.chromatin.lengths import factor
from mollifier.chromatin.mask import Nucleus
from mollifier.chromatin.rasters import pixels
from mollifier.data.outlines import GEOJSON, checked_rings, geojson_rings, inside
from mollifier.errors import DataError

Array = NDArray[np.float64]
# Pixels along the longer side of a polygon.
_POLYGON_PIXELS = 512


def read_polygon(path: str | Path, *, unit: str = "nm", pixel_size: float | None = None) -> list[Array]:
    """Rings of a polygon in nm, each (n, 2), from GeoJSON or from a table with columns x and y.

    GeoJSON holds a Polygon or MultiPolygon, bare or in a Feature or FeatureCollection; a table, text or CSV,
    one vertex a row. The unit of the positions is "nm", "um", or "px" with the size of a pixel in nm. Raises
    `DataError` if there is no polygon in the file, or a ring has fewer than three vertices.
    """
    file = Path(path)
    scale = factor(unit, pixel_size, f"The vertices in '{file}'")
    if file.suffix.lower() in GEOJSON and file.is_file():
        return [scale * r for r in geojson_rings(file)]
    table = read_columns(file, None)
    scale = factor(table.units.get("x", unit), pixel_size, f"The vertices in '{file}'")
    rings = [np.stack([table.values["x"], table.values["y"]], axis=1)]
    return [scale * r for r in checked_rings(rings, f"'{file}'")]


def nucleus_from_polygon(
    rings: ArrayLike | Sequence[Array], *, pixel: float | None = None, name: str = "1"
) -> Nucleus:
    """The inside of a polygon; a ring inside another is a hole (even-odd rule).

    Parameters
    ----------
    rings
        Vertices in nm, shape (n, 2), or a list of rings from `read_polygon`.
    pixel
        Side of the pixels of the mask in nm; by default a 512th of the outline.

    Raises
    ------
    DataError
        If the polygon has no inside on these pixels.

    Examples
    --------
    >>> square = [[0.0, 0.0], [8000.0, 0.0], [8000.0, 8000.0], [0.0, 8000.0]]
    >>> nucleus_from_polygon(square, pixel=100).area / 1e6
    64.0
    """
    given: Any = rings
    parts = [given] if np.ndim(given[0]) == 1 else given
    loops = [np.asarray(r, dtype=np.float64) for r in parts]
    corners = np.concatenate(loops)
    low, high = corners.min(axis=0), corners.max(axis=0)
    side = float((high - low).max()) / _POLYGON_PIXELS if pixel is None else pixel
    if not side > 0:
        raise DataError("The polygon has no inside: all its vertices coincide.")
    x, y = (
        a - side / 2 + side * np.arange(math.ceil((b - a) / side - 1e-9) + 2)
        for a, b in zip(low, high, strict=True)
    )
    places = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    found = inside(loops, places)
    if not found.any():
        raise DataError("The mask is empty: the polygon holds no pixel. Are its vertices in the right unit?")
    mask = found.reshape(x.size, y.size)
    return Nucleus(name, xr.DataArray(mask, pixels(x, y), ("x", "y"), "inside"))
