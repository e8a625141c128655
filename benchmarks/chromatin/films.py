"""Camera frames of a simulated nucleus that moves and fades."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import distance_transform_edt, map_coordinates, zoom

from mollifier.chromatin.simulate import chromatin_density
from mollifier.io.draws import Rng, generator


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
        As for `mollifier.chromatin.simulate.chromatin_density`.

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


def finer(movie: xr.Dataset, parts: int) -> xr.Dataset:
    """The movie on finer pixels, by cubic interpolation; each pixel of the mask in parts."""
    if parts == 1:
        return movie
    inside = movie["mask"].values.astype(bool)
    near: Any = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    frames: list[Any] = [
        zoom(f[tuple(near)], parts, order=3, mode="nearest", grid_mode=True)
        for f in movie["phi_d"].transpose("t", "x", "y").values
    ]
    whole = np.kron(inside, np.ones((parts, parts), dtype=bool))
    coords: dict[str, Any] = {"t": movie["t"]}
    for c in ("x", "y"):
        step = float(movie[c][1] - movie[c][0])
        part = step * ((np.arange(parts) + 0.5) / parts - 0.5)
        coords[c] = (c, (movie[c].values[:, None] + part).ravel(), movie[c].attrs)
    phi_d = np.where(whole[..., None], np.stack(frames, -1), np.nan)
    phi_n = np.where(whole, float(movie["phi_n"].mean()), np.nan)
    fields = {"phi_d": (("x", "y", "t"), phi_d), "phi_n": (("x", "y"), phi_n), "mask": (("x", "y"), whole)}
    return xr.Dataset(fields, coords)
