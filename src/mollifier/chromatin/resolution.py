"""What limits the detail of a map of localisations: their precision, their spacing and the kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.repeats import estimate_precision
from mollifier.errors import DataError

Array = NDArray[np.float64]
# Full width at half maximum of a Gaussian, in standard deviations.
FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
# Molecules whose neighbours are looked for, and strips across the field in which they lie.
_SAMPLED, _STRIPS = 100_000, 20


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
    kernel: float  #: Full width at half maximum of the kernel; 0 for Voronoi cells.

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
    asked = points
    if len(locs) > _SAMPLED:
        points, asked = _strips(points)
        asked = asked[np.random.default_rng(0).permutation(len(asked))[:_SAMPLED]]
    return float(KDTree(points, balanced_tree=False, compact_nodes=False).query(asked, k=2)[0][:, 1].mean())


def _strips(points: Array) -> tuple[Array, Array]:
    """The points in even strips that hold about twice `_SAMPLED`, and those far from a strip's edge."""
    spans = np.ptp(points, axis=0)
    place = (points[:, 0] - points[:, 0].min()) / max(spans[0], 1e-300) * _STRIPS % 1.0
    halo = 10 * np.sqrt(spans.prod() / len(points)) / max(spans[0], 1e-300) * _STRIPS
    share = 2 * _SAMPLED / len(points)
    if share + 2 * halo >= 1:
        return points, points
    near = place < share + 2 * halo
    return points[near], points[near & (place > halo) & (place < halo + share)]


def typical_precision(locs: Localizations, given: float | None) -> float:
    if given is not None:
        return given
    if locs.precision is not None:
        return float(np.nanmedian(locs.precision))
    estimate = estimate_precision(locs) if locs.frame is not None else None
    return math.nan if estimate is None else estimate
