"""Simulated microscopy of a nucleus: noise, and random localisations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from mollifier.chromatin.ranges import require
from mollifier.io.draws import Rng, generator

# Relative standard deviation of the localisation precision between molecules.
_SPREAD = 0.3


def with_noise(movie: xr.Dataset, sd: float, rng: Rng = 0) -> xr.Dataset:
    """The movie with independent normal errors on phi_d, and their standard deviation as ``phi_d_sd``."""
    require({"sd": sd}, above=True)
    rng = generator(rng)
    noisy = movie["phi_d"] + sd * rng.standard_normal(movie["phi_d"].shape)
    return movie.assign(phi_d=noisy, phi_d_sd=xr.full_like(movie["phi_d"], sd))


def chromatin_density(movie: xr.Dataset, compaction: float = 5.0) -> xr.DataArray:
    """DNA density relative to that of pure euchromatin, ``phi_e + compaction phi_h``; 0 outside.

    DNA lies ``compaction`` times denser in heterochromatin, more than once.
    """
    require({"compaction": compaction}, low=1.0, above=True)
    chromatin = 1 - movie["phi_n"]
    phi_h, phi_e = (chromatin + movie["phi_d"]) / 2, (chromatin - movie["phi_d"]) / 2
    return (phi_e + compaction * phi_h).fillna(0.0).clip(min=0.0)


def localizations(
    movie: xr.Dataset,
    count: float = 3e6,
    compaction: float = 5.0,
    detection: float = 0.7,
    precision: float = 15.0,
    repeats: float = 0.0,
    background: float = 0.0,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Localisations of the molecules in every frame of a movie.

    On average ``count`` labels in a frame are a Poisson process with the density of `chromatin_density`,
    drawn again for every frame. Each is detected with probability ``detection``, and localised once and, on
    average, ``repeats`` times more, with independent errors along x and y of mean standard error
    ``precision`` in nm, which varies by 30 %. False localisations lie evenly over the field of view,
    ``background`` for each true one.

    The table has ``x``, ``y`` and ``uncertainty`` (nm) and ``frame`` (from 0), shuffled within a frame.
    Raises `ConfigurationError` if a number is out of range.
    """
    require({"count": count}, above=True)
    require({"detection": detection}, high=1.0, above=True)
    require({"precision": precision, "repeats": repeats, "background": background})
    rng = generator(rng)
    density = chromatin_density(movie, compaction)
    frames = density.transpose(..., "x", "y").values.reshape(-1, density.sizes["x"], density.sizes["y"])
    x, y = movie["x"].values, movie["y"].values
    sides = (x[1] - x[0], y[1] - y[0])
    parts = []
    for number, share in enumerate(frames):
        seen = rng.binomial(rng.poisson(count * share / share.sum()), detection)
        i, j = np.nonzero(seen)
        times = seen[i, j]
        place = np.stack([np.repeat(x[i], times), np.repeat(y[j], times)], 1)
        place += rng.uniform(-0.5, 0.5, place.shape) * sides
        place = np.repeat(place, 1 + rng.poisson(repeats, len(place)), axis=0)
        error = precision * np.exp(_SPREAD * rng.standard_normal(len(place)) - _SPREAD**2 / 2)
        place += error[:, None] * rng.standard_normal(place.shape)
        false = rng.poisson(background * len(place))
        low, high = (np.array([f(x), f(y)]) for f in (np.min, np.max))
        place = np.vstack([place, rng.uniform(low, high, (false, 2))])
        error = np.append(error, np.full(false, precision))
        order = rng.permutation(len(place))
        columns = {"x": place[order, 0], "y": place[order, 1], "frame": number, "uncertainty": error[order]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)
