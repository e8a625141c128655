"""Nuclei with a known rate: their shapes, the phase-field equation on them, and simulated microscopy.

The equation is solved by finite volumes. Cells of the mask exchange flux only with neighbours inside it. No
flux leaves the nucleus, and integrals change by reactions alone, to rounding. Time stepping is by
second-order backward differences, with the fourth-order term and a part of the second-order term implicit
(Ascher, Ruuth and Wetton, SIAM J. Numer. Anal. 32:797, 1995). The scheme shares nothing with the engines
that invert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import scipy.sparse as sp
import xarray as xr
from scipy.interpolate import make_interp_spline
from scipy.sparse.linalg import splu

from mollifier.chromatin import rasters
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.ranges import require
from mollifier.chromatin.rasters import edge_distance, laplacian, pixel_spacing
from mollifier.errors import ConfigurationError, DataError, check_known
from mollifier.io.draws import Rng, generator
from mollifier.mollify.arrays import Array, Mask

_WAVES = (2, 3, 4)  # Wave numbers of the edge, around the nucleus.
Pattern = Literal["uniform", "gradient", "patches", "peripheral"]


def nucleus(
    diameter: float = 1800.0, pixels: int = 256, uneven: float = 0.06, rng: Rng = 0, margin: float = 0.08
) -> xr.DataArray:
    """A mask (x, y) of a random rounded shape of some mean diameter in nm, in a square of pixels.

    The amplitude of the waves of its edge and the free space at every side are relative to the radius. Raises
    `ConfigurationError` if a size is out of range.

    >>> mask = nucleus(1000.0, 40)
    >>> mask.shape, mask["x"].attrs["units"], bool(mask[20, 20]), bool(mask[0, 0])
    ((40, 40), 'nm', True, False)
    """
    require({"diameter": diameter}, above=True)
    require({"pixels": pixels}, low=4)
    require({"uneven": uneven}, high=0.3)
    require({"margin": margin})
    rng = generator(rng)
    waves = [(k, *(uneven / k * rng.standard_normal(2)).tolist()) for k in _WAVES]
    largest = 1 + sum(float(np.hypot(a, b)) for _, a, b in waves)
    half = diameter / 2 * largest * (1 + margin)
    place = half * (2 * np.arange(pixels) + 1 - pixels) / pixels
    x, y = place[:, None], place
    angle = np.arctan2(y, x)
    edge = diameter / 2 * (1 + sum(a * np.cos(k * angle) + b * np.sin(k * angle) for k, a, b in waves))
    return xr.DataArray(np.hypot(x, y) < edge, rasters.pixels(place, place), ("x", "y"), "mask")


def rate_pattern(
    mask: xr.DataArray, kind: Pattern = "patches", level: float = 0.6, contrast: float = 0.4, rng: Rng = 0
) -> xr.DataArray:
    """A true lam(x, y) on the pixels of a mask, positive everywhere.

    It is "uniform", a "gradient" along a random direction, "patches", a random smooth field, or "peripheral",
    higher near the edge, with median ``level`` and with ``contrast``, the standard deviation of log(lam)
    within the nucleus. Raises `ConfigurationError` if there is no such pattern, or the level is not positive.

    >>> lam = rate_pattern(nucleus(1000.0, 40), "gradient", level=0.5, contrast=0.3)
    >>> bool(lam.min() > 0), lam.dims
    (True, ('x', 'y'))
    """
    check_known(kind, get_args(Pattern), ConfigurationError, "There is no pattern '{}'.")
    require({"level": level}, above=True)
    require({"contrast": contrast})
    rng = generator(rng)
    x, y = mask["x"].values[:, None], mask["y"].values
    size = float(np.sqrt(mask.values.sum()) * pixel_spacing(mask))
    shape = np.zeros(mask.shape)
    if kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        shape = (np.cos(angle) * x + np.sin(angle) * y) / size
    elif kind == "peripheral":
        shape = np.exp(-np.maximum(edge_distance(mask).values, 0.0) / (size / 5))
    elif kind == "patches":
        for p, q in ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2)):
            phase = rng.uniform(0, 2 * np.pi)
            shape = shape + rng.standard_normal() * np.cos(4.5 / size * (p * x + q * y) + phase)
    inside = mask.values.astype(bool)
    spread = float(shape[inside].std())
    middle = float(np.median(shape[inside]))
    log = contrast * (shape - middle) / spread if spread > 0 else shape
    return mask.copy(data=level * np.exp(log)).rename("lam")


_START, _GRAIN = 0.05, 0.15  # Size and grain of the noise that a simulation starts from (scaled units).
# Time step in scaled units, and fewest steps between two frames.
_STEP, _LEAST = 0.005, 4


def simulate(
    model: ChromatinModel,
    mask: xr.DataArray,
    rate: xr.DataArray | float,
    times: Sequence[float] | Array,
    nucleoplasm: xr.DataArray | float = 0.1,
    before: float = 1000.0,
    step: float | None = None,
    start: xr.DataArray | None = None,
    rng: Rng = 0,
) -> xr.Dataset:
    """Solve the equation on a nucleus, and return the frames.

    Model and mask are in nm and s, on square pixels (x, y); other units serve if all agree. ``rate`` is lam
    over (x, y) or (x, y, t) on the mask's pixels, or a number; it is interpolated linearly between its times,
    constant before and after them. ``times`` of the frames increase, in s. ``nucleoplasm`` is phi_n over
    (x, y), or a number.

    ``before`` is the time in s for which the pattern forms before the first frame, at the rate of the first
    frame, from ``start``, phi_d over (x, y): by default the uniform balance of lam with smooth random noise
    of this seed or generator. The largest time step is ``step`` s, 0.005/Gamma_ac by default.

    The dataset holds ``phi_d`` (x, y, t), ``phi_n`` (x, y), ``lam`` and ``mask``; NaN outside the mask.
    Raises `ConfigurationError` if the times do not increase or a size is out of range, `DataError` if the
    mask is empty, its pixels are not square or arrays do not share them.

    >>> from mollifier.chromatin.simulate import nucleus
    >>> model = ChromatinModel()
    >>> movie = simulate(model, nucleus(1000.0, 32), 0.6, [0.0, 50.0], before=100.0)
    >>> movie["phi_d"].dims, bool(abs(movie["phi_d"]).max() < 1)
    (('x', 'y', 't'), True)
    """
    times = np.asarray(times, dtype=float)
    if times.ndim != 1 or not len(times) or (np.diff(times) <= 0).any() or before < 0:
        raise ConfigurationError("Times that increase, one or more, and before >= 0 were expected.")
    inside = mask.values.astype(bool)
    if not inside.any():
        raise DataError("The mask is empty: no pixel belongs to the nucleus.")
    nucleoplasm = _on(mask, nucleoplasm, "nucleoplasm")
    rate = _on(mask, rate, "rate")
    n, lam = nucleoplasm.values[inside], _in_time(rate, inside)
    if start is None:
        first = (1 - n) * (lam(times[0]) - 1) / (lam(times[0]) + 1) + _noise(model, mask, rng)[inside]
    else:
        first = _on(mask, start, "start").values[inside]
    phi_d = np.full((*mask.shape, len(times)), np.nan)
    phi_d[inside] = _Flow(model, mask, n, lam, step or _STEP * model.time).frames(first, times, before).T
    coords = {"x": mask["x"], "y": mask["y"], "t": ("t", times, {"units": "s"})}
    known = {"phi_n": nucleoplasm.where(mask), "lam": rate.where(mask), "mask": mask}
    return xr.Dataset({"phi_d": (("x", "y", "t"), phi_d), **known}, coords)


class _Flow:
    """The semi-discrete equation on the cells of a mask and its time steps."""

    def __init__(
        self,
        model: ChromatinModel,
        mask: xr.DataArray,
        nucleoplasm: Array,
        rate: Callable[[float], Array],
        step: float,
    ) -> None:
        self.model, self.rate, self.q, self.step = model, rate, 1 - nucleoplasm, step
        self.laplacian = laplacian(mask.values.astype(bool), pixel_spacing(mask))
        e = model.energy
        distance = np.maximum(edge_distance(mask).values[mask.values.astype(bool)], 0.0)
        self.lamina = model.lamina_potential(distance)
        # Half the largest slope of the bulk potential, at phi_h = packed or 0: enough for stability.
        self.held = (e.well * e.packed**2 + e.mixing) / 4
        D, L = model.diffusion, self.laplacian
        self._factors: dict[tuple[float, float], Callable[[Array], Array]] = {}
        linear: Any = D * (e.interface**2 * (L @ L) - self.held * L)
        self._linear = linear.tocsc()

    def explicit(self, phi: Array, t: float) -> Array:
        """The terms that are treated explicitly."""
        phi_h, phi_e = (self.q + phi) / 2, (self.q - phi) / 2
        bulk = self.model.bulk_potential(phi_h, phi_e) - self.lamina - self.held * phi
        reaction = self.rate(t) * phi_e - phi_h
        return self.model.diffusion * (self.laplacian @ bulk) + 2 * self.model.acetylation * reaction

    def frames(self, phi: Array, times: Array, before: float) -> Array:
        """States, shape (frames, cells); before the first frame the rate is that of the first frame."""
        if before:
            phi = self._advance(phi, -before, 0.0, lambda p, _: self.explicit(p, times[0]))
        found = [phi]
        for a, b in pairwise(times):
            phi = self._advance(phi, a, b, self.explicit)
            found.append(phi)
        return np.array(found)

    def _advance(
        self, phi: Array, begin: float, end: float, explicit: Callable[[Array, float], Array]
    ) -> Array:
        count = max(int(np.ceil((end - begin) / self.step - 1e-9)), _LEAST)
        h = (end - begin) / count
        # The first step is of first order, which leaves the whole of second order.
        later, before = self._solver(h, 1.5), explicit(phi, begin)
        old, now = phi, self._solver(h, 1.0)(phi + h * before)
        for k in range(1, count):
            here = explicit(now, begin + k * h)
            old, now = now, later(2 * now - old / 2 + h * (2 * here - before))
            before = here
        return now

    def _solver(self, h: float, lead: float) -> Callable[[Array], Array]:
        key = (round(h / self.step, 9), lead)
        if key not in self._factors:
            matrix = (lead * sp.eye_array(len(self.q)) + h * self._linear).tocsc()
            options = {"SymmetricMode": True}
            factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
            self._factors[key] = factor.solve
        return self._factors[key]


def _on(mask: xr.DataArray, values: xr.DataArray | float, name: str) -> xr.DataArray:
    """Values over the mask's pixels."""
    if not isinstance(values, xr.DataArray):
        return mask.copy(data=np.full(mask.shape, float(values)))
    if values.sizes.get("x") != mask.sizes["x"] or values.sizes.get("y") != mask.sizes["y"]:
        raise DataError(
            f"'{name}' has shape {dict(values.sizes)}; the mask's pixels {mask.shape} were expected."
        )
    return values.transpose("x", "y", ...)


def _in_time(rate: xr.DataArray, inside: Mask) -> Callable[[float], Array]:
    cells = rate.values[inside]
    if "t" not in rate.dims:
        return lambda _: cells
    when = rate["t"].values
    between = make_interp_spline(when, cells, k=1, axis=1)
    return lambda t: between(np.clip(t, when[0], when[-1]))


def _noise(model: ChromatinModel, mask: xr.DataArray, rng: Rng) -> Array:
    """Smooth initial noise from which patterns grow; independent of the pixel size."""
    rng = generator(rng)
    x, y = mask["x"].values / model.length, mask["y"].values / model.length
    waves = rng.normal(size=(200, 2)) / _GRAIN / 2
    phase = rng.uniform(0, 2 * np.pi, 200)
    total = np.zeros(mask.shape)
    for (p, q), f in zip(waves, phase, strict=True):
        total += np.cos(p * x[:, None] + q * y + f)
    return _START * total * np.sqrt(2 / 200)


_SPREAD = 0.3  # Relative standard deviation of the localisation precision between molecules.


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
