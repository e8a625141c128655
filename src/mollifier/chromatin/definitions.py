"""What counts as a domain of heterochromatin, and as heterochromatin at the lamina: ours and published ones.

Published definitions are read from the public code of their authors, in the state of November 2026:
ShenoyLab/STORM_Analysis (Kant et al., Nat. Commun. 15:4338, 2024) and LakGroup/O-SNAP (Kim et al., bioRxiv
2025.07.18.665612).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mollifier.chromatin.ranges import named, require
from mollifier.errors import ConfigurationError, did_you_mean

Average = Literal["median", "mean", "geometric"]


@dataclass(frozen=True)
class DomainRule:
    """What counts as a domain, and as one at the lamina.

    Attributes
    ----------
    name, source
        Of the definition.
    select
        Where heterochromatin is: where the "phase" map of phi_h reaches ``threshold``, or at localisations
        whose "voronoi" density reaches the quantile ``threshold``.
    threshold
        Volume fraction of heterochromatin, or quantile of the Voronoi density of all localisations, pooled
        over the nuclei of a study.
    level
        The Voronoi density in 1/nm^2 at that quantile, where it is known; by default from the nucleus.
    eps, min_points, least
        Of DBSCAN on localisations: reach in nm, neighbours that make a core point, and points that make a
        domain.
    neighbours
        The spacing of a domain is the mean distance from its centre to this many nearest centres.
    lamina, lamina_share
        A domain whose nearest part lies within the larger of this distance in nm and this share of the radius
        of the nucleus from its edge is lamina-associated. It counts as a part of the rim of heterochromatin,
        not as a domain inside. Use at least the resolution of the map for images.
    average
        Average of radius and of spacing over the domains inside.
    largest_rate
        If above 0, the rate from geometry is the log-normal mean of the rates of the domains inside, without
        rates above it; else the rate at the average radius and spacing.

    Raises
    ------
    ConfigurationError
        If a number is out of range.
    """

    name: str = "ours"
    source: str = "this program"
    select: Literal["phase", "voronoi"] = "phase"
    threshold: float = 0.5
    level: float | None = None
    eps: float = 30.0
    min_points: int = 3
    least: int = 35
    neighbours: int = 1
    lamina: float = 100.0
    lamina_share: float = 0.0
    average: Average = "median"
    largest_rate: float = 0.0

    def __post_init__(self) -> None:
        require(named("domain.", self, "threshold"), high=1.0, above=True)
        require(named("domain.", self, "eps"), above=True)
        require(named("domain.", self, "min_points", "least", "neighbours"), low=1)
        require(named("domain.", self, "lamina", "lamina_share", "largest_rate"))
        if self.average not in get_args(Average):
            raise ConfigurationError(
                f"average='{self.average}' was given.{did_you_mean(self.average, get_args(Average))}"
            )

    def reach(self, nucleus: float) -> float:
        """Distance from the edge within which a domain is lamina-associated, for a nucleus of this radius."""
        return max(self.lamina, self.lamina_share * nucleus)

    def lines(self, clusters: bool = True) -> dict[str, str]:
        """The definition for a reader, what is defined -> how; of clusters, or of regions of a map."""
        phase = f"phi_h is at least {self.threshold:g}"
        quantile = f"{100 * self.threshold:g} % quantile, pooled over the nuclei"
        voronoi = f"the Voronoi density is above its {quantile}"
        domain = f"DBSCAN, {self.eps:g} nm and {self.min_points} points; {self.least} points or more"
        of_radius = f"{self.lamina_share:g} of the radius of the nucleus"
        lamina = of_radius if self.lamina_share else f"{self.lamina:.0f} nm"
        near = "centre" if self.neighbours == 1 else f"{self.neighbours} centres"
        rates = (
            "log-normal means of (D/d^2)/((d/R)^2 - 1) and of D/d^2 over the domains inside, D = 1 um^2/s, "
            f"without rates above {self.largest_rate:g} 1/s"
        )
        return {
            "definition": f"{self.name} ({self.source})",
            "heterochromatin": phase if self.select == "phase" else voronoi,
            "domain": domain if clusters else "connected pixels, three or more",
            "radius R": f"of a disc of the area of the domain; {self.average} of the domains inside",
            "spacing d": f"mean distance to the nearest {near} inside; {self.average} of the domains inside",
            "at the lamina": f"within {lamina} of the edge: part of the rim, not counted as a domain inside",
            "rate": f"ratio of the {rates}" if self.largest_rate else "1/((d/R)^2 - 1) at this R and d",
        }


DEFINITIONS = {
    "ours": DomainRule(),
    "kant2024": DomainRule(
        name="kant2024",
        source="Kant et al., Nat. Commun. 15:4338 (2024); ShenoyLab/STORM_Analysis",
        select="voronoi",
        threshold=0.75,
        neighbours=5,
        lamina=0.0,
        lamina_share=0.05,
        average="mean",
        largest_rate=20.0,
    ),
    "o-snap": DomainRule(
        name="o-snap",
        source="Kim et al., bioRxiv 2025.07.18.665612; LakGroup/O-SNAP",
        select="voronoi",
        threshold=0.70,
        eps=20.0,
        neighbours=5,
        lamina=0.0,
        lamina_share=0.05,
        average="geometric",
    ),
}


def definition(name: str) -> DomainRule:
    """The definition of this name.

    Raises
    ------
    ConfigurationError
        If there is none.

    Examples
    --------
    >>> definition("kant2024").neighbours, definition("ours").neighbours
    (5, 1)
    """
    if name not in DEFINITIONS:
        raise ConfigurationError(f"There is no definition '{name}'.{did_you_mean(name, DEFINITIONS)}")
    return DEFINITIONS[name]
