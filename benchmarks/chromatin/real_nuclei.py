"""Simulated nuclei of real size with published statistics, and what a definition of domains finds in them.

Domains are discs, heterochromatin at the lamina is a rim, and labels are localised with errors, blinking,
background and drift. `RealNucleus.exact` applies a definition to the same nucleus without these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d, map_coordinates
from scipy.spatial import KDTree

from mollifier.chromatin.domains import average, clusters, domains_from_clusters, typical
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.settings import DomainRule
from mollifier.chromatin.voronoi import point_density

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """A nucleus to simulate; lengths in nm.

    The diameter and the thickness of the rim are those of untreated nuclei in the code of Kant et al. (Nat.
    Commun. 15:4338, 2024; DMSO: 16,470 and 298 nm), the radii of domains those of ChromSTEM in A549 cells
    (median 74, quartiles 58 and 93, mean 80.6).

    Attributes
    ----------
    diameter, uneven
        Mean diameter, and amplitude of the waves of the edge relative to the radius.
    localizations
        Rows of the table.
    domains, radius, spread
        Number of domains inside, median radius, and standard deviation of its logarithm.
    gap
        Smallest distance between domains, and from domains to the rim.
    rim, rim_spread
        Mean thickness of the heterochromatin at the lamina, and its relative standard deviation along the
        edge.
    compaction
        Density of heterochromatin relative to that of euchromatin.
    precision, drift
        Standard error of a position, and amplitude of the drift that is left after correction.
    repeats
        Mean number of further localisations of a molecule, in consecutive frames.
    background
        Localisations outside any molecule, over the whole field, as a share.
    frames
        Of the recording.
    """

    diameter: float = 16_470.0
    uneven: float = 0.06
    localizations: int = 2_400_000
    domains: int = 2_357
    radius: float = 74.0
    spread: float = 0.35
    gap: float = 60.0
    rim: float = 298.0
    rim_spread: float = 0.2
    compaction: float = 5.0
    precision: float = 10.0
    drift: float = 5.0
    repeats: float = 0.3
    background: float = 0.01
    frames: int = 20_000

    @property
    def exact(self) -> Plan:
        """The same nucleus with as many localisations, each at the place of a molecule of its own."""
        return replace(self, precision=0.0, drift=0.0, repeats=0.0, background=0.0)


# Nuclei to simulate, by name. GSK: treated ones in the code of Kant et al., 1,823,614 localisations, 560
# clusters of a mean diameter of 135.56 nm. Untreated ones have 4,120 of 195.95 nm there, more than half of
# the nucleus, which leaves no room for discs apart; their diameter and rim are those of `Plan`.
PLANS = {
    "a549": Plan(),
    "gsk": Plan(diameter=15_841.0, localizations=1_823_614, domains=560, radius=63.8, rim=205.95),
}


def scaled(by: float, name: str = "a549") -> Plan:
    """A nucleus of another diameter, with as many localisations and domains to an area.

    Examples
    --------
    >>> small = scaled(0.5)
    >>> small.diameter, small.localizations, small.domains
    (8235.0, 600000, 546)
    """
    plan = PLANS[name]

    def inner(diameter: float) -> float:
        return (diameter - 2 * plan.rim) ** 2

    room = inner(by * plan.diameter) / inner(plan.diameter)
    return replace(
        plan, diameter=by * plan.diameter, localizations=round(by**2 * plan.localizations),
        domains=round(room * plan.domains),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Truth:
    """What was simulated; lengths in nm.

    Attributes
    ----------
    domains
        ``x``, ``y``, ``radius`` and ``depth``, the distance of its nearest point from the edge.
    radius
        Of a disc of the area of the nucleus.
    edge, rim_area
        Length of the edge, and area of the rim.
    mask, dense
        The nucleus, and its heterochromatin, on pixels of x and y.
    """

    domains: pd.DataFrame
    radius: float
    edge: float
    rim_area: float
    mask: xr.DataArray
    dense: xr.DataArray

    def discs(self, rule: DomainRule) -> Reading:
        """The domains inside, and the averages and the rim of a definition."""
        reach = rule.reach(self.radius)
        inside = self.domains[self.domains["depth"] > reach]
        places = inside[["x", "y"]].to_numpy(dtype=float)
        near = KDTree(places).query(places, k=rule.neighbours + 1)[0]
        area = np.pi * self.domains["radius"].to_numpy(dtype=float) ** 2
        rim = self.rim_area + float(area[(self.domains["depth"] <= reach).to_numpy()].sum())
        numbers = {
            "radius": average(inside["radius"].to_numpy(dtype=float), rule),
            "spacing": average(near[:, 1:].mean(axis=1), rule),
            "lamina_thickness": rim / self.edge,
            "lamina": rim / (self.rim_area + float(area.sum())),
        }
        return Reading(inside, numbers)


@dataclass(frozen=True, eq=False)
class Reading:
    """The domains inside (``x``, ``y`` and ``radius`` in nm) and the numbers of a definition, as of
    `mollifier.chromatin.domains.typical`.
    """

    domains: pd.DataFrame
    numbers: dict[str, float]


_PIXEL = 10.0
_WAVES = (2, 3, 4)


def simulated(plan: Plan, seed: int = 0) -> tuple[pd.DataFrame, Truth]:
    """Localisations with the columns of ThunderSTORM, and the truth.

    Labels are a Poisson process; each molecule appears in a random frame and a Poisson number of consecutive
    ones.
    """
    rng = np.random.default_rng(seed)
    place, depth, rim, edge = _outline(plan, rng)
    domains = _domains(plan, place, depth, rim, rng)
    tree = KDTree(domains[:, :2])
    i, j = np.nonzero(depth > 0)
    pixels = np.stack([place[i], place[j]], 1)
    distance, owner = tree.query(pixels, k=8)
    dense = (distance <= domains[owner, 2]).any(1) | (rim[i, j] >= depth[i, j])
    weight = np.where(dense, plan.compaction, 1.0)
    molecules = plan.localizations * (1 - plan.background) / (1 + plan.repeats)
    count = rng.poisson(molecules * weight / weight.sum())
    xy = np.repeat(pixels, count, axis=0) + rng.uniform(-0.5, 0.5, (count.sum(), 2)) * _PIXEL
    times = 1 + rng.poisson(plan.repeats, len(xy))
    owner = np.repeat(np.arange(len(xy)), times)
    later = np.arange(len(owner)) - np.repeat(np.cumsum(times) - times, times)
    frame = rng.integers(0, plan.frames, len(xy))[owner] + later
    error = plan.precision * np.exp(0.3 * rng.standard_normal(len(owner)) - 0.045)
    xy = xy[owner] + error[:, None] * rng.standard_normal((len(owner), 2))
    xy += plan.drift * np.stack([f(2 * np.pi * frame / plan.frames) for f in (np.sin, np.cos)], 1)
    false = rng.poisson(plan.background * plan.localizations)
    xy = np.vstack([xy, rng.uniform(place[0], place[-1], (false, 2))])
    frame = np.append(frame, rng.integers(0, plan.frames, false))
    error = np.append(error, np.full(false, plan.precision))
    order = np.argsort(frame, kind="stable")
    table = pd.DataFrame({
        "frame": frame[order] + 1, "x [nm]": xy[order, 0] - place[0], "y [nm]": xy[order, 1] - place[0],
        "intensity [photon]": np.round(1e5 / np.maximum(error[order], 1.0) ** 2, 1),
        "uncertainty_xy [nm]": error[order],
    })  # fmt: skip
    known = pd.DataFrame(domains, columns=["x", "y", "radius"])
    known["depth"] = _at(depth, place, domains[:, :2]) - known["radius"]
    known[["x", "y"]] -= place[0]
    area = _PIXEL**2 * float((depth > 0).sum())
    rim_area = _PIXEL**2 * float(((depth > 0) & (rim >= depth)).sum())
    whole = xr.DataArray(depth > 0, {"x": place - place[0], "y": place - place[0]}, ("x", "y"))
    full = np.zeros(whole.shape)
    full[i, j] = dense
    return table.round(2), Truth(
        known, float(np.sqrt(area / np.pi)), edge, rim_area, whole, whole.copy(data=full)
    )


@dataclass(eq=False)
class RealNucleus:
    """A nucleus by plan and seed, simulated at its first use."""

    plan: Plan
    seed: int

    @cached_property
    def measured(self) -> tuple[pd.DataFrame, Truth]:
        """Localisations and truth, as of `simulated`."""
        return simulated(self.plan, self.seed)

    def exact(self, rule: DomainRule) -> Reading:
        """What a definition finds without errors of localisation, with the outline and the phases known."""
        locs, truth = self._exact
        density = self._density if rule.select == "voronoi" else None
        groups = clusters(locs, truth.mask, truth.dense, rule, density)
        found = domains_from_clusters(groups, truth.mask, rule)
        return Reading(found[found["place"] == "interior"], typical(found, rule, truth.mask))

    @cached_property
    def _exact(self) -> tuple[Localizations, Truth]:
        table, truth = simulated(self.plan.exact, self.seed)
        x, y = (table[f"{c} [nm]"].to_numpy(dtype=float) for c in ("x", "y"))
        return Localizations(x, y), truth

    @cached_property
    def _density(self) -> Array:
        return point_density(self._exact[0].x, self._exact[0].y)


def _outline(plan: Plan, rng: np.random.Generator) -> tuple[Array, Array, Array, float]:
    """Pixel centres along each axis; depth below the edge and thickness of the rim; length of the edge."""
    waves = [(k, *(plan.uneven / k * rng.standard_normal(2)).tolist()) for k in _WAVES]
    half = 0.62 * plan.diameter
    place = np.arange(-half, half, _PIXEL)
    angle = np.linspace(0, 2 * np.pi, 3_601)
    along = plan.diameter / 2 * (1 + sum(a * np.cos(k * angle) + b * np.sin(k * angle) for k, a, b in waves))
    x, y = place[:, None], place
    here = np.arctan2(y, x) % (2 * np.pi)
    inside = np.hypot(x, y) < np.interp(here, angle, along)
    depth = np.asarray(distance_transform_edt(inside)) * _PIXEL
    smooth = gaussian_filter1d(rng.standard_normal(angle.size - 1), 60, mode="wrap")
    thickness = plan.rim * (1 + plan.rim_spread * smooth / smooth.std())
    rim = np.interp(here, angle, np.append(thickness, thickness[0]))
    edge = float(np.hypot(np.diff(along * np.cos(angle)), np.diff(along * np.sin(angle))).sum())
    return place, depth, np.maximum(rim, 50.0), edge


def _domains(plan: Plan, place: Array, depth: Array, rim: Array, rng: np.random.Generator) -> Array:
    """Centres and radii, (domains, 3), the largest placed first."""
    radii = np.sort(plan.radius * np.exp(plan.spread * rng.standard_normal(plan.domains)))[::-1]
    room = depth - rim
    found = np.zeros((plan.domains, 3))
    for n, r in enumerate(radii):
        while True:
            many = rng.uniform(place[0], place[-1], (64, 2))
            free = _at(room, place, many) >= r + plan.gap
            for x, y in many[free]:
                others = found[:n]
                if (np.hypot(others[:, 0] - x, others[:, 1] - y) >= others[:, 2] + r + plan.gap).all():
                    found[n] = x, y, r
                    break
            if found[n, 2]:
                break
    return found


def _at(values: Array, place: Array, points: Array) -> Array:
    return np.asarray(map_coordinates(values, (points - place[0]).T / _PIXEL, order=1))
