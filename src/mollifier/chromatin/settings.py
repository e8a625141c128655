"""Settings of an analysis of nuclei."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mollifier.chromatin.assumptions import Assumptions
from mollifier.chromatin.definitions import DomainRule
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.images import SATURATED
from mollifier.chromatin.localizations import SPAN
from mollifier.chromatin.mask import NucleusDetection
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.ranges import named, require
from mollifier.errors import ConfigurationError

# What a preview sets: counts on a wide kernel as they are, domains of the map, few test functions.
PREVIEW = {"merge": False, "width": 100.0, "domains": "map", "quick": True}


@dataclass(frozen=True)
class StudySettings:
    """Settings of an analysis; lengths in nm, times in s.

    Attributes
    ----------
    unit, pixel_size, columns, span
        Of localisation tables, as for `read_localizations`.
    channel
        Of an image, its number from 0; of a table, the value in its column of channels.
    euchromatin_channel
        The channel of a mark of euchromatin beside one of heterochromatin (``channel``): the levels are then
        those of the two (`mollifier.chromatin.signals`).
    z_step, frame_interval, axes, saturated
        Of images, as for `read_image`. ``frame_interval`` is also the time from file to file of a time-lapse
        and from frame to frame of ``windows``.
    labels, polygon, detection
        Sources of nuclei: label images (one for each file or one for all), a polygon for all files, or else
        the parameters of their detection in the data.
    time_lapse
        The files are frames of one field of view, in their order; otherwise each is one field of view.
    method, pixel, width, windows, merge
        Of the map of localisations, as for `density`.
    psf_sd
        Standard deviation of the blur of an image; it sets the reported resolution.
    thresholds, levels
        Levels of the three phases in the signal. With levels "own" they are quantiles of each nucleus, which
        makes all nuclei look alike; with "control" they are those of the control nuclei, relative to the
        mean; with "energy" each nucleus has those at which it obeys its free energy
        (`mollifier.chromatin.energy_levels`).
    rule, domains
        Definition of a domain, ours or one of `mollifier.chromatin.definitions.DEFINITIONS`; "clusters" of
        localisations or regions of the "map" ("auto": clusters for localisations at one time).
    model
        Free energy, diffusion and acetylation, which are assumed.
    follow, bleaching
        Of time-lapse images: bring a nucleus that moves, turns and deforms to rest, with its labels or
        outlines linked from frame to frame; and divide by the decay of its signal.
    treatment
        Time in s of a treatment; the rate then changes once, by one factor (`infer_rate`).
    over, prior, quick
        As for `infer_rate`.
    outline
        "given", or "fitted": moved to where the signal falls (`mollifier.chromatin.outline`).
    margin
        Distance from the edge of the mask at which the map of rates begins; by default the resolution, or 0
        for a fitted outline. A mask that reaches beyond the nucleus makes the map wrong; one that is slightly
        too small does not.
    assume
        How well parameters, levels and outline are known; the error of the rate includes it.
    groups, control, replicates
        File name -> group, the group that others are compared with, and file name -> replicate.
    """

    unit: str | None = None
    pixel_size: float | None = None
    columns: Mapping[str, str] | tuple[str, ...] | None = None
    span: tuple[float, float] = SPAN
    z_step: float | None = None
    frame_interval: float | None = None
    axes: str | None = None
    channel: int | str | None = None
    euchromatin_channel: int | str | None = None
    saturated: float = SATURATED
    labels: tuple[str, ...] = ()
    polygon: str | None = None
    detection: NucleusDetection = field(default_factory=NucleusDetection)
    time_lapse: bool = False
    method: Literal["kernel", "voronoi"] = "kernel"
    pixel: float | None = None
    width: float | None = None
    windows: int = 1
    merge: bool = True
    psf_sd: float | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    levels: Literal["own", "control", "energy"] = "own"
    rule: DomainRule = field(default_factory=DomainRule)
    domains: Literal["auto", "clusters", "map"] = "auto"
    model: ChromatinModel = field(default_factory=ChromatinModel)
    follow: bool = False
    bleaching: bool = False
    treatment: float | None = None
    over: tuple[str, ...] = ("x", "y")
    prior: str = "h2"
    quick: bool = False
    outline: Literal["given", "fitted"] = "given"
    margin: float | None = None
    assume: Assumptions = field(default_factory=Assumptions)
    groups: Mapping[str, str] | None = None
    control: str | None = None
    replicates: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        require(named("", self, "z_step", "frame_interval", "pixel", "width"), above=True)
        require(named("", self, "psf_sd", "margin"))
        require(named("", self, "saturated"), high=1.0, above=True)
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
