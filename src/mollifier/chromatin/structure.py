"""The structure of one nucleus by one definition: its domains, its rim at the lamina, and its features.

Features have the names and definitions of the public code LakGroup/O-SNAP (Kim et al., bioRxiv
2025.07.18.665612), lengths in nm; the outline is the mask of the nucleus instead of a shrunk hull of the
localisations. Not computed: bending and elastic energy, the curvature of the border, and clusters of Voronoi
cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import binary_erosion
from scipy.spatial import ConvexHull
from scipy.stats import skew

from mollifier.chromatin.domains import (
    clusters,
    domains_from_clusters,
    domains_from_fractions,
    edge_length,
    rim_segments,
    typical,
)
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import area, at_one_time, holds
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.voronoi import point_density
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

# Quantiles that represent the densities of a nucleus when nuclei are pooled.
_SHARES = (np.arange(2_000) + 0.5) / 2_000


def structure(
    sample: NucleusData, s: StudySettings, phi_h: xr.DataArray, resolution: float
) -> tuple[dict[str, pd.DataFrame], dict[str, float], dict[str, str]]:
    """The tables ``domains`` and ``features``, the numbers of `typical`, and the definition as attributes.

    ``phi_h`` is the volume fraction of heterochromatin over x and y, NaN outside; its resolution in nm is the
    least depth of the rim where the definition is a map's. Raises `DataError` if the definition is one of
    localisations, and there are none.
    """
    inside, rule = phi_h.notnull(), s.rule
    if rule.select == "phase":
        rule = replace(rule, lamina=max(rule.lamina, resolution))
    grouped = s.domains == "clusters" or (s.domains == "auto" and len(sample.frames) == 1)
    found, seen = pd.DataFrame(), grouped and bool(sample.frames)
    if seen:
        locs = sample.frames[-1]
        density = point_density(locs.x, locs.y) if rule.select == "voronoi" else None
        groups = clusters(locs, inside, phi_h, rule, density)
        table = domains_from_clusters(groups, inside, rule)
        found = features(locs, inside, groups, table, density)
        table = table.reset_index(drop=True)
    elif rule.select == "voronoi":
        raise DataError(
            f"The definition {rule.name} is one of localisations, and an image was given; take the "
            "domains from the map (--domains map)."
        )
    else:
        table = domains_from_fractions(phi_h.fillna(0.0), inside, rule)
    attrs = {f"domain_{k.replace(' ', '_')}": v for k, v in rule.lines(seen).items()}
    return {"domains": table, "features": found}, typical(table, rule, inside), attrs


def density_quantiles(sample: NucleusData) -> tuple[int, Array]:
    """Number of localisations of a nucleus, and evenly spaced quantiles of their Voronoi densities in 1/nm^2.

    Both are empty for an image.
    """
    if not sample.frames:
        return 0, np.zeros(0)
    locs = sample.frames[-1]
    inside = holds(at_one_time(sample.mask), locs.x, locs.y)
    return int(inside.sum()), np.quantile(point_density(locs.x, locs.y)[inside], _SHARES)


def pooled_quantile(found: Sequence[tuple[int, Array]], share: float) -> float | None:
    """Quantile of the densities of several nuclei, each localisation counted once; None without any.

    >>> even = np.linspace(1.0, 2.0, 101)
    >>> float(round(pooled_quantile([(100, even), (300, even + 1)], 0.75), 2))
    2.67
    """
    kept = [(n, values) for n, values in found if n]
    if not kept:
        return None
    values = np.concatenate([v for _, v in kept])
    weight = np.concatenate([np.full(v.size, n / v.size) for n, v in kept])
    return float(np.quantile(values, share, weights=weight, method="inverted_cdf"))


# O-SNAP's interior is the outline scaled to this share of its lengths (their text says: of its area).
_INTERIOR = 0.85
_RINGS, _GRADIENT = 10, 0.8
_PERCENTILES = (40, 70)


def features(
    locs: Localizations,
    mask: xr.DataArray,
    groups: list[Array],
    table: pd.DataFrame,
    density: Array | None = None,
) -> pd.DataFrame:
    """One row of features; NaN where there is no cluster of the kind, and none of Voronoi without a density.

    ``mask`` is over x and y in nm, ``groups`` are the positions of each cluster and ``table`` its domains,
    indexed by the number of the cluster; ``density`` is the Voronoi density at each localisation in 1/nm^2.
    """
    inside = holds(mask, locs.x, locs.y)
    points, centres = np.stack([locs.x[inside], locs.y[inside]], 1), table[["x", "y"]].to_numpy(float)
    frame = _Frame.of(mask, points)
    row = _shape(frame, points) | _clusters(groups, table) | _rim(groups, table, mask)
    row |= _periphery("loc", "loc", frame, points) | _periphery("cluster", "dbscan_cluster", frame, centres)
    row |= _rings("loc", frame, points) | _rings("dbscan_cluster", frame, centres)
    if density is not None:
        log = np.log10(density[inside])
        reduced = log + math.log10(float(np.mean(1 / density[inside])))
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
        edge = mask.values & ~np.asarray(binary_erosion(mask.values))
        i, j = np.nonzero(edge)
        outline = np.stack([mask["x"].values[i], mask["y"].values[j]], 1)
        values, axes = np.linalg.eigh(np.cov(outline.T))
        axes, values = axes[:, ::-1], values[::-1]
        turned = outline @ axes
        middle = (turned.min(axis=0) + turned.max(axis=0)) / 2
        return cls(mask, outline, axes, values, middle, np.ptp(points @ axes, axis=0))


def _shape(frame: _Frame, points: Array) -> dict[str, float]:
    size, edge = area(frame.mask), edge_length(frame.mask)
    hull = ConvexHull(frame.outline)
    # In two dimensions the "area" of a hull is its perimeter and the "volume" its area.
    around, hull_area = float(hull.area), float(hull.volume)
    major, minor = float(frame.lengths.max()), float(frame.lengths.min())
    fiber = (edge + math.sqrt(abs(edge**2 - 16 * size))) / 4
    share = frame.eigenvalues / frame.eigenvalues.sum()
    return {
        "nucleus_radius": math.sqrt(size / math.pi),
        "locs_number": float(len(points)),
        "locs_density": len(points) / size,
        "major_axis": major, "minor_axis": minor,
        "convex_area": hull_area, "convex_perimeter": around, "perimeter": edge,
        "gyration_radius": float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean())),
        "eigenvalues_ratio": float(frame.eigenvalues[0] / frame.eigenvalues[1]),
        "eigenentropy": float(-(share * np.log(share)).sum()),
        "aspect_ratio": major / minor,
        "form_ratio": size / major**2,
        "rectangularity": size / (major * minor),
        "circularity": 4 * math.pi * size / edge**2,
        "convex_circularity": 4 * math.pi * hull_area / around**2,
        "convexity": around / edge,
        "solidity": size / hull_area,
        "fiber_length": fiber, "fiber_width": size / fiber, "curl": major / fiber,
        "major_axis_norm_area": major / size, "minor_axis_norm_area": minor / size,
    }  # fmt: skip


def _clusters(groups: list[Array], table: pd.DataFrame) -> dict[str, float]:
    row: dict[str, float] = {}
    for place, kind in (("interior", "interior"), ("lamina", "periphery")):
        own: Any = table[table["place"] == place]
        number = own["points"].to_numpy(float)
        spread = np.array([math.sqrt(groups[k].var(axis=0).sum()) for k in own.index])
        name = f"{kind}_dbscan_cluster"
        row |= {f"{name}_n_clusters": float(len(own)), f"{name}_n_locs": float(number.sum())}
        each = {"radius": own["radius"], "gyration_radius": spread}
        each |= {"density": number / own["area"].to_numpy(float), "n_locs": number}
        each |= {"spacing": own["spacing"]} if kind == "interior" else {}
        for part, values in each.items():
            row |= _moments(f"log_{name}_{part}", np.log10(np.asarray(values, dtype=float)))
    return row


def _rim(groups: list[Array], table: pd.DataFrame, mask: xr.DataArray) -> dict[str, float]:
    """Thickness of the rim: each of its localisations has its share of the area of its cluster."""
    own: Any = table[table["place"] == "lamina"]
    parts = [(groups[k], np.full(len(groups[k]), a / len(groups[k]))) for k, a in own["area"].items()]
    places, share = (np.concatenate(p) for p in zip((np.zeros((0, 2)), np.zeros(0)), *parts, strict=True))
    rim = rim_segments(places, share, mask)
    row = {"model_lad_thickness": float(rim["area"].sum()) / float(rim["length"].sum())}
    for part in ("length", "thickness"):
        # As in O-SNAP, a segment without heterochromatin has a thickness of 1 nm.
        row |= _moments(f"log_model_lad_segment_{part}", np.log10(np.maximum(rim[part].to_numpy(float), 1.0)))
    return row


def _moments(name: str, values: Array) -> dict[str, float]:
    values = values[np.isfinite(values)]
    kinds: dict[str, Callable[[Array], Any]] = {"mean": np.mean, "std": partial(np.std, ddof=1)}
    if not name.endswith("n_locs"):
        kinds["skewness"] = lambda v: skew(v) if np.ptp(v) > 0 else math.nan
    return {f"{name}_{k}": float(f(values)) if values.size > 1 else math.nan for k, f in kinds.items()}


def _periphery(name: str, of: str, frame: _Frame, places: Array) -> dict[str, float]:
    """Localisations or clusters per nm^2 in the outline scaled about its middle, and outside it."""
    size, middle = area(frame.mask), frame.middle @ frame.axes.T
    within = int(holds(frame.mask, *(middle + (places - middle) / _INTERIOR).T).sum())
    inner = within / (size * _INTERIOR**2)
    outer = (len(places) - within) / (size * (1 - _INTERIOR**2))
    return {
        f"interior_{name}_density": inner, f"periphery_{name}_density": outer,
        f"periphery_to_interior_{of}_density_ratio": outer / inner if inner else math.nan,
    }  # fmt: skip


def _rings(name: str, frame: _Frame, places: Array) -> dict[str, float]:
    """Density in rings between ellipses of even steps of the axes, and its slope over the inner ones."""
    turned = places @ frame.axes - frame.middle
    reach = np.sqrt(((turned / (frame.lengths / 2)) ** 2).sum(axis=1))
    ring = np.minimum((reach * _RINGS).astype(np.int64), _RINGS - 1)
    outer = (np.arange(_RINGS) + 1) / _RINGS
    share = outer**2 - (outer - 1 / _RINGS) ** 2
    density = np.bincount(ring, minlength=_RINGS) / (math.pi / 4 * float(np.prod(frame.lengths)) * share)
    row = {f"radial_{name}_density_ring_{k + 1:02d}": float(v) for k, v in enumerate(density)}
    inner = round(_RINGS * _GRADIENT)
    for axis, length in (("major", frame.lengths.max()), ("minor", frame.lengths.min())):
        slope = np.polyfit(np.linspace(0, _GRADIENT * float(length), inner), density[:inner], 1)[0]
        row[f"radial_{name}_density_ring_gradient_{axis}_axis"] = float(slope)
    return row
