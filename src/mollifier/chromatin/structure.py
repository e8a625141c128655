"""The structure of one nucleus: its domains, its rim at the lamina and its features, by one definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from mollifier.chromatin.domains import clusters, domains_from_clusters, domains_from_fractions, typical
from mollifier.chromatin.features import features
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import at_one_time, holds
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.voronoi import point_density
from mollifier.errors import DataError

Array = NDArray[np.float64]

# Quantiles that represent the densities of a nucleus when nuclei are pooled.
_SHARES = (np.arange(2_000) + 0.5) / 2_000


@dataclass(frozen=True, eq=False)
class Structure:
    """Domains, rim and features of a nucleus."""

    domains: pd.DataFrame  #: One row for each domain; see `mollifier.chromatin.domains.COLUMNS`.
    features: pd.DataFrame  #: One row with the names of O-SNAP; empty without clusters of localisations.
    numbers: dict[str, float]  #: As of `mollifier.chromatin.domains.typical`.
    attrs: dict[str, Any]  #: The definition: ``domain_...`` for each part of it.


def structure(sample: NucleusData, s: StudySettings, phi_h: xr.DataArray, resolution: float) -> Structure:
    """The structure by the definition of the settings.

    ``phi_h`` is the volume fraction of heterochromatin over x and y, NaN outside; its resolution in nm is the
    least depth of the rim where the definition is a map's. Raises `DataError` if the definition is one of
    localisations, and there are none.
    """
    inside, rule = phi_h.notnull(), s.rule
    if rule.select == "phase":
        rule = replace(rule, lamina=max(rule.lamina, resolution))
    grouped = s.domains == "clusters" or (s.domains == "auto" and len(sample.frames) == 1 and s.windows == 1)
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
    return Structure(table, found, typical(table, rule, inside), attrs)


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
