"""Nuclei with a known rate: the phase-field equation by finite volumes on a mask of any shape.

Cells of the mask exchange flux with neighbours in it and with nothing else, so that no flux leaves the
nucleus and integrals change by reactions alone, to rounding. Time goes by second-order backward differences
with the fourth-order term and a part of the second-order one implicit (Ascher, Ruuth and Wetton, SIAM J.
Numer. Anal. 32:797, 1995). Nothing here is shared with the engines that invert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.sparse.linalg import splu

from mollifier.chromatin.model import ChromatinModel
from mollifier.errors import ConfigurationError, DataError, did_you_mean

Array = NDArray[np.float64]
Pattern = Literal["uniform", "gradient", "patches", "peripheral"]

# Waves of the edge of a nucleus, and of the noise that a simulation starts from (scaled units).
_WAVES, _START, _GRAIN = (2, 3, 4), 0.05, 0.15
# Steps of the scaled time, steps between two frames at least, and parts of the first.
_STEP, _LEAST, _PARTS = 0.005, 4, 4


def nucleus(
    diameter: float = 1800.0, pixels: int = 256, uneven: float = 0.06, seed: int = 0, margin: float = 0.08
) -> xr.DataArray:
    """A mask (x, y) of a rounded shape in a square of pixels, drawn by seed.

    Parameters
    ----------
    diameter
        Mean diameter, nm.
    pixels
        Along each side.
    uneven
        Size of the waves of its edge beside the radius.
    margin
        Free space at every side, as a share of the radius.

    Raises
    ------
    ConfigurationError
        If a size is not positive.

    Examples
    --------
    >>> mask = nucleus(1000.0, 40)
    >>> mask.shape, mask["x"].attrs["units"], bool(mask[20, 20]), bool(mask[0, 0])
    ((40, 40), 'nm', True, False)
    """
    if diameter <= 0 or pixels < 4 or not 0 <= uneven < 0.3 or margin < 0:
        raise ConfigurationError(
            f"diameter={diameter}, pixels={pixels}, uneven={uneven}, margin={margin} were given; positive "
            "sizes, 4 pixels or more and waves below 0.3 of the radius were expected."
        )
    rng = np.random.default_rng(seed)
    waves = [(k, *(uneven / k * rng.standard_normal(2)).tolist()) for k in _WAVES]
    largest = 1 + sum(float(np.hypot(a, b)) for _, a, b in waves)
    half = diameter / 2 * largest * (1 + margin)
    place = half * (2 * np.arange(pixels) + 1 - pixels) / pixels
    x, y = place[:, None], place
    angle = np.arctan2(y, x)
    edge = diameter / 2 * (1 + sum(a * np.cos(k * angle) + b * np.sin(k * angle) for k, a, b in waves))
    coords = {c: xr.Variable(c, place, {"units": "nm"}) for c in ("x", "y")}
    return xr.DataArray(np.hypot(x, y) < edge, coords, ("x", "y"), "mask")


def edge_distance(mask: xr.DataArray) -> xr.DataArray:
    """Distance of every pixel from the edge of the mask, in its units; negative outside.

    The raster's steps are smoothed over a pixel and a half.
    """
    spacing = _spacing(mask)
    inside = np.pad(mask.values.astype(bool), 1)
    within, beyond = (np.asarray(distance_transform_edt(m)) for m in (inside, ~inside))
    signed = within - beyond
    smooth = gaussian_filter((signed - 0.5 * np.sign(signed)) * spacing, 1.5)[1:-1, 1:-1]
    return mask.copy(data=smooth).rename("distance")


def rate_pattern(
    mask: xr.DataArray, kind: Pattern = "patches", level: float = 0.6, contrast: float = 0.4, seed: int = 0
) -> xr.DataArray:
    """A true lam(x, y) on the pixels of a mask, positive everywhere.

    Parameters
    ----------
    kind
        "uniform"; "gradient" along a random direction; "patches", a random smooth field; "peripheral", higher
        near the edge.
    level
        Median of the field.
    contrast
        Standard deviation of log(lam) within the nucleus.

    Raises
    ------
    ConfigurationError
        If there is no such pattern, or the level is not positive.

    Examples
    --------
    >>> lam = rate_pattern(nucleus(1000.0, 40), "gradient", level=0.5, contrast=0.3)
    >>> bool(lam.min() > 0), lam.dims
    (True, ('x', 'y'))
    """
    if kind not in get_args(Pattern):
        raise ConfigurationError(f"There is no pattern '{kind}'.{did_you_mean(kind, get_args(Pattern))}")
    if level <= 0 or contrast < 0:
        raise ConfigurationError(
            f"level={level}, contrast={contrast} were given; positive ones were expected."
        )
    rng = np.random.default_rng(seed)
    x, y = mask["x"].values[:, None], mask["y"].values
    size = float(np.sqrt(mask.values.sum()) * _spacing(mask))
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


def simulate(
    model: ChromatinModel,
    mask: xr.DataArray,
    rate: xr.DataArray | float,
    times: Sequence[float] | Array,
    nucleoplasm: xr.DataArray | float = 0.1,
    before: float = 1000.0,
    step: float | None = None,
    start: xr.DataArray | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """A nucleus over time.

    Parameters
    ----------
    model
        In nm and s, as the mask and the times are; or all in other units.
    mask
        Square pixels of the nucleus, dims (x, y).
    rate
        lam over (x, y) or (x, y, t) on the mask's pixels, or a number; linear between its times, constant
        beyond.
    times
        Of the frames, increasing, in s.
    nucleoplasm
        phi_n over (x, y), or a number.
    before
        Time that the pattern has had to form at the first frame, at the rate it has then, s.
    step
        Greatest time step; 0.005/Gamma_ac by default.
    start
        phi_d at the beginning; by default lam's uniform balance and smooth noise by seed.

    Returns
    -------
    Dataset
        ``phi_d`` (x, y, t), ``phi_n`` (x, y), ``lam`` and ``mask``; NaN outside the mask.

    Raises
    ------
    ConfigurationError
        If the times do not increase or a size is out of range.
    DataError
        If the mask is empty, its pixels are not square or arrays do not share them.

    Examples
    --------
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
    n = nucleoplasm.values[inside]
    lam = _in_time(rate, inside)
    if start is None:
        first = (1 - n) * (lam(times[0]) - 1) / (lam(times[0]) + 1) + _noise(model, mask, seed)[inside]
    else:
        first = _on(mask, start, "start").values[inside]
    flow = _Flow(model, mask, n, lam, step or _STEP * model.time)
    found = flow.frames(first, times, before)
    phi_d = np.full((*mask.shape, len(times)), np.nan)
    phi_d[inside] = found.T
    coords = {"x": mask["x"], "y": mask["y"], "t": ("t", times, {"units": "s"})}
    return xr.Dataset(
        {
            "phi_d": (("x", "y", "t"), phi_d),
            "phi_n": nucleoplasm.where(mask).rename("phi_n"),
            "lam": rate.where(mask).rename("lam"),
            "mask": mask,
        },
        coords,
    )


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
        self.laplacian = laplacian(mask.values.astype(bool), _spacing(mask))
        e = model.energy
        distance = np.maximum(edge_distance(mask).values[mask.values.astype(bool)], 0.0)
        self.lamina = e.adhesion / 2 * np.exp(-distance / e.reach)
        # Half the greatest slope of the bulk's potential, at phi_h = packed or 0: enough to be stable.
        self.held = (e.well * e.packed**2 + e.mixing) / 4
        D, L = model.diffusion, self.laplacian
        self._factors: dict[tuple[float, float], Callable[[Array], Array]] = {}
        linear: Any = D * (e.interface**2 * (L @ L) - self.held * L)
        self._linear = linear.tocsc()

    def explicit(self, phi: Array, t: float) -> Array:
        """What is taken from the step before."""
        phi_h, phi_e = (self.q + phi) / 2, (self.q - phi) / 2
        bulk = self.model.bulk_potential(phi_h, phi_e) - self.lamina - self.held * phi
        reaction = self.rate(t) * phi_e - phi_h
        return self.model.diffusion * (self.laplacian @ bulk) + 2 * self.model.acetylation * reaction

    def frames(self, phi: Array, times: Array, before: float) -> Array:
        """States (frames, cells); until the first the rate is the one of the first."""
        if before:
            frozen = times[0]
            phi = self._advance(phi, -before, 0.0, lambda p, _: self.explicit(p, frozen))
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
        # The first step is of first order: taken in parts, what it leaves is small.
        first, later = self._solver(h / _PARTS, 1.0), self._solver(h, 1.5)
        old, now, before = phi, phi, explicit(phi, begin)
        for k in range(_PARTS):
            now = first(now + h / _PARTS * explicit(now, begin + k * h / _PARTS))
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


