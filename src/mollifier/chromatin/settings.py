"""Settings of an analysis of nuclei: what a domain is, how well is known what is assumed, and all others.

Published definitions of domains are read from the public code of their authors, in the state of November
2026: ShenoyLab/STORM_Analysis (Kant et al., Nat. Commun. 15:4338, 2024) and LakGroup/O-SNAP (Kim et al.,
bioRxiv 2025.07.18.665612).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.images import AXES_EXPECTED, SATURATED, are_axes
from mollifier.chromatin.localizations import SPAN
from mollifier.chromatin.mask import NucleusDetection
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.ranges import named, require
from mollifier.errors import ConfigurationError, check_known

Average = Literal["median", "mean", "geometric"]


@dataclass(frozen=True)
class DomainRule:
    """What counts as a domain, and as one at the lamina.

    Raises `ConfigurationError` if a number is out of range.
    """

    #: Of the definition.
    name: str = "ours"
    source: str = "this program"
    #: Where heterochromatin is: where the "phase" map of phi_h reaches ``threshold``, or at localisations
    #: whose "voronoi" density reaches the quantile ``threshold``.
    select: Literal["phase", "voronoi"] = "phase"
    #: Volume fraction of heterochromatin, or quantile of the Voronoi density of all localisations, pooled
    #: over the nuclei of a study.
    threshold: float = 0.5
    #: The Voronoi density in 1/nm^2 at that quantile, where it is known; by default from the nucleus.
    level: float | None = None
    #: Of DBSCAN on localisations: reach in nm, neighbours that make a core point, and points that make a
    #: domain.
    eps: float = 30.0
    min_points: int = 3
    least: int = 35
    #: The spacing of a domain is the mean distance from its centre to this many nearest centres.
    neighbours: int = 1
    #: A domain whose nearest part lies within the larger of this distance in nm and this share of the radius
    #: of the nucleus from its edge is lamina-associated. It counts as a part of the rim of heterochromatin,
    #: not as a domain inside. Use at least the resolution of the map for images.
    lamina: float = 100.0
    lamina_share: float = 0.0
    average: Average = "median"  #: Average of radius and of spacing over the domains inside.
    #: If above 0, the rate from geometry is the log-normal mean of the rates of the domains inside, without
    #: rates above it; else the rate at the average radius and spacing.
    largest_rate: float = 0.0

    def __post_init__(self) -> None:
        require(named("domain.", self, "threshold"), high=1.0, above=True)
        require(named("domain.", self, "eps"), above=True)
        require(named("domain.", self, "min_points", "least", "neighbours"), low=1)
        require(named("domain.", self, "lamina", "lamina_share", "largest_rate"))
        check_known(self.average, get_args(Average), ConfigurationError, "average='{}' was given.")

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


# A level's name, its standard deviation, the thresholds with it lower and higher, and the standard deviations
# from one to the other; None for a lower one that is taken for the mirror image.
Variation = tuple[str, float, Thresholds | None, Thresholds, float]
# Largest part of the distance between two levels by which one is moved; a larger error is extrapolated.
_PART = 0.3


@dataclass(frozen=True)
class Assumptions:
    """Standard deviations of independent priors; 0 leaves a quantity out.

    No image shows these quantities. The defaults are choices, with what they follow; a calibration replaces
    them. Raises `ConfigurationError` if one is negative or not finite.

    >>> Assumptions(diffusion=0.1).diffusion
    0.1
    """

    #: Of the logarithms of the parameters of the free energy: two standard deviations are a factor of 1.5. A
    #: parameter that is zero is not varied.
    well: float = 0.2
    mixing: float = 0.2
    packed: float = 0.05  #: By definition of the fractions, the packing is close to one.
    interface: float = 0.2
    adhesion: float = 0.2
    reach: float = 0.2
    #: Of the logarithms of both: two standard deviations are a factor of 1.8. Published rates of marks differ
    #: by more from site to site (Zee et al., J. Biol. Chem. 285:3341, 2010; Barth and Imhof, Trends Biochem.
    #: Sci. 35:618, 2010), but a nucleus averages over sites.
    diffusion: float = 0.3
    acetylation: float = 0.3
    #: Of a given level, relative to its height above the background: the spread that
    #: `benchmarks/chromatin/cohorts.py` gives the levels of cells.
    levels: float = 0.1
    quantiles: float = 0.05  #: Of the quantile of a level that was not given.
    water: float = 0.05  #: Of the volume fraction of nucleoplasm within a phase.
    #: Of the relative change of a nucleus's total signal, other than by fading, within ``1/Gamma_ac``: it
    #: limits how well fading is known. In ten nuclei of `python -m benchmarks chromatin --dynamics` (seeds 20
    #: to 29) it is 0.004 before the treatment.
    total: float = 0.01
    #: Of the place of a frame after registration, in pixels (`python -m benchmarks chromatin --dynamics`).
    position: float = 0.1
    #: Of the position of the outline, relative to the resolution: the width of an edge is the resolution, and
    #: an eye or a threshold finds its middle to about a quarter of that.
    outline: float = 0.25

    def __post_init__(self) -> None:
        require(named("assume.", self, *asdict(self)))

    def models(self, model: ChromatinModel) -> Iterator[tuple[str, float, ChromatinModel, ChromatinModel]]:
        """Each parameter's name, standard deviation, and the model with it lower and higher by that."""
        energy = asdict(model.energy)
        if not model.energy.adhesion:
            del energy["reach"]
        for name, value in {**energy, "diffusion": model.diffusion, "acetylation": model.acetylation}.items():
            sd = getattr(self, name)
            if sd and value:
                low, high = (_with(model, name, value * math.exp(s * sd)) for s in (-1, 1))
                yield name, sd, low, high


