"""The levels of the phases in a density of localisations, from the free energy.

With phi_h = a + b s in the signal s, the equation of `mollifier.chromatin.model` holds at the size of domains
for one a and one b only: the two phases are in balance across their interfaces. It is multiplied by local
test functions, Gaussians of 1.7 interface widths, with a rate that is linear in place over tiles of five
diffusion lengths. Localisations are divided at random into two halves, whose errors are independent: the
residual r of one half, times the derivative g of that of the other by a and b, is zero in the mean over the
nucleus (instrumental variables; Fuller, Measurement Error Models, Wiley 1987, section 2.4). Powers of the
density are those of `mollifier.chromatin.density`. The scatter between tiles gives the standard
errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.ndimage import convolve1d, gaussian_filter, gaussian_laplace

from mollifier.chromatin.density import PoissonMoments, stencil
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import counts, on_grid, signed_depth
from mollifier.chromatin.resolution import merge_known, typical_precision
from mollifier.chromatin.settings import Assumptions, Levels, StudySettings, Variation
from mollifier.errors import ConfigurationError, DataError
from mollifier.mollify.arrays import Array, Index, Mask

TEST_WIDTH = 1.7  #: Standard deviation of a test function, in widths of an interface, as the next.
# Largest full width at half maximum of the density's kernel: blur is corrected to first order.
_KERNEL = 0.5
_REACH = 4.5  # Distance from the edge at which test functions begin, in their standard deviations.
_TILE = 5.0  # Side of a tile in diffusion lengths.
# Fewest tiles, and test functions in one.
_TILES = 8
_POINTS = 8
# The fit starts with these quantiles of the smoothed signal at the best of these shares of the packing.
_ENDS = (0.05, 0.98)
_LOW = (0.05, 0.15, 0.25, 0.35)
_HIGH = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Most Gauss-Newton steps, the longest relative to the contrast, and the one that ends them.
_ROUNDS = 30
_LONGEST = 0.3
_EXACT = 1e-6
# Mean and standard deviation of the rate at which the pattern of a still image grows, in units of
# Gamma_ac: the mean puts the levels of noise-free images of simulated nuclei right two lifetimes of a
# mark after their pattern began to form; a nucleus at rest is two standard deviations away.
_GROWTH = (0.35, 0.175)
_LARGEST = 0.3  # Largest standard error of the contrast, relative to it.
_TAIL = 6.0  # Standard deviations of a Gaussian at which it is cut off.


class _Half(NamedTuple):
    """Projections of a half of the localisations: of the Laplacian of s, s^2 and s^3, (3, n), and (n,) of its
    square of s, of s, and of the change of s in time."""

    laplacian: Array
    bilaplacian: Array
    mean: Array
    change: Array


class _Tiles(NamedTuple):
    """Tile of each test function, and its place (1, x, y) in the tile, (n, 3)."""

    number: Index
    place: Array


class _Data(NamedTuple):
    """Both halves of the localisations on the test functions, and their tiles."""

    halves: tuple[_Half, _Half]
    tiles: _Tiles


@dataclass(frozen=True, eq=False)
class EnergyLevels(Levels):
    """Levels that obey the free energy, two phases with their nucleoplasm."""

    covariance: Array  #: Of a and b, in units of the mean density.
    _unit: float
    _values: Array
    _model: ChromatinModel
    _data: _Data
    _growth: tuple[float, float]

    def at(self, model: ChromatinModel, water: float | None = None, faster: float = 0.0) -> Thresholds:
        """The levels for another model, nucleoplasm or a faster growth, to first order."""
        water = self.thresholds.euchromatin_water if water is None else water
        moment, slope, _ = _moments(self._values, self._data, model, 1 - water, self._growth[0] + faster)
        moved = self._values - np.linalg.solve(slope, moment)
        return _thresholds(moved, self._unit, water, self.thresholds)

    def variations(self, assumed: Assumptions, phi: xr.Dataset) -> Iterator[Variation]:
        """Of levels, their contrast, nucleoplasm, and growth of a still pattern."""
        water = self.thresholds.euchromatin_water
        for name, move in zip(("levels", "contrast"), np.linalg.cholesky(self.covariance).T, strict=True):
            ends = (self._values - move, self._values + move)
            low, high = (_thresholds(p, self._unit, water, self.thresholds) for p in ends)
            yield name, float(np.abs(move).max()), low, high, 2.0
        if assumed.water:
            yield "water", assumed.water, None, self.at(self._model, water + assumed.water), 2.0
        if sd := self._growth[1]:
            low, high = (self.at(self._model, faster=s * sd) for s in (-1, 1))
            yield "growth", sd, low, high, 2.0


def energy_levels(sample: NucleusData, settings: StudySettings, width: float) -> EnergyLevels:
    """The levels of euchromatin and heterochromatin at which a nucleus obeys its free energy.

    The nucleus is several um large; a still image is taken as steady, up to a growth of its pattern. Of the
    settings count the model, the nucleoplasm (``thresholds``) and the treatment of repeats; ``width`` is the
    full width at half maximum of the density's kernel, nm, and a wide one is replaced. Raises
    `ConfigurationError` if the data are no localisations, or the phases hold different
    nucleoplasm, `DataError` if the nucleus is too small, or shows no two phases.
    """
    s = settings
    if not sample.frames:
        raise ConfigurationError(
            "--levels energy was given for an image; tables of localisations were expected. Give levels, or "
            "--levels own."
        )
    if s.thresholds.heterochromatin_water != s.thresholds.euchromatin_water:
        raise ConfigurationError(
            f"Nucleoplasm of {s.thresholds.euchromatin_water} in euchromatin and of "
            f"{s.thresholds.heterochromatin_water} in heterochromatin was given with --levels energy; one "
            "value was expected."
        )
    width = min(width, _KERNEL * s.model.energy.interface)
    densities, inside, pixel, blur = _densities(sample, s, width)
    unit = 2 * float(densities[:, inside].mean())
    scale = TEST_WIDTH * s.model.energy.interface
    keep, tiles = _places(inside, pixel, scale, _TILE * s.model.length)
    poisson = PoissonMoments.of(width, pixel, unit / 2, blur)
    first, other = (
        _half(d * 2 / unit, np.array(sample.times), keep, pixel, scale, poisson) for d in densities
    )
    growth = _GROWTH if len(sample.frames) == 1 else (0.0, 0.0)
    return _fitted(_Data((first, other), tiles), s, unit, growth)


def _densities(sample: NucleusData, s: StudySettings, width: float) -> tuple[Array, Mask, float, float]:
    """Densities of two random halves, (2, x, y, frames), 0 outside; the pixels inside; the side of a pixel;
    and the variance of the localisation errors."""
    rng, pixel, mask = np.random.default_rng(0), width / 2, sample.mask
    w = stencil(width, pixel)
    x, y = (np.arange(float(mask[c][0]), float(mask[c][-1]) + pixel, pixel) for c in ("x", "y"))
    inside = on_grid(mask, x, y)
    found, errors = np.zeros((2, *inside.shape, len(sample.frames))), []
    for k, frame in enumerate(sample.frames):
        locs = merge_known(frame) if s.merge else frame
        errors.append(typical_precision(locs))
        half = rng.integers(0, 2, len(locs))
        seen = np.stack([counts((x, y), locs.x[half == h], locs.y[half == h]) for h in (0, 1)]) * inside
        found[..., k] = convolve1d(convolve1d(seen / pixel**2, w, axis=1), w, axis=2) * inside
    return found, inside, pixel, float(np.nan_to_num(np.square(errors)).mean())


def _places(inside: Mask, pixel: float, scale: float, side: float) -> tuple[Mask, _Tiles]:
    """Pixels at which test functions lie, one to their standard deviation, and their tiles."""
    step = max(round(scale / pixel), 1)
    lattice = np.zeros(inside.shape, dtype=bool)
    lattice[step // 2 :: step, step // 2 :: step] = True
    keep = lattice & (signed_depth(np.pad(inside, 1))[1:-1, 1:-1] * pixel > _REACH * scale)
    place = np.stack(np.nonzero(keep), -1) * pixel / side
    corner = np.floor(place).astype(np.intp)
    _, index, count = np.unique(corner, axis=0, return_inverse=True, return_counts=True)
    index = index.ravel()
    enough = count >= _POINTS
    if enough.sum() < _TILES:
        raise DataError(
            f"The nucleus has room for {enough.sum()} tiles of {side:.0f} nm that are farther than "
            f"{_REACH * scale:.0f} nm from its edge; {_TILES} or more were expected with "
            "--levels energy. Give levels, or --levels own."
        )
    kept = enough[index]
    keep[keep] = kept
    _, index = np.unique(index[kept], return_inverse=True)
    inner: Any = (place - corner - 0.5)[kept]
    return keep, _Tiles(index, np.hstack([np.ones((len(inner), 1)), inner]))


def _half(s: Array, times: Array, keep: Mask, pixel: float, scale: float, poisson: PoissonMoments) -> _Half:
    """Projections on the test functions, averaged over the time of the data."""
    weight = np.ones(1)
    if len(times) > 1:
        steps = np.diff(times)
        weight = (np.append(steps, 0.0) + np.append(0.0, steps)) / (2 * np.ptp(times))
    change = (s[..., -1] - s[..., 0]) / max(float(np.ptp(times)), 1.0)
    sd = scale / pixel
    square, cube = poisson.powers(s, pixel)
    means = [v @ weight for v in (s, square, cube)]
    laplacian = np.stack([gaussian_laplace(v, sd, truncate=_TAIL)[keep] for v in means]) / pixel**2
    once = partial(gaussian_laplace, sigma=sd / math.sqrt(2), truncate=_TAIL)
    twice = once(once(means[0]))[keep] / pixel**4
    return _Half(laplacian, twice, gaussian_filter(means[0], sd)[keep], gaussian_filter(change, sd)[keep])


def _residual(
    p: Array, half: _Half, tiles: _Tiles, model: ChromatinModel, chromatin: float, growth: float
) -> Array:
    """What the equation leaves of the projections, in units of Gamma_ac, after the best rate of each tile."""
    (a, b), e, rate = p, model.energy, model.acetylation
    slope, curvature, third = model.bulk_slopes(a)
    # The potential at a + b s is a cubic polynomial of s.
    powers = np.array([slope * 2 * b, curvature * 2 * b**2, third * 4 / 3 * b**3])
    flow = powers @ half.laplacian - e.interface**2 * 2 * b * half.bilaplacian
    phi_h, phi_e = a + b * half.mean, chromatin - a - b * half.mean
    rest = model.diffusion / rate * flow - 2 * phi_h - 2 * b * half.change / rate
    columns = 2 * phi_e[:, None] * tiles.place
    mean = np.bincount(tiles.number, half.mean) / np.bincount(tiles.number)
    rest -= growth * 2 * b * (half.mean - mean[tiles.number])
    # In units of the contrast: none at all would solve the equation too.
    return (rest + np.sum(columns * _solved(columns, -rest, tiles.number), -1)) / b


def _solved(columns: Array, right: Array, index: Index) -> Array:
    """Least-squares coefficients of columns (n, k) for each tile, on its rows: the least where many fit."""
    found = np.empty_like(columns)
    for tile in range(index.max() + 1):
        here = index == tile
        found[here] = np.linalg.lstsq(columns[here], right[here], rcond=1e-6)[0]
    return found


def _moments(
    p: Array, data: _Data, model: ChromatinModel, chromatin: float, growth: float
) -> tuple[Array, Array, Array]:
    """Sums of residuals times derivatives of the other half, their derivative, and their covariance."""
    step = 1e-5

    def left(q: Array, half: _Half) -> Array:
        return _residual(q, half, data.tiles, model, chromatin, growth)

    r, g = [], []
    for half in data.halves:
        r.append(left(p, half))
        ends = [[left(p + sign * d, half) for sign in (-step, step)] for d in np.eye(2)]
        g.append(np.stack([(high - low) / (2 * step) for low, high in ends], -1))
    each = r[0][:, None] * g[1] + r[1][:, None] * g[0]
    tile: Any = np.stack([np.bincount(data.tiles.number, v) for v in each.T], -1)
    return each.sum(0), g[0].T @ g[1] + g[1].T @ g[0], tile.T @ tile


def _fitted(data: _Data, s: StudySettings, unit: float, growth: tuple[float, float]) -> EnergyLevels:
    """Gauss-Newton steps to the mean of the residuals' products that is smallest."""
    water, e = s.thresholds.euchromatin_water, s.model.energy
    half = e.packed**2 / 4 - e.mixing / (2 * e.well) if e.well else 0.0
    if half <= 0:
        raise DataError("The free energy has one phase, and sets no levels. Give levels, or --levels own.")
    chromatin = 1 - water
    p, move = _start(data, s.model, chromatin), np.zeros(2)
    slope = spread = np.eye(2)
    for _ in range(_ROUNDS):
        # Far from the solution the problem is not linear.
        p = p + move * min(1.0, _LONGEST * abs(p[1]) / max(float(np.abs(move).max()), 1e-300))
        moment, slope, spread = _moments(p, data, s.model, chromatin, growth[0])
        move = -np.linalg.solve(slope, moment)
        if np.abs(move).max() < _EXACT:
            break
    inverse = np.linalg.inv(slope)
    covariance = inverse @ spread @ inverse.T
    converged = np.abs(move).max() < _EXACT and p[0] < 0 < p[1]
    if not (converged and math.sqrt(covariance[1, 1]) < _LARGEST * p[1]):
        raise DataError(
            "The signal shows no two phases that obey the free energy. Give levels, or --levels own."
        )
    levels = _thresholds(p, unit, water, s.thresholds)
    return EnergyLevels(levels, covariance, unit, p, s.model, data, growth)


