"""Outlines: rings of polygons from GeoJSON, and what lies inside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Mask

GEOJSON = (".json", ".geojson")  #: Suffixes of GeoJSON files.
_ON_EDGE = 1e-9  # Distance from an edge, in lengths of the outline, up to which a place lies on it.


def geojson_rings(path: str | Path) -> list[Array]:
    """Rings of all polygons of a GeoJSON file, each (n, 2)."""
    file = Path(path)
    try:
        rings = list(_rings(json.loads(file.read_text(encoding="utf-8"))))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise DataError(
            f"'{file}' is no GeoJSON ({error}); a Polygon, a Feature or a FeatureCollection was expected."
        ) from error
    return checked_rings(rings, f"'{file}'")


def checked_rings(rings: Sequence[Array], what: str) -> list[Array]:
    """Rings that are closed outlines."""
    short = [r for r in rings if len(r) < 3 or not np.isfinite(r).all()]
    if not rings or short:
        raise DataError(
            f"{what} holds {len(rings)} rings of a polygon, {len(short)} of them with fewer than three "
            "finite vertices; a closed outline was expected."
        )
    return list(rings)


def inside(rings: Sequence[Array], points: Array) -> Mask:
    """Which points (n, 2) lie inside rings, their edges included; a ring inside another is a hole.

    >>> square = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0], [0.0, 3.0]])
    >>> inside([square, 1 + square / 3], np.array([[0.5, 0.5], [1.5, 1.5], [3.0, 3.0], [4.0, 1.0]]))
    array([ True, False,  True, False])
    """
    from matplotlib.path import Path as Outline

    extent = float(np.ptp(np.concatenate(rings), axis=0).max())
    corners = _ON_EDGE * extent * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    around = [np.zeros(len(points), dtype=bool) for _ in corners]
    for ring in rings:
        for found, corner in zip(around, corners, strict=True):
            found ^= Outline(ring).contains_points(points + corner)
    return np.any(around, axis=0)


def _rings(node: Any) -> Iterator[Array]:
    """All rings of all polygons below a GeoJSON node."""
    kind = node.get("type")
    if kind == "FeatureCollection":
        for feature in node["features"]:
            yield from _rings(feature)
    elif kind == "Feature":
        yield from _rings(node["geometry"])
    elif kind in ("Polygon", "MultiPolygon"):
        polygons = [node["coordinates"]] if kind == "Polygon" else node["coordinates"]
        for polygon in polygons:
            for ring in polygon:
                yield np.asarray(ring, dtype=np.float64)[:, :2]
