"""How well what a map of rates assumes is known: a prior for each parameter, level and outline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.ranges import named, require

# A level's name, its standard deviation, the thresholds with it lower and higher, and the standard deviations
# from one to the other; None for a lower one that is taken for the mirror image.
Variation = tuple[str, float, Thresholds | None, Thresholds, float]
# Largest part of the distance between two levels by which one is moved; a larger error is extrapolated.
_PART = 0.3


@dataclass(frozen=True)
class Assumptions:
    """Standard deviations of independent priors; 0 leaves a quantity out.

    No image shows these quantities. The defaults are choices, with what they follow; a calibration replaces
    them.

    Attributes
    ----------
    well, mixing, interface, adhesion, reach
        Of the logarithm of a parameter of the free energy: two standard deviations are a factor of 1.5. A
        parameter that is zero is not varied.
    packed
        Of the logarithm of the packing: by definition of the fractions it is close to one.
    diffusion, acetylation
        Of their logarithms: two standard deviations are a factor of 1.8. Published rates of marks differ by
        more from site to site (Zee et al., J. Biol. Chem. 285:3341, 2010; Barth and Imhof, Trends Biochem.
        Sci. 35:618, 2010), but a nucleus averages over sites.
    levels
        Of a given level, relative to its height above the background: the spread that
        `benchmarks/chromatin/cohorts.py` gives the levels of cells.
    quantiles
        Of the quantile of a level that was not given.
    water
        Of the volume fraction of nucleoplasm within a phase.
    total
        Of the relative change of a nucleus's total signal, other than by fading, within ``1/Gamma_ac``: it
        limits how well fading is known. In ten nuclei of `python -m benchmarks chromatin --dynamics` (seeds
        20 to 29) it is 0.004 before the treatment.
    position
        Of the place of a frame after registration, in pixels (`python -m benchmarks chromatin --dynamics`).
    outline
        Of the position of the outline, relative to the resolution: the width of an edge is the resolution,
        and an eye or a threshold finds its middle to about a quarter of that.

    Raises
    ------
    ConfigurationError
        If one is negative or not finite.

    Examples
    --------
    >>> Assumptions(diffusion=0.1).diffusion
    0.1
    """

    well: float = 0.2
    mixing: float = 0.2
    packed: float = 0.05
    interface: float = 0.2
    adhesion: float = 0.2
    reach: float = 0.2
    diffusion: float = 0.3
    acetylation: float = 0.3
    levels: float = 0.1
    quantiles: float = 0.05
    water: float = 0.05
    total: float = 0.01
    position: float = 0.1
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

    def thresholds(self, chosen: Thresholds, found: Thresholds, signal: xr.DataArray) -> Iterator[Variation]:
        """Each level lower and higher; levels as given and as numbers, for a signal in the nucleus."""
        ground, e, h = (float(getattr(found, n) or 0.0) for n in _LEVELS)
        heights = {"background": e - ground if ground else 0.0, "euchromatin": e - ground}
        for name, level in zip(_LEVELS, (ground, e, h), strict=True):
            step = sd = self.levels * heights.get(name, h - ground)
            shown = self.levels
            if name != "background" and getattr(chosen, name) is None:
                q = getattr(found, f"{name}_quantile")
                places = np.clip([q - self.quantiles, q + self.quantiles], 0.0, 1.0)
                sd, shown = float(np.ptp(np.nanquantile(signal.values, places))) / 2, self.quantiles
                step = sd
            step = min(step, _PART * (h - e), _PART * (e - ground))
            if step > 0:
                ends: list[dict[str, Any]] = [{name: level + s * step} for s in (-1, 1)]
                low, high = (replace(found, **end) for end in ends)
                yield name, shown, low, high, 2 * step / sd
        for name in ("euchromatin_water", "heterochromatin_water"):
            value = getattr(found, name)
            step = min(self.water, 0.99 - value)
            if step > 0:
                yield name, self.water, None, replace(found, **{name: value + step}), 2 * step / self.water


_LEVELS = ("background", "euchromatin", "heterochromatin")


def _with(model: ChromatinModel, name: str, value: Any) -> ChromatinModel:
    if hasattr(model.energy, name):
        return replace(model, energy=replace(model.energy, **{name: value}))
    return replace(model, **{name: value})
