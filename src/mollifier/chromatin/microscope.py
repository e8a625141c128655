"""Simulated microscopy of a nucleus: random localisations or camera frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mollifier.errors import ConfigurationError
from mollifier.io.draws import Rng, generator

Array = NDArray[np.float64]

# Relative standard deviation of the localisation precision between molecules.
_SPREAD = 0.3


def with_noise(movie: xr.Dataset, sd: float, rng: Rng = 0) -> xr.Dataset:
    """The movie with independent normal errors on phi_d, and their standard deviation as ``phi_d_sd``.

    Raises
    ------
    ConfigurationError
        If the standard deviation is not positive.
    """
    if not sd > 0:
        raise ConfigurationError(f"sd={sd} was given; a positive standard deviation was expected.")
    rng = generator(rng)
    noisy = movie["phi_d"] + sd * rng.standard_normal(movie["phi_d"].shape)
    return movie.assign(phi_d=noisy, phi_d_sd=xr.full_like(movie["phi_d"], sd))


def chromatin_density(movie: xr.Dataset, compaction: float = 5.0) -> xr.DataArray:
    """DNA density relative to that of pure euchromatin, ``phi_e + compaction phi_h``; 0 outside.

    Parameters
    ----------
    compaction
        How many times denser DNA lies in heterochromatin.

    Raises
    ------
    ConfigurationError
        If heterochromatin is not denser.
    """
    if not compaction > 1:
        raise ConfigurationError(f"compaction={compaction} was given; more than 1 was expected.")
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

    Labels are a Poisson process with the density of `chromatin_density`, drawn again for every frame. Each is
    detected with probability ``detection``, and localised once and a Poisson number of times more, with
    independent errors.

    Parameters
    ----------
    count
        Mean number of labels in a frame.
    compaction
        As for `chromatin_density`.
    detection
        Probability that a label is detected.
    precision
        Mean standard error of a position along x and y, nm; that of each localisation varies by 30 %.
    repeats
        Mean number of further localisations of one molecule.
    background
        False localisations, evenly over the field of view, relative to the number of true ones.

    Returns
    -------
    DataFrame
        ``x``, ``y`` and ``uncertainty`` (nm), ``frame`` (from 0), shuffled within a frame.

    Raises
    ------
    ConfigurationError
        If a number is out of range.

    Examples
    --------
    >>> from mollifier.chromatin.model import ChromatinModel
    >>> from mollifier.chromatin.shapes import nucleus
    >>> from mollifier.chromatin.simulate import simulate
    >>> movie = simulate(ChromatinModel(), nucleus(1000.0, 32), 0.6, [0.0, 50.0], before=100.0)
    >>> table = localizations(movie, count=5000, detection=0.8)
    >>> list(table), bool(abs(len(table) - 8000) < 400)
    (['x', 'y', 'frame', 'uncertainty'], True)
    """
    if not (count > 0 and 0 < detection <= 1 and precision >= 0 and repeats >= 0 and background >= 0):
        raise ConfigurationError(
            f"count={count}, detection={detection}, precision={precision}, repeats={repeats}, "
            f"background={background} were given; positive numbers and a probability were expected."
        )
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


def filmed(
    movie: xr.Dataset,
    pixel: float = 25.0,
    counts: float = 300.0,
    background: float = 20.0,
    drift: float = 0.0,
    turn: float = 0.0,
    strain: float = 0.0,
    bleaching: float = 0.0,
    compaction: float = 5.0,
    rng: Rng = 0,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Camera frames of a nucleus that drifts, turns, deforms and fades.

    Parameters
    ----------
    movie
        A result of `mollifier.chromatin.simulate.simulate`.
    pixel
        Side of a camera pixel, nm.
    counts, background
        Photons of a pixel of pure euchromatin in the first frame, and without light of the nucleus.
    drift, turn, strain
        Path of the centre in nm, angle in radians, and largest relative elongation (with a bend of the same
        size), all over the movie.
    bleaching
        Decay rate, 1/s.
    compaction
        As for `chromatin_density`.

    Returns
    -------
    DataArray, DataArray
        Counts, and the pixels inside the nucleus, both over x, y (nm) and t.
    """
    rng = generator(rng)
    density = chromatin_density(movie, compaction).transpose("x", "y", "t").values
    inside = movie["mask"].values.astype(float)
    origin, step = (np.array([float(movie[c][k]) for c in ("x", "y")]) for k in (0, 1))
    step -= origin
    half = float(np.abs(movie["x"]).max()) + drift + 4 * pixel
    place = np.arange(-half, half, pixel)
    parts = pixel / 4 * np.array([-1.0, 1.0])
    fine = (place[:, None] + parts).ravel()
    x, y = np.meshgrid(fine, fine, indexing="ij")
    course = np.linspace(0.0, 1.0, movie.sizes["t"])
    towards = rng.uniform(0, 2 * np.pi)
    frames, masks = [], []
    for k, c in enumerate(course.tolist()):
        px, py = x - drift * c * np.cos(towards), y - drift * c * np.sin(towards)
        a = -turn * c
        qx, qy = np.cos(a) * px - np.sin(a) * py, np.sin(a) * px + np.cos(a) * py
        e = strain * np.sin(2 * np.pi * c)
        spots = np.stack([qx * (1 + e) + e * qy**2 / half, qy * (1 - e)])
        index = (spots - origin[:, None, None]) / step[:, None, None]
        seen = map_coordinates(density[..., k], index, order=1, cval=0.0)
        within = map_coordinates(inside, index, order=0, cval=0.0)
        size = (len(place), 2, len(place), 2)
        fade = np.exp(-bleaching * float(movie["t"][k] - movie["t"][0]))
        light = counts * fade * seen.reshape(size).mean((1, 3)) + background
        frames.append(rng.poisson(light).astype(float))
        masks.append(within.reshape(size).mean((1, 3)) > 0.5)
    coords = {"x": ("x", place, {"units": "nm"}), "y": ("y", place, {"units": "nm"}), "t": movie["t"]}
    image, within = (xr.DataArray(np.stack(v, -1), coords, ("x", "y", "t")) for v in (frames, masks))
    return image, within