_LEVELS = ("background", "euchromatin", "heterochromatin")


@dataclass(frozen=True, eq=False)
class Levels:
    """Levels of the phases as they were given; levels that are fitted have their own errors."""

    thresholds: Thresholds  #: As given; by default levels are quantiles.

    def at(self, model: ChromatinModel) -> Thresholds | None:
        """The levels that follow another model; None for those that do not."""
        return None

    def variations(self, assumed: Assumptions, phi: xr.Dataset) -> Iterator[Variation]:
        """Each level lower and higher, for fractions with their ``signal``."""
        found, signal = Thresholds.of(phi), phi["signal"]
        ground, e, h = (float(getattr(found, n) or 0.0) for n in _LEVELS)
        heights = {"background": e - ground if ground else 0.0, "euchromatin": e - ground}
        for name, level in zip(_LEVELS, (ground, e, h), strict=True):
            step = sd = assumed.levels * heights.get(name, h - ground)
            shown = assumed.levels
            if name != "background" and getattr(self.thresholds, name) is None:
                q = getattr(found, f"{name}_quantile")
                places = np.clip([q - assumed.quantiles, q + assumed.quantiles], 0.0, 1.0)
                step = sd = float(np.ptp(np.nanquantile(signal.values, places))) / 2
                shown = assumed.quantiles
            step = min(step, _PART * (h - e), _PART * (e - ground))
            if step > 0:
                ends: list[dict[str, Any]] = [{name: level + s * step} for s in (-1, 1)]
                low, high = (replace(found, **end) for end in ends)
                yield name, shown, low, high, 2 * step / sd
        for name in ("euchromatin_water", "heterochromatin_water"):
            value = getattr(found, name)
            step, sd = min(assumed.water, 0.99 - value), assumed.water
            if step > 0:
                yield name, sd, None, replace(found, **{name: value + step}), 2 * step / sd


def _with(model: ChromatinModel, name: str, value: Any) -> ChromatinModel:
    if hasattr(model.energy, name):
        return replace(model, energy=replace(model.energy, **{name: value}))
    return replace(model, **{name: value})


# What a preview sets: counts on a wide kernel as they are, domains of the map, few test functions.
PREVIEW = {"merge": False, "width": 100.0, "domains": "map", "quick": True}