def laplacian(inside: NDArray[np.bool_], spacing: float) -> sp.csr_array:
    """Five-point Laplacian on the cells of a mask with no flux across its edge, shape (cells, cells).

    Symmetric, with rows and columns that add up to zero.
    """
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    rows, columns = [], []
    for a, b in ((number[:-1], number[1:]), (number[:, :-1], number[:, 1:])):
        both = (a >= 0) & (b >= 0)
        rows += [a[both], b[both]]
        columns += [b[both], a[both]]
    i, j = np.concatenate(rows), np.concatenate(columns)
    size = int(inside.sum())
    links = sp.coo_array((np.ones(len(i)), (i, j)), shape=(size, size)).tocsr()
    return sp.csr_array((links - sp.diags_array(np.asarray(links.sum(1)).ravel())) / spacing**2)


def coarsened(movie: xr.Dataset, factor: int) -> xr.Dataset:
    """Means over blocks of so many pixels along x and y; the mask keeps the blocks that lie wholly in it.

    Raises
    ------
    ConfigurationError
        If the factor does not divide the sides.
    """
    if factor < 1 or movie.sizes["x"] % factor or movie.sizes["y"] % factor:
        raise ConfigurationError(
            f"factor={factor} was given for {movie.sizes['x']} x {movie.sizes['y']} pixels; a "
            "divisor of both was expected."
        )
    blocks = movie.drop_vars("mask").coarsen(x=factor, y=factor).reduce(np.mean)
    whole = movie["mask"].coarsen(x=factor, y=factor).reduce(np.all)
    return blocks.assign(mask=whole)


