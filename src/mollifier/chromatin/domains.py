"""Domains of heterochromatin, one row each: place, size, spacing, and distance from the lamina."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.model import geometric_rate
from mollifier.chromatin.rasters import at_points, edge_distance
from mollifier.errors import ConfigurationError, DataError

Array = NDArray[np.float64]

COLUMNS = {
    "domain": "number, from 1",
    "x": "centre, nm",
    "y": "centre, nm",
    "area": "nm^2",
    "radius": "sqrt(area/pi), nm",
    "spacing": "from the centre to the nearest other centre, nm",
    "edge_distance": "from the nuclear edge to the nearest part of the domain, nm",
    "place": "lamina or interior",
    "points": "localisations, or pixels",
    "rate": "1/((spacing/radius)^2 - 1)",
}
# Most pairs of neighbours for DBSCAN on single positions; beyond, positions are binned on a fine raster.
_MOST_PAIRS = 3e7
_RASTER = 6
_LEAST_PIXELS = 3


@dataclass(frozen=True)
class DomainRule:
    """What counts as a domain, and as one at the lamina.

    Attributes
    ----------
    threshold
        Volume fraction of heterochromatin from which a place belongs to a domain.
    eps, min_points, least
        Of DBSCAN on localisations: reach in nm, neighbours that make a core point, and points that make a
        domain.
    lamina
        A domain within this distance of the nuclear edge, in nm, is lamina-associated. Use at least the
        resolution of the map.

    Raises
    ------
    ConfigurationError
        If a number is out of range.
    """

    threshold: float = 0.5
    eps: float = 30.0
    min_points: int = 3
    least: int = 35
    lamina: float = 100.0

    def __post_init__(self) -> None:
        good = 0 < self.threshold <= 1 and self.eps > 0 and min(self.min_points, self.least) >= 1
        if not (good and self.lamina >= 0):
            raise ConfigurationError(
                f"{self} was given; a threshold from 0 to 1, eps above 0 and counts of 1 or more were "
                "expected."
            )


def domains_from_localizations(
    locs: Localizations,
    mask: xr.DataArray,
    phi_h: xr.DataArray | None = None,
    rule: DomainRule | None = None,
) -> pd.DataFrame:
    """Clusters of localisations, by DBSCAN.

    Only localisations where the map shows heterochromatin are used: in a nucleus that is dense everywhere,
    each localisation has neighbours within ``eps``, and all would form one domain. The area is that of the
    points closed by a disc of radius ``eps`` (an alpha shape): it excludes half the spacing of the points at
    the rim, and includes the spread by localisation errors.

    Parameters
    ----------
    locs
        In nm.
    mask
        The nucleus, over x and y in nm.
    phi_h
        Volume fraction of heterochromatin over x and y; by default all localisations inside are used.
    rule
        `DomainRule` by default.

    Returns
    -------
    DataFrame
        One row for each domain, columns as in ``COLUMNS``.

    Raises
    ------
    DataError
        If scikit-learn is not installed.

    Examples
    --------
    >>> from mollifier.chromatin.shapes import nucleus
    >>> rng = np.random.default_rng(0)
    >>> r, angle = 80 * np.sqrt(rng.random((2, 500))), 2 * np.pi * rng.random((2, 500))
    >>> x, y = r * np.cos(angle) + [[-150], [150]], r * np.sin(angle)
    >>> found = domains_from_localizations(Localizations(x.ravel(), y.ravel()), nucleus(1000.0, 100))
    >>> len(found), found["spacing"].round(-1).tolist(), found["radius"].round(-1).tolist()
    (2, [300.0, 300.0], [80.0, 80.0])
    """
    rule = rule or DomainRule()
    place = mask if phi_h is None else (phi_h >= rule.threshold)
    every = np.stack([locs.x, locs.y], 1)
    distance = edge_distance(mask)
    inside = np.all([at_points(m.astype(bool), locs.x, locs.y, False) for m in (place, mask)], axis=0).astype(
        bool
    )
    clusters = _clusters(every[inside], rule)
    return _table([_row(p, _closed_area(p, rule.eps), distance) for p in clusters], rule.lamina)


def domains_from_fractions(
    phi_h: xr.DataArray, mask: xr.DataArray, rule: DomainRule | None = None
) -> pd.DataFrame:
    """Connected regions of three or more pixels where phi_h reaches the threshold.

    Parameters
    ----------
    phi_h
        Volume fraction of heterochromatin over x and y in nm.
    mask
        The nucleus, on the same pixels or others.
    rule
        `DomainRule` by default.

    Examples
    --------
    >>> from mollifier.chromatin.shapes import nucleus
    >>> mask = nucleus(1000.0, 100)
    >>> far = np.hypot(mask.x + 200, mask.y)
    >>> found = domains_from_fractions((far < 100).astype(float).transpose("x", "y"), mask)
    >>> found[["domain", "radius", "place"]].round(0).values.tolist()
    [[1, 100.0, 'interior']]
    """
    rule = rule or DomainRule()
    return domains_from_labels(domain_labels(phi_h, rule), mask, rule)


def domain_labels(phi_h: xr.DataArray, rule: DomainRule | None = None) -> xr.DataArray:
    """Domains numbered from 1 on the pixels of the map, 0 elsewhere."""
    picked = phi_h.transpose("x", "y")
    found: Any = ndimage.label(picked.values >= (rule or DomainRule()).threshold)
    return picked.copy(data=found[0]).rename("domain")


def domains_from_labels(
    labels: xr.DataArray, mask: xr.DataArray, rule: DomainRule | None = None
) -> pd.DataFrame:
    """As `domains_from_fractions`, from integer labels of the domain of each pixel, 0 for none."""
    rule = rule or DomainRule()
    labels = labels.transpose("x", "y")
    array = labels.values.astype(np.int64)
    x, y = (labels[c].values.astype(float) for c in ("x", "y"))
    pixel = abs(float((x[1] - x[0]) * (y[1] - y[0])))
    distance = edge_distance(mask.transpose("x", "y"))
    rows = []
    for number, box in enumerate(ndimage.find_objects(array), start=1):
        if box is None:
            continue
        i, j = np.nonzero(array[box] == number)
        if len(i) < _LEAST_PIXELS:
            continue
        rows.append(_row(np.stack([x[i + box[0].start], y[j + box[1].start]], 1), pixel * len(i), distance))
    return _table(rows, rule.lamina)


def typical(domains: pd.DataFrame) -> dict[str, float]:
    """Of a table of domains: ``domains``, medians of ``radius`` and ``spacing``, ``lamina`` (share of them)
    and ``rate_geometric`` from those medians; NaN with too few domains.

    Examples
    --------
    >>> rows = pd.DataFrame({"radius": [90.0, 110.0], "spacing": [300.0, 300.0], "place": ["lamina"] * 2})
    >>> typical(rows)["rate_geometric"], typical(rows)["lamina"]
    (0.125, 1.0)
    """
    radius, spacing = (_median(domains, c) for c in ("radius", "spacing"))
    return {
        "domains": len(domains),
        "radius": radius,
        "spacing": spacing,
        "lamina": float(np.mean(domains["place"] == "lamina")) if len(domains) else math.nan,
        "rate_geometric": geometric_rate(radius, spacing) if spacing > radius else math.nan,
    }


def _median(table: pd.DataFrame, column: str) -> float:
    values = table[column].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else math.nan


def _row(points: Array, area: float, distance: xr.DataArray) -> dict[str, Any]:
    """A domain from its points (n, 2), its area and the map of distances from the nuclear edge."""
    x, y = points.T
    near = float(np.nanmin(at_points(distance, x, y)))
    return {"x": float(x.mean()), "y": float(y.mean()), "area": area, "edge_distance": near, "points": len(x)}


def _table(rows: list[dict[str, Any]], lamina: float) -> pd.DataFrame:
    """Rows with derived columns, the largest domain first."""
    table = pd.DataFrame(rows, columns=["x", "y", "area", "edge_distance", "points"])
    table = table.sort_values("area", ascending=False, ignore_index=True)
    table["domain"] = np.arange(1, len(table) + 1)
    table["radius"] = np.sqrt(table["area"].astype(float) / math.pi)
    table["spacing"] = math.nan
    if len(table) > 1:
        centres = table[["x", "y"]].to_numpy(dtype=float)
        table["spacing"] = KDTree(centres).query(centres, k=2)[0][:, 1]
    table["edge_distance"] = table["edge_distance"].astype(float).clip(lower=0.0)
    table["place"] = np.where(table["edge_distance"] <= lamina, "lamina", "interior")
    apart = table["spacing"] > table["radius"]
    ratio = (table["spacing"] / table["radius"]).where(apart)
    table["rate"] = 1 / (ratio**2 - 1)
    return table.reindex(columns=list(COLUMNS))


def _clusters(points: Array, rule: DomainRule) -> list[Array]:
    """The points of each cluster that has ``least`` points or more."""
    if find_spec("sklearn") is None:
        raise DataError(
            "Clusters of localisations need scikit-learn: pip install 'mollifier[chromatin]', or take the "
            "domains from the map (--domains map)."
        )
    from sklearn.cluster import DBSCAN

    if len(points) < rule.least:
        return []
    cells, owner, count = points, np.arange(len(points)), np.ones(len(points))
    if _pairs(points, rule.eps) > _MOST_PAIRS:
        side = rule.eps / _RASTER
        index, owner, count = np.unique(
            np.floor(points / side).astype(np.int64), axis=0, return_inverse=True, return_counts=True
        )
        cells, owner = (index + 0.5) * side, owner.ravel()
    label = DBSCAN(eps=rule.eps, min_samples=rule.min_points).fit(cells, sample_weight=count).labels_[owner]
    order = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[order], np.arange(label.max() + 2))
    groups = [points[order[a:b]] for a, b in pairwise(ends)]
    return [g for g in groups if len(g) >= rule.least]


def _pairs(points: Array, eps: float) -> float:
    """Estimated number of pairs within ``eps``, from counts in cells of that size."""
    cells = np.unique(np.floor(points / eps).astype(np.int64), axis=0, return_counts=True)[1]
    return math.pi * float(np.sum(cells.astype(float) ** 2))


def _closed_area(points: Array, eps: float) -> float:
    """Area of the points closed by a disc, on a raster of a sixth of its radius."""
    side = eps / _RASTER
    index = np.floor(points / side).astype(np.int64)
    index -= index.min(axis=0) - _RASTER - 2
    empty = np.ones(index.max(axis=0) + _RASTER + 3, dtype=bool)
    empty[index[:, 0], index[:, 1]] = False
    near = np.asarray(ndimage.distance_transform_edt(empty)) <= _RASTER
    # The pixels of the outermost points are kept.
    closed = (np.asarray(ndimage.distance_transform_edt(near)) > _RASTER) | ~empty
    return float(closed.sum()) * side**2