def _start(data: _Data, model: ChromatinModel, chromatin: float) -> Array:
    """The a and b of a lattice with the smallest sum of products of the residuals of both halves."""
    ends = np.quantile((data.halves[0].mean + data.halves[1].mean) / 2, _ENDS)

    def products(p: Array) -> float:
        first, second = (_residual(p, h, data.tiles, model, chromatin, 0.0) for h in data.halves)
        return float(first @ second)

    shares = model.energy.packed * np.array(list(product(_LOW, _HIGH)))
    contrast = np.diff(shares)[:, 0] / np.ptp(ends)
    lattice = np.column_stack([shares[:, 0] - contrast * ends[0], contrast])
    # Without signal there is no chromatin, and phi_h extrapolates below 0; patterns of little contrast, which
    # nearly obey the linearised equation, do not.
    return min(lattice[lattice[:, 0] < 0], key=products)


def _thresholds(p: Array, unit: float, water: float, like: Thresholds) -> Thresholds:
    """Levels where phi_h is 0 and all chromatin."""
    a, b = p.tolist()
    low, high = (unit * (phi - a) / b for phi in (0.0, 1 - water))
    return replace(
        like, background=0.0, euchromatin=low, heterochromatin=high, two_phases=True,
        euchromatin_water=water, heterochromatin_water=water,
    )  # fmt: skip
