"""Morphological features of a nucleus of localisations, with the names and definitions of O-SNAP.

Definitions are those of the public code LakGroup/O-SNAP (Kim et al., bioRxiv 2025.07.18.665612), lengths in
nm; the outline is the mask of the nucleus instead of a shrunk hull of the localisations. Not computed:
bending and elastic energy, the curvature of the border, and clusters of Voronoi cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.stats import skew

from mollifier.chromatin.definitions import DomainRule
from mollifier.chromatin.lamina import edge_length, rim_segments
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.rasters import at_points, pixel_spacing

Array = NDArray[np.float64]

# O-SNAP's interior is the outline scaled to this share of its lengths (their text says: of its area).
_INTERIOR = 0.85
_RINGS, _GRADIENT = 10, 0.8
_PERCENTILES = (40, 70)


@dataclass(frozen=True, eq=False)
class Clustered:
    """A nucleus with its clusters."""

    #: Localisations, and the Voronoi density at each in 1/nm^2, where it is known.
    locs: Localizations
    density: Array | None
    #: Positions of each cluster, and the table of domains, indexed by the number of the cluster.
    groups: list[Array]
    table: pd.DataFrame
    mask: xr.DataArray  #: The nucleus, over x and y in nm.
    rule: DomainRule  #: The definition of a domain.


def features(found: Clustered) -> pd.DataFrame:
    """One row of features; NaN where there is no cluster of the kind, or no Voronoi density."""
    inside = at_points(found.mask.astype(bool), found.locs.x, found.locs.y, False).astype(bool)
    points = np.stack([found.locs.x[inside], found.locs.y[inside]], 1)
    frame = _Frame.of(found.mask, points)
    row = _shape(frame, points) | _clusters(found) | _periphery(found, frame, points)
    row |= _rings("loc", frame, points) | _rings(
        "dbscan_cluster", frame, found.table[["x", "y"]].to_numpy(float)
    )
    if found.density is not None:
        log = np.log10(found.density[inside])
        reduced = log + math.log10(float(np.mean(1 / found.density[inside])))
        row |= _moments("log_voronoi_density", log)
        row |= {"reduced_log_voronoi_density_mean": float(reduced.mean())}
        for name, values in (("log_voronoi_density", log), ("reduced_log_voronoi_density", reduced)):
            row |= {f"{name}_{p}": float(np.percentile(values, p)) for p in _PERCENTILES}
    return pd.DataFrame([row])


@dataclass(frozen=True, eq=False)
class _Frame:
    """The outline of a nucleus along its principal axes."""

    mask: xr.DataArray
    outline: Array
    axes: Array
    eigenvalues: Array
    middle: Array
    lengths: Array

    @classmethod
    def of(cls, mask: xr.DataArray, points: Array) -> _Frame:
        edge = mask.values & ~_eroded(mask.values)
        i, j = np.nonzero(edge)
        outline = np.stack([mask["x"].values[i], mask["y"].values[j]], 1)
        values, axes = np.linalg.eigh(np.cov(outline.T))
        axes, values = axes[:, ::-1], values[::-1]
        turned = outline @ axes
        middle = (turned.min(axis=0) + turned.max(axis=0)) / 2
        return cls(mask, outline, axes, values, middle, np.ptp(points @ axes, axis=0))

    def turned(self, points: Array) -> Array:
        return points @ self.axes - self.middle


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wide = np.pad(mask, 1)
    return wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]


def _shape(frame: _Frame, points: Array) -> dict[str, float]:
    area = float(frame.mask.sum()) * pixel_spacing(frame.mask) ** 2
    edge = edge_length(frame.mask)
    hull = ConvexHull(frame.outline)
    # In two dimensions the "area" of a hull is its perimeter and the "volume" its area.
    around, hull_area = float(hull.area), float(hull.volume)
    major, minor = float(frame.lengths.max()), float(frame.lengths.min())
    fiber = (edge + math.sqrt(abs(edge**2 - 16 * area))) / 4
    share = frame.eigenvalues / frame.eigenvalues.sum()
    return {
        "nucleus_radius": math.sqrt(area / math.pi),
        "locs_number": float(len(points)),
        "locs_density": len(points) / area,
        "major_axis": major, "minor_axis": minor,
        "convex_area": hull_area, "convex_perimeter": around, "perimeter": edge,
        "gyration_radius": float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean())),
        "eigenvalues_ratio": float(frame.eigenvalues[0] / frame.eigenvalues[1]),
        "eigenentropy": float(-(share * np.log(share)).sum()),
        "aspect_ratio": major / minor,
        "form_ratio": area / major**2,
        "rectangularity": area / (major * minor),
        "circularity": 4 * math.pi * area / edge**2,
        "convex_circularity": 4 * math.pi * hull_area / around**2,
        "convexity": around / edge,
        "solidity": area / hull_area,
        "fiber_length": fiber, "fiber_width": area / fiber, "curl": major / fiber,
        "major_axis_norm_area": major / area, "minor_axis_norm_area": minor / area,
    }  # fmt: skip


def _clusters(found: Clustered) -> dict[str, float]:
    row: dict[str, float] = {}
    for place, kind in (("interior", "interior"), ("lamina", "periphery")):
        table: Any = found.table[found.table["place"] == place]
        own = [found.groups[k] for k in table.index]
        number, area = table["points"].to_numpy(float), table["area"].to_numpy(float)
        spread = np.array([math.sqrt(p.var(axis=0).sum()) for p in own])
        name = f"{kind}_dbscan_cluster"
        row |= {f"{name}_n_clusters": float(len(table)), f"{name}_n_locs": float(number.sum())}
        each = {
            "radius": table["radius"],
            "gyration_radius": spread,
            "density": number / area,
            "n_locs": number,
        }
        each |= {"spacing": table["spacing"]} if kind == "interior" else {}
        for part, values in each.items():
            row |= _moments(f"log_{name}_{part}", np.log10(np.asarray(values, dtype=float)))
    rim = rim_segments(*_rim_parts(found), found.mask)
    row["model_lad_thickness"] = float(
        rim["area"].to_numpy(float).sum() / rim["length"].to_numpy(float).sum()
    )
    for part in ("length", "thickness"):
        # As in O-SNAP, a segment without heterochromatin has a thickness of 1 nm.
        row |= _moments(f"log_model_lad_segment_{part}", np.log10(np.maximum(rim[part].to_numpy(float), 1.0)))
    return row


def _rim_parts(found: Clustered) -> tuple[Array, Array]:
    """The localisations at the lamina, with the share of the area of their cluster that each has."""
    table = found.table[found.table["place"] == "lamina"]
    if not len(table):
        return np.zeros((0, 2)), np.zeros(0)
    groups = [found.groups[k] for k in table.index]
    share = [np.full(len(p), a / len(p)) for p, a in zip(groups, table["area"], strict=True)]
    return np.concatenate(groups), np.concatenate(share)


def _moments(name: str, values: Array) -> dict[str, float]:
    values = values[np.isfinite(values)]
    some = values.size > 1
    found = {
        "mean": float(values.mean()) if some else math.nan,
        "std": float(values.std(ddof=1)) if some else math.nan,
    }
    if not name.endswith("n_locs"):
        found["skewness"] = float(skew(values)) if some and np.ptp(values) > 0 else math.nan
    return {f"{name}_{k}": v for k, v in found.items()}


def _periphery(found: Clustered, frame: _Frame, points: Array) -> dict[str, float]:
    """Localisations and clusters per nm^2 in the outline scaled about its middle, and outside it."""
    area = float(frame.mask.sum()) * pixel_spacing(frame.mask) ** 2
    middle = frame.middle @ frame.axes.T
    row = {}
    for name, of, places in (
        ("loc", "loc", points), ("cluster", "dbscan_cluster", found.table[["x", "y"]].to_numpy(float))
    ):  # fmt: skip
        x, y = (middle + (places - middle) / _INTERIOR).T
        within = int(at_points(frame.mask.astype(bool), x, y, False).astype(bool).sum())
        inner = within / (area * _INTERIOR**2)
        outer = (len(places) - within) / (area * (1 - _INTERIOR**2))
        row |= {f"interior_{name}_density": inner, f"periphery_{name}_density": outer}
        row[f"periphery_to_interior_{of}_density_ratio"] = outer / inner if inner else math.nan
    return row


def _rings(name: str, frame: _Frame, places: Array) -> dict[str, float]:
    """Density in rings between ellipses of even steps of the axes, and its slope over the inner ones."""
    reach = np.sqrt(((frame.turned(places) / (frame.lengths / 2)) ** 2).sum(axis=1))
    ring = np.minimum((reach * _RINGS).astype(np.int64), _RINGS - 1)
    outer = (np.arange(_RINGS) + 1) / _RINGS
    area = math.pi / 4 * float(np.prod(frame.lengths)) * (outer**2 - (outer - 1 / _RINGS) ** 2)
    density = np.bincount(ring, minlength=_RINGS) / area
    row = {f"radial_{name}_density_ring_{k + 1:02d}": float(v) for k, v in enumerate(density)}
    inner = round(_RINGS * _GRADIENT)
    for axis, length in (("major", frame.lengths.max()), ("minor", frame.lengths.min())):
        slope = np.polyfit(np.linspace(0, _GRADIENT * float(length), inner), density[:inner], 1)[0]
        row[f"radial_{name}_density_ring_gradient_{axis}_axis"] = float(slope)
    return row