@dataclass(frozen=True)
class StudySettings:
    """Settings of an analysis; lengths in nm, times in s."""

    #: Of localisation tables, as for `read_localizations`.
    unit: str | None = None
    pixel_size: float | None = None
    columns: Mapping[str, str] | tuple[str, ...] | None = None
    span: tuple[float, float] = SPAN
    #: Of images, as for `read_image`, as is ``saturated``. ``frame_interval`` is also the time from file to
    #: file of a time-lapse and from frame to frame of ``windows``.
    z_step: float | None = None
    frame_interval: float | None = None
    axes: str | None = None
    #: Of an image, its number from 0; of a table, the value in its column of channels.
    channel: int | str | None = None
    #: The channel of a mark of euchromatin beside one of heterochromatin (``channel``): the levels are then
    #: those of the two (`mollifier.chromatin.signals`).
    euchromatin_channel: int | str | None = None
    saturated: float = SATURATED
    #: Sources of nuclei: label images (one for each file or one for all), a polygon for all files, or else
    #: the parameters of their detection in the data.
    labels: tuple[str, ...] = ()
    polygon: str | None = None
    detection: NucleusDetection = field(default_factory=NucleusDetection)
    #: The files are frames of one field of view, in their order; otherwise each is one field of view.
    time_lapse: bool = False
    #: Of the map of localisations, as for `density`.
    pixel: float | None = None
    width: float | None = None
    windows: int = 1
    merge: bool = True
    #: Standard deviation of the blur of an image; it sets the reported resolution.
    psf_sd: float | None = None
    #: Levels of the three phases in the signal. Those that are not given are, with levels "own", quantiles
    #: of each nucleus; with "control", those of the control nuclei relative to the mean signal of a nucleus;
    #: with "energy", those at which each nucleus obeys its free energy (`mollifier.chromatin.energy_levels`).
    thresholds: Thresholds = field(default_factory=Thresholds)
    levels: Literal["own", "control", "energy"] = "own"
    #: Definition of a domain, ours or one of `mollifier.chromatin.settings.DEFINITIONS`; "clusters" of
    #: localisations or regions of the "map" ("auto": clusters for localisations at one time).
    rule: DomainRule = field(default_factory=DomainRule)
    domains: Literal["auto", "clusters", "map"] = "auto"
    #: Free energy, diffusion and acetylation, which are assumed.
    model: ChromatinModel = field(default_factory=ChromatinModel)
    #: Of time-lapse images: bring a nucleus that moves, turns and deforms to rest, with its labels or
    #: outlines linked from frame to frame; and divide by the decay of its signal.
    follow: bool = False
    bleaching: bool = False
    #: Time in s of a treatment; the rate then changes once, by one factor (`infer_rate`).
    treatment: float | None = None
    #: As for `infer_rate`.
    over: tuple[str, ...] = ("x", "y")
    prior: str = "h2"
    quick: bool = False
    #: "given", or "fitted": moved to where the signal falls (`mollifier.chromatin.outline`).
    outline: Literal["given", "fitted"] = "given"
    #: Distance from the edge of the mask at which the map of rates begins; by default the resolution, or 0
    #: for a fitted outline. A mask that reaches beyond the nucleus makes the map wrong; one that is slightly
    #: too small does not.
    margin: float | None = None
    #: How well parameters, levels and outline are known; the error of the rate includes it.
    assume: Assumptions = field(default_factory=Assumptions)
    #: File name -> group, the group that others are compared with, and file name -> replicate.
    groups: Mapping[str, str] | None = None
    control: str | None = None
    replicates: Mapping[str, str] | None = None

    @property
    def comparable(self) -> bool:
        """Whether amounts of heterochromatin and mean rates of different nuclei can be compared.

        Levels by quantiles or by the mean signal of a nucleus take away how much heterochromatin it has.
        """
        return self.levels == "energy" or self.euchromatin_channel is not None or self.thresholds.given

    def __post_init__(self) -> None:
        require(named("", self, "pixel_size", "z_step", "frame_interval"), above=True)
        require(named("", self, "pixel", "width"), above=True)
        if self.axes is not None and not are_axes(self.axes):
            raise ConfigurationError(f"--axes {self.axes} (axes) was given; {AXES_EXPECTED} were expected.")
        require(named("", self, "psf_sd", "margin"))
        require(named("", self, "saturated"), high=1.0, above=True)
        if self.windows > 1 and self.time_lapse:
            raise ConfigurationError(
                f"--windows {self.windows} was given with --time-lapse; one table with frames, or a table "
                "for each time, was expected."
            )
        if self.treatment is not None and not math.isfinite(self.treatment):
            raise ConfigurationError(f"treatment={self.treatment} was given; a time in s was expected.")
        if self.rule.select == "voronoi" and self.domains != "clusters":
            raise ConfigurationError(
                f"The definition {self.rule.name} was given with domains '{self.domains}'; it is one of "
                "'clusters' of localisations."
            )
        if self.euchromatin_channel is not None:
            if self.channel is None or str(self.channel) == str(self.euchromatin_channel):
                raise ConfigurationError(
                    f"--euchromatin-channel {self.euchromatin_channel} was given with --channel "
                    f"{self.channel}; another channel, of a mark of heterochromatin, was expected."
                )
            if self.levels != "own" or self.follow or self.bleaching or self.outline != "given":
                raise ConfigurationError(
                    "--euchromatin-channel was given with --levels control or energy, --follow, --bleaching "
                    "or --outline fitted, which read one channel; leave them out."
                )
        if self.control is not None and self.groups is None:
            raise ConfigurationError(
                f"The control group '{self.control}' was given without groups; a table was expected, as "
                "--groups groups.csv."
            )