def _spacing(mask: xr.DataArray) -> float:
    steps = np.concatenate([np.diff(mask[c].values) for c in ("x", "y")])
    if mask.dims != ("x", "y") or not len(steps) or np.ptp(steps) > 1e-6 * abs(steps.mean()):
        raise DataError("The mask's pixels are not square; dims (x, y) with one even spacing were expected.")
    return float(steps.mean())


def _on(mask: xr.DataArray, values: xr.DataArray | float, name: str) -> xr.DataArray:
    """Values over the mask's pixels."""
    if not isinstance(values, xr.DataArray):
        return mask.copy(data=np.full(mask.shape, float(values)))
    if values.sizes.get("x") != mask.sizes["x"] or values.sizes.get("y") != mask.sizes["y"]:
        raise DataError(
            f"'{name}' has shape {dict(values.sizes)}; the mask's pixels {mask.shape} were expected."
        )
    return values.transpose("x", "y", ...)


def _in_time(rate: xr.DataArray, inside: NDArray[np.bool_]) -> Callable[[float], Array]:
    cells = rate.values[inside]
    if "t" not in rate.dims:
        return lambda _: cells
    when = rate["t"].values

    def at(t: float) -> Array:
        k = int(np.clip(np.searchsorted(when, t) - 1, 0, len(when) - 2))
        share = float(np.clip((t - when[k]) / (when[k + 1] - when[k]), 0.0, 1.0))
        return (1 - share) * cells[:, k] + share * cells[:, k + 1]

    return at


def _noise(model: ChromatinModel, mask: xr.DataArray, seed: int) -> Array:
    """Smooth noise that patterns grow from, the same whatever the pixels."""
    rng = np.random.default_rng(seed)
    x, y = mask["x"].values / model.length, mask["y"].values / model.length
    waves = rng.normal(size=(200, 2)) / _GRAIN / 2
    phase = rng.uniform(0, 2 * np.pi, 200)
    total = np.zeros(mask.shape)
    for (p, q), f in zip(waves, phase, strict=True):
        total += np.cos(p * x[:, None] + q * y + f)
    return _START * total * np.sqrt(2 / 200)
