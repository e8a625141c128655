"""Precision, repeats and resolution of localisations.

Repeats of one molecule in consecutive frames show the precision, and are merged; precision, spacing and
kernel limit the detail of a map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from mollifier.chromatin.localizations import Localizations
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Index

_NEAR = 120.0  # Distance in nm within which neighbours in the next frame are examined for repeats.
# Twice the gain in log-likelihood, and the number of repeats, below which there is no evidence of repeats.
_GAIN, _FEW = 20.0, 50
_APART = 100  # Lag in frames at which links are by chance only.
_SIGNIFICANT = 3.0  # Links in excess of chance, in standard errors, above which repeats are merged.
DARK = "after a dark frame"  #: In what is said of repeats, where molecules appear again later.
_DARK = 0.01  # Least share of the rows that do.
_SAMPLED = 100_000  # Molecules whose neighbours are looked for.


def neighbours(locs: Localizations, reach: float, lag: int = 1) -> tuple[Index, Index, Array]:
    """Pairs of localisations ``lag`` frames apart and within ``reach`` nm of one another.

    Rows of the earlier and the later ones and distances in nm, shape (pairs,) each. Raises `DataError` if the
    frames are not known.
    """
    if locs.frame is None:
        raise DataError(
            "Repeats of a molecule are found in consecutive frames, and the localisations have no frame "
            "column; name it, as --columns frame=NAME, or keep repeats (merge=False)."
        )
    # Frames lie far apart along a third axis, so that only neighbours in the same one are near.
    points = np.stack([locs.x, locs.y, 2 * reach * locs.frame], axis=1)
    tree, other = (
        KDTree(p, balanced_tree=False, compact_nodes=False)
        for p in (points, points - [0, 0, 2 * reach * lag])
    )
    pairs: Any = tree.sparse_distance_matrix(other, reach, output_type="coo_matrix")
    return pairs.row, pairs.col, pairs.data


def estimate_precision(locs: Localizations) -> float | None:
    """The localisation precision in nm from neighbours in consecutive frames; None without repeats.

    Distances to the nearest neighbour in the next frame, out to 120 nm, are a mixture of repeats of one
    molecule, d/(2 s^2) exp(-d^2/(4 s^2)), and of others, 2 d/c^2. The idea is that of Endesfelder et al.,
    Histochem. Cell Biol. 141:629 (2014); the fit is by maximum likelihood. Structure as fine as the
    precision biases it upwards. Raises `DataError` if the frames are not known.
    """
    earlier, _, distance = neighbours(locs, _NEAR)
    if earlier.size < _FEW:
        return None
    order = np.lexsort((distance, earlier))
    d = distance[order][np.concatenate([[True], np.diff(earlier[order]) > 0])]
    d = np.maximum(d, 1e-6)
    others = np.log(2 * d / _NEAR**2)

    def misfit(theta: Array) -> float:
        share, s = 1 / (1 + np.exp(-theta[0])), np.exp(theta[1])
        inside = -np.expm1(-(_NEAR**2) / (4 * s**2))
        repeats = d / (2 * s**2) * np.exp(-(d**2) / (4 * s**2)) / inside
        return -float(np.sum(np.log(share * repeats + (1 - share) * np.exp(others))))

    fits = [minimize(misfit, [0.0, np.log(s)], method="Nelder-Mead") for s in (5.0, 15.0, 30.0)]
    best = min(fits, key=lambda f: f.fun)
    share, s = 1 / (1 + np.exp(-best.x[0])), float(np.exp(best.x[1]))
    gain = 2 * (-float(best.fun) - float(others.sum()))
    return s if gain > _GAIN and share * d.size > _FEW and s < _NEAR / 3 else None


def _links(locs: Localizations, precision: Array, reach: float, lag: int) -> tuple[Index, Index]:
    """Pairs of mutual nearest neighbours within the precision, ``lag`` frames apart."""
    cell = float(reach * np.sqrt(2) * np.quantile(precision, 0.99))
    earlier, later, distance = neighbours(locs, cell, lag)
    near = distance <= reach * np.hypot(precision[earlier], precision[later])
    earlier, later, distance = earlier[near], later[near], distance[near]
    mutual = np.ones(earlier.size, dtype=bool)
    for rows in (earlier, later):
        nearest = np.full(len(locs), np.inf)
        np.minimum.at(nearest, rows, distance)
        mutual &= distance <= nearest[rows]
    return earlier[mutual], later[mutual]


def merge_repeats(
    locs: Localizations, *, precision: float | None = None, reach: float = 3.0
) -> Localizations:
    """Merge localisations of one molecule in consecutive frames to their precision-weighted mean.

    Two rows are linked if they are each other's nearest neighbours and nearer than ``reach`` standard errors
    of their difference, which leaves exp(-4.5) = 1.1 % of the repeats unlinked at 3; a chain of links is one
    molecule, so that slow drift does not break it. Nothing is merged if there are no more links than by
    chance. Traces, where they are known, are the molecules. ``precision`` in nm is for localisations without
    one; by default it is from `estimate_precision`.

    Photons are summed, precisions combined, the first frame kept; ``provenance["repeats"]`` counts the merged
    rows and the links expected by chance, and those ``DARK``, which are not merged. Raises `DataError` if
    neither traces nor frames are known.

    >>> rng = np.random.default_rng(0)
    >>> x, y = np.repeat(rng.uniform(0, 9e3, (2, 500)), 2, axis=1) + 8 * rng.standard_normal((2, 1000))
    >>> locs = Localizations(x, y, frame=np.arange(1000) // 2 * 5 + np.arange(1000) % 2)
    >>> merge_repeats(locs, precision=8.0).provenance["repeats"]
    '1,000 rows, 504 molecules; 496 links, 0 expected by chance'
    """
    if locs.trace is not None:
        return _of_traces(locs, locs.trace)
    error = _errors(locs, precision)
    if error is None:
        return replace(locs, provenance={**locs.provenance, "repeats": "none found"})
    size = len(locs)
    earlier, later = _links(locs, error, reach, 1)
    chance = _links(locs, error, reach, 1 + _APART)[0].size
    said = f"{earlier.size:,} links, {chance:,} expected by chance"
    if earlier.size - chance <= _SIGNIFICANT * np.sqrt(earlier.size + chance):
        said = f"none merged; {said}{_in_the_dark(locs, error, reach, np.arange(size))}"
        return replace(locs, provenance={**locs.provenance, "repeats": said})
    said += _in_the_dark(locs, error, reach, np.setdiff1d(np.arange(size), [earlier, later]))
    graph = coo_array((np.ones(earlier.size, dtype=bool), (earlier, later)), shape=(size, size))
    return _merged(locs, connected_components(graph, directed=False)[1], error, said)


def _in_the_dark(locs: Localizations, error: Array, reach: float, rows: Index) -> str:
    """What is said of repeats after a dark frame among rows without a link; empty if they are few."""
    # A strip of the field keeps the density.
    beyond = max(rows.size - _SAMPLED, 0)
    rows = rows[np.argsort(locs.x[rows])][beyond // 2 : rows.size - (beyond + 1) // 2]
    if not rows.size:
        return ""
    part = locs.select(rows)
    found, chance = (_links(part, error[rows], reach, 2 + lag)[0].size for lag in (0, _APART))
    if found - chance <= max(_SIGNIFICANT * np.sqrt(found + chance), _DARK * rows.size):
        return ""
    return f"; {found:,} of {rows.size:,} others again {DARK}, {chance:,} expected by chance, not merged"


def merge_known(locs: Localizations) -> Localizations:
    """As `merge_repeats`, where frames or traces are known; the localisations as they are elsewhere."""
    return locs if locs.frame is None and locs.trace is None else merge_repeats(locs)


def _of_traces(locs: Localizations, trace: Index) -> Localizations:
    """One position for each trace; without precisions, with the spread within traces as that of one row."""
    group = np.unique(trace, return_inverse=True)[1]
    rows = np.bincount(group)
    spread = [v - (np.bincount(group, v) / rows)[group] for v in (locs.x, locs.y)]
    typical = np.sqrt(np.sum(np.square(spread)) / (2 * max(len(locs) - rows.size, 1)))
    error = np.full(len(locs), float(typical) or 1.0)
    if locs.precision is not None:
        error = np.where(np.isfinite(locs.precision), locs.precision, np.nanmedian(locs.precision))
    return _merged(locs, group, error, f"those of a trace {typical:.2g} nm apart")


def _merged(locs: Localizations, group: Index, error: Array, said: str) -> Localizations:
    """One row for each group, with how they were found."""
    weight = error**-2
    total = np.bincount(group, weight)
    first = None
    if locs.frame is not None:
        first = np.full(total.size, np.iinfo(np.int64).max)
        np.minimum.at(first, group, locs.frame)
    return Localizations(
        np.bincount(group, weight * locs.x) / total,
        np.bincount(group, weight * locs.y) / total,
        first,
        1 / np.sqrt(total),
        None if locs.photons is None else np.bincount(group, locs.photons).astype(float),
        locs.bounds,
        {**locs.provenance, "repeats": f"{len(locs):,} rows, {total.size:,} molecules; {said}"},
        None if locs.z is None else np.bincount(group, weight * locs.z) / total,
    )


def _errors(locs: Localizations, precision: float | None) -> Array | None:
    """The standard error of each position in nm, along x and y; None if it is unknown."""
    own = locs.precision
    if own is not None and precision is None:
        return np.where(np.isfinite(own), own, np.nanmedian(own))
    typical = estimate_precision(locs) if precision is None else precision
    return None if typical is None else np.full(len(locs), float(typical))


# Full width at half maximum of a Gaussian, in standard deviations.
FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True)
class Resolution:
    """What limits the detail of a map of localisations, in nm.

    Localisation error blurs by 2.355 standard deviations. Detail finer than two mean spacings is not
    sampled (Nyquist's criterion for labels: Shroff et al., Nat. Methods 5:417, 2008); with the spacing
    rho^(-1/2) and, for a Poisson process, the mean distance to the nearest neighbour 1/2 rho^(-1/2) (Clark
    and Evans, Ecology 35:445, 1954), that is four such distances. Independent blurs add in squares, and the
    map's kernel counts where it is wider: sqrt(localization^2 + max(nyquist, kernel)^2).

    >>> round(Resolution(precision=10.0, neighbour=8.0, kernel=0.0).total, 2)
    39.73
    """

    precision: float  #: Standard error of a position; NaN and left out where it is unknown.
    neighbour: float  #: Mean distance to the nearest neighbour.
    kernel: float  #: Full width at half maximum of the kernel.

    @property
    def nyquist(self) -> float:
        """Finest detail that the molecules sample (Nyquist limit)."""
        return 4.0 * self.neighbour

    @property
    def blur(self) -> float:
        """Full width at half maximum of the localisation error; 0 where it is unknown."""
        return FWHM * self.precision if math.isfinite(self.precision) else 0.0

    @property
    def total(self) -> float:
        """The resolution: finer detail is not resolved."""
        return math.hypot(self.blur, max(self.nyquist, self.kernel))


def mean_neighbour_distance(locs: Localizations) -> float:
    """Mean distance to the nearest other molecule in nm, from 2 to 100,000 of them."""
    if len(locs) < 2:
        raise DataError(f"{len(locs)} molecule lies inside; a density needs at least two. Is the mask right?")
    points = np.stack([locs.x, locs.y], axis=1)
    asked = np.random.default_rng(0).permutation(len(points))[:_SAMPLED]
    tree = KDTree(points, balanced_tree=False, compact_nodes=False)
    return float(tree.query(points[asked], k=2)[0][:, 1].mean())


def typical_precision(locs: Localizations) -> float:
    """The median precision in nm, or that of repeats; NaN where neither is known."""
    if locs.precision is not None:
        return float(np.nanmedian(locs.precision))
    estimate = estimate_precision(locs) if locs.frame is not None else None
    return math.nan if estimate is None else estimate
