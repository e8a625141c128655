"""Domains of heterochromatin, one row each, and its rim at the lamina: the thickness along the edge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.model import geometric_rate
from mollifier.chromatin.rasters import area, at_points, edge_distance, holds, pixel_spacing
from mollifier.chromatin.settings import DomainRule
from mollifier.chromatin.voronoi import point_density
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Index

COLUMNS = {
    "domain": "number, from 1",
    "x": "centre, nm",
    "y": "centre, nm",
    "area": "nm^2",
    "radius": "sqrt(area/pi), nm",
    "spacing": "mean distance to the nearest other centre or centres inside, nm; none at the lamina",
    "edge_distance": "from the nuclear edge to the nearest part of the domain, nm",
    "place": "lamina (part of the rim) or interior",
    "points": "localisations, or pixels",
    "rate": "1/((spacing/radius)^2 - 1)",
}
# Cells to the reach of DBSCAN, and to that of the disc that closes the area of a domain.
_CELLS, _RASTER = 8, 6
_LEAST_PIXELS = 3
_MOST_PIXELS, _MOST_CELLS = 4e6, 4e8
_AVERAGES = {"median": np.median, "mean": np.mean, "geometric": lambda v: np.exp(np.log(v).mean())}
_SEGMENTS = 50
# Greatest depth in pixels of the band along the edge whose area gives the length of the edge; the least is a
# quarter of it, and the greatest at most half that of the nucleus.
_BAND = 16.0


def clusters(
    locs: Localizations,
    mask: xr.DataArray,
    phi_h: xr.DataArray | None,
    rule: DomainRule,
    density: Array | None = None,
) -> list[Array]:
    """Positions of the localisations of each cluster of heterochromatin, shape (n, 2) each, in nm, by DBSCAN.

    Only localisations where the map ``phi_h`` (x, y) shows heterochromatin are used, or all inside the mask
    without a map: in a nucleus that is dense everywhere, each localisation has neighbours within ``eps``, and
    all would form one domain. ``density`` is the Voronoi density at each localisation, where it is known.
    """
    inside = holds(mask, locs.x, locs.y)
    if rule.select == "phase" and phi_h is not None:
        inside &= holds(phi_h >= rule.threshold, locs.x, locs.y)
    points = np.stack([locs.x[inside], locs.y[inside]], 1)
    if rule.select == "voronoi":
        value = (point_density(locs.x, locs.y) if density is None else density)[inside]
        points = points[value >= (np.quantile(value, rule.threshold) if rule.level is None else rule.level)]
    return _clusters(points, rule)


def domains_from_clusters(found: list[Array], mask: xr.DataArray, rule: DomainRule) -> pd.DataFrame:
    """The domains of `clusters`, columns as in ``COLUMNS``, the largest first; the index is the cluster's.

    The area is that of the points closed by a disc of radius ``eps`` (an alpha shape): it excludes half the
    spacing of the points at the rim, and includes the spread by localisation errors.
    """
    return _table(found, [_closed_area(p, rule.eps) for p in found], mask, rule)


def domains_from_fractions(
    phi_h: xr.DataArray, mask: xr.DataArray, rule: DomainRule | None = None
) -> pd.DataFrame:
    """Connected regions of three or more pixels where phi_h (x, y in nm) reaches the threshold."""
    rule, field = rule or DomainRule(), phi_h.transpose("x", "y")
    labels: Any = ndimage.label(field.values >= rule.threshold)[0]
    i, j = np.nonzero(labels)
    x, y = (field[c].values.astype(float) for c in ("x", "y"))
    groups = _split(np.stack([x[i], y[j]], 1), labels[i, j], _LEAST_PIXELS)
    pixel = abs(float((x[1] - x[0]) * (y[1] - y[0])))
    areas = [pixel * len(points) for points in groups]
    return _table(groups, areas, mask.transpose("x", "y"), rule).reset_index(drop=True)


def _split(points: Array, number: Index, least: int) -> list[Array]:
    """Points (n, 2) by their group, numbered from 1 on; smaller groups and points of none are left out."""
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(1, number.max(initial=0) + 2))
    return [g for g in np.split(points[order], ends)[1:-1] if len(g) >= least]


def typical(
    domains: pd.DataFrame, rule: DomainRule | None = None, mask: xr.DataArray | None = None
) -> dict[str, float]:
    """Averages of a table of domains; NaN with too few of them.

    Of the domains inside, without the rim at the lamina: ``domains`` (number), ``radius`` and ``spacing``
    (averages) and ``rate_geometric``; and ``lamina`` (share of the area of heterochromatin in the rim) and,
    with the mask of the nucleus, ``lamina_thickness`` (that area over the length of the edge, nm).

    >>> rows = pd.DataFrame({"radius": [90.0, 110.0], "spacing": [300.0, 300.0], "place": ["interior"] * 2})
    >>> found = typical(rows.assign(area=[2e4, 3e4]))
    >>> found["rate_geometric"], found["lamina"]
    (0.125, 0.0)
    """
    rule = rule or DomainRule()
    inside: Any = domains[domains["place"] == "interior"]
    radius, spacing = (average(inside[c].to_numpy(dtype=float), rule) for c in ("radius", "spacing"))
    whole = float(domains["area"].to_numpy(dtype=float).sum())
    rim = whole - float(inside["area"].sum())
    rate = geometric_rate(radius, spacing) if spacing > radius else math.nan
    return {
        "domains": len(inside),
        "radius": radius,
        "spacing": spacing,
        "lamina": rim / whole if whole else math.nan,
        "lamina_thickness": rim / edge_length(mask) if mask is not None and whole else math.nan,
        "rate_geometric": _published_rate(inside, rule) if rule.largest_rate else rate,
    }


def average(values: Array, rule: DomainRule) -> float:
    """Average of the finite values, as the definition has it; NaN without any."""
    values = values[np.isfinite(values)]
    return float(_AVERAGES[rule.average](values)) if values.size else math.nan


def _published_rate(inside: pd.DataFrame, rule: DomainRule) -> float:
    """Ratio of the log-normal means of Gamma_me and Gamma_ac over the domains, with D = 1 um^2/s."""
    removed = 1e6 / inside["spacing"].to_numpy(dtype=float) ** 2
    added = removed * inside["rate"].to_numpy(dtype=float)
    kept = (added > 0) & (added <= rule.largest_rate)
    if not kept.any():
        return math.nan
    logs = [np.log(v[np.isfinite(v)]) for v in (added[kept], removed)]
    me, ac = (float(np.exp(v.mean() + v.var() / 2)) for v in logs)
    return me / ac


def _table(groups: list[Array], areas: list[float], mask: xr.DataArray, rule: DomainRule) -> pd.DataFrame:
    """One row for each group of points (n, 2) and its area, the largest domain first."""
    near = np.zeros(0)
    if groups:
        distance = at_points(edge_distance(mask), *np.concatenate(groups).T)
        near = np.fmin.reduceat(distance, np.cumsum([0, *map(len, groups[:-1])]))
    middle = np.array([p.mean(axis=0) for p in groups]).reshape(-1, 2)
    columns = {"x": middle[:, 0], "y": middle[:, 1], "area": areas, "edge_distance": near}
    columns |= {"points": [len(p) for p in groups]}
    table = pd.DataFrame(columns).sort_values("area", ascending=False)
    table["domain"] = np.arange(1, len(table) + 1)
    table["radius"] = np.sqrt(table["area"].astype(float) / math.pi)
    table["edge_distance"] = table["edge_distance"].astype(float).clip(lower=0.0)
    reach = rule.reach(math.sqrt(area(mask) / math.pi))
    table["place"] = np.where(table["edge_distance"] <= reach, "lamina", "interior")
    table["spacing"] = math.nan
    inside = (table["place"] == "interior").to_numpy()
    if inside.sum() > rule.neighbours:
        centres = table.loc[inside, ["x", "y"]].to_numpy(dtype=float)
        near = KDTree(centres).query(centres, k=rule.neighbours + 1)[0][:, 1:]
        table.loc[inside, "spacing"] = near.mean(axis=1)
    ratio = table["spacing"] / table["radius"]
    table["rate"] = 1 / (ratio.where(ratio > 1) ** 2 - 1)
    return table.reindex(columns=list(COLUMNS))


def _clusters(points: Array, rule: DomainRule) -> list[Array]:
    """The points of each cluster that has ``least`` points or more, by DBSCAN on a raster.

    Positions count to an eighth of ``eps``: time and memory grow with the area, not with the pairs of
    neighbours. Points that are neither core nor near a core point are left out.
    """
    if len(points) < rule.least:
        return []
    side = rule.eps / _CELLS
    least = _CELLS * math.sqrt(float(np.prod(np.ptp(points, axis=0))) / _MOST_CELLS)
    if rule.eps < least:
        raise DataError(
            f"domain.eps={rule.eps:g} nm was given; {least:.2g} nm or more was expected for this nucleus."
        )
    index = np.floor(points / side).astype(np.int64)
    index -= index.min(axis=0) - 2 * _CELLS
    counts = np.zeros(index.max(axis=0) + 2 * _CELLS + 1, dtype=np.int32)
    np.add.at(counts, (index[:, 0], index[:, 1]), 1)
    core = (counts > 0) & (_disc_sum(counts, _CELLS) >= rule.min_points)
    del counts
    # Discs of half the reach touch where core points are within it.
    label: Any = ndimage.label(_disc_sum(core.astype(np.int32), (_CELLS - 0.5) / 2) > 0)
    own = np.where(core, label[0], 0)[index[:, 0], index[:, 1]]
    return _split(points, own, rule.least)


def _disc_sum(values: NDArray[np.int32], radius: float) -> NDArray[np.int32]:
    """Sum over the cells within a radius of each cell, by running sums along rows; zero near the border."""
    reach = int(radius)
    along = np.cumsum(values, axis=1, dtype=np.int32)
    total = np.zeros_like(values)
    rows, columns = values.shape
    for step in range(-reach, reach + 1):
        half = int(math.sqrt(radius**2 - step**2))
        row, inner = along[reach + step : rows - reach + step], total[reach : rows - reach]
        inner[:, half + 1 : columns - half] += row[:, 2 * half + 1 :]
        inner[:, half + 1 : columns - half] -= row[:, : columns - 2 * half - 1]
    return total


def _closed_area(points: Array, eps: float) -> float:
    """Area of the points closed by a disc, on a raster of a sixth of its radius, coarser for a long rim."""
    box = float(np.prod(np.ptp(points, axis=0) + 2 * eps))
    side = max(eps / _RASTER, math.sqrt(box / _MOST_PIXELS))
    reach = eps / side
    index = np.floor(points / side).astype(np.int64)
    index -= index.min(axis=0) - math.ceil(reach) - 2
    empty = np.ones(index.max(axis=0) + math.ceil(reach) + 3, dtype=bool)
    empty[index[:, 0], index[:, 1]] = False
    near = np.asarray(ndimage.distance_transform_edt(empty)) <= reach
    # The pixels of the outermost points are kept.
    depth = np.asarray(ndimage.distance_transform_edt(near))
    hull = float(((depth > reach) | ~empty).sum()) * side**2
    # The outermost points lie half a spacing inside the edge.
    spacing = math.sqrt(hull / float((~empty).sum()))
    return float(((depth > reach - spacing / 2 / side) | ~empty).sum()) * side**2


def rim_segments(places: Array, areas: Array, mask: xr.DataArray, segments: int = _SEGMENTS) -> pd.DataFrame:
    """Thickness of the rim in sectors of the nucleus: area of heterochromatin over length of the edge.

    Small parts of the rim have their centres at ``places`` (n, 2) in nm and ``areas`` (n,) in nm^2; sectors
    have even angles about the centre of the mask (x, y). The table has ``angle`` (rad), ``length``, ``area``
    and ``thickness`` in nm and nm^2, one row for each sector.

    The length of the edge follows from the area of a band between two depths a and b along it, ``length (b -
    a) - pi (b^2 - a^2)`` (Steiner's formula): neither the steps of the pixels nor their error in depth count.

    >>> from mollifier.chromatin.simulate import nucleus
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

    def sector(xs: Array, ys: Array) -> Index:
        angle = np.arctan2(ys - y.mean(), xs - x.mean()) % (2 * math.pi)
        return np.minimum((angle * segments / (2 * math.pi)).astype(np.int64), segments - 1)

    # The share of each pixel inside the band avoids steps of whole pixels.
    far = min(_BAND, float(depth.max()) / 2)
    near, beyond = (np.clip(d - depth[i, j] + 0.5, 0.0, 1.0) for d in (far / 4, far))
    band = np.bincount(sector(x, y), beyond - near, segments) / (0.75 * far)
    length = pixel * (band + math.pi * 1.25 * far / segments)
    found = np.bincount(sector(*places.T), areas, segments)
    angle = (np.arange(segments) + 0.5) * 2 * math.pi / segments
    return pd.DataFrame({"angle": angle, "length": length, "area": found, "thickness": found / length})


def edge_length(mask: xr.DataArray) -> float:
    """Length of the edge of a mask, in its units."""
    return float(rim_segments(np.zeros((0, 2)), np.zeros(0), mask)["length"].to_numpy(float).sum())
