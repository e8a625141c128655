"""Volume fractions from a signal between the levels of pure phases, with exact standard errors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr

from mollifier.chromatin.ranges import named, require

Array = NDArray[np.float64]
# Background of a signal that has none.
NO_BACKGROUND = -math.inf
FRACTIONS = ("phi_n", "phi_e", "phi_h", "phi_d")


@dataclass(frozen=True)
class Thresholds:
    """Levels of the three phases in the signal; they are assumptions, and part of the result.

    A signal between two levels is a mixture of the two phases with these levels, in the proportion of the
    lever rule; above the last it is heterochromatin. One signal does not determine three fractions without
    such a rule.

    Attributes
    ----------
    background
        Level of nucleoplasm alone, in the units of the signal; by default 0 for a density and the quantile
        ``background_quantile`` of the whole plane for an image.
    euchromatin, heterochromatin
        Levels of these phases; by default quantiles of the signal inside the nucleus, over all frames.
    background_quantile, euchromatin_quantile, heterochromatin_quantile
        Quantiles for levels that are not given.
    euchromatin_water, heterochromatin_water
        Volume fraction of nucleoplasm within these phases; with 0, fractions are relative to the packing of
        each phase.
    floor
        Smallest standard error of a fraction, for errors of the levels.
    two_phases
        Treat the signal as a mixture of euchromatin and heterochromatin alone, each with its nucleoplasm. The
        line between their levels is extrapolated, so that noise is not clipped and causes no bias.

    Raises
    ------
    ConfigurationError
        If a quantile or a volume fraction does not lie between 0 and 1.

    Examples
    --------
    >>> Thresholds(heterochromatin_quantile=0.8).heterochromatin_quantile
    0.8
    """

    background: float | None = None
    euchromatin: float | None = None
    heterochromatin: float | None = None
    background_quantile: float = 0.05
    euchromatin_quantile: float = 0.3
    heterochromatin_quantile: float = 0.9
    euchromatin_water: float = 0.0
    heterochromatin_water: float = 0.0
    floor: float = 0.01
    two_phases: bool = False

    def __post_init__(self) -> None:
        shares = [n for n in asdict(self) if n.endswith(("quantile", "water")) or n == "floor"]
        require(named("levels.", self, *shares), high=1.0)

    @classmethod
    def of(cls, result: xr.Dataset) -> Self:
        """The levels behind a result of `fractions`, to apply them to another cell."""
        return cls(**{n: result.attrs[f"threshold_{n}"] for n in cls.__dataclass_fields__})


def mixture(value: Array, sd: Array, levels: Thresholds) -> dict[str, tuple[Array, Array]]:
    """Fractions at each value of the signal, and their standard deviations for normal errors of the signal.

    Arrays of any one shape; a pair (fraction, standard deviation) for each name in ``FRACTIONS``.
    """
    knots, rule = _rule(levels)
    at = mixed(value, levels)
    if levels.two_phases:
        error = sd / (knots[2] - knots[1])
        return {n: (at[n], np.hypot((h[2] - h[1]) * error, levels.floor)) for n, h in rule.items()}
    moments = _moments(value, np.maximum(sd, np.finfo(float).tiny), knots)
    variance = {n: _variance(value, sd, knots, h, moments) for n, h in rule.items()}
    return {n: (at[n], np.sqrt(variance[n] + levels.floor**2)) for n in FRACTIONS}


def mixed(value: Array, levels: Thresholds) -> dict[str, Array]:
    """Fractions at each value of the signal, for each name in ``FRACTIONS``."""
    knots, rule = _rule(levels)
    if levels.two_phases:
        share = (value - knots[1]) / (knots[2] - knots[1])
        return {n: h[1] + (h[2] - h[1]) * share for n, h in rule.items()}
    return {n: np.interp(value, knots, h) for n, h in rule.items()}


def _rule(levels: Thresholds) -> tuple[Array, dict[str, Array]]:
    """The three levels, and each fraction at them."""
    knots = np.array([levels.background, levels.euchromatin, levels.heterochromatin], dtype=np.float64)
    e, h = 1 - levels.euchromatin_water, 1 - levels.heterochromatin_water
    rows = ([1, 1 - e, 1 - h], [0, e, 0], [0, 0, h], [0, -e, h])
    return knots, {n: np.array(r, dtype=np.float64) for n, r in zip(FRACTIONS, rows, strict=True)}


def _moments(value: Array, sd: Array, knots: Array) -> list[tuple[Array, Array, Array]]:
    """Integrals of 1, z and z^2 over a standard normal error z, for each linear piece of the rule."""
    # Beyond 30 standard deviations the integrals vanish; clipping keeps z^2 finite.
    ends = [np.full_like(value, -30.0), *(np.clip((k - value) / sd, -30, 30) for k in knots)]
    ends.append(np.full_like(value, 30.0))
    below = [ndtr(z) for z in ends]
    bell = [np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) for z in ends]
    parts = []
    for k in range(len(ends) - 1):
        mass = below[k + 1] - below[k]
        square = mass + ends[k] * bell[k] - ends[k + 1] * bell[k + 1]
        parts.append((mass, bell[k] - bell[k + 1], square))
    return parts


def _variance(
    value: Array, sd: Array, knots: Array, heights: Array, moments: list[tuple[Array, Array, Array]]
) -> Array:
    """Exact variance of the piecewise linear rule for a normal error, kinks included."""
    slopes = np.concatenate([[0.0], np.diff(heights) / np.diff(knots), [0.0]])
    starts = np.concatenate([heights[:1], heights])
    places = np.concatenate([knots[:1], knots])
    at = np.interp(value, knots, heights)
    first, second = np.zeros_like(value), np.zeros_like(value)
    for (mass, z, zz), slope, start, place in zip(moments, slopes, starts, places, strict=True):
        # Relative to the value, which avoids cancellation in a small variance.
        level, rise = start + slope * (value - place) - at, slope * sd
        first += level * mass + rise * z
        second += level**2 * mass + 2 * level * rise * z + rise**2 * zz
    return np.maximum(second - first**2, 0.0)
