"""The fields of a nucleus, and the test functions of the weak form in space and time.

Neumann eigenfunctions of the Laplacian suit a nucleus of any shape: with no flux across the edge, the
boundary terms of ``integral phi lap(mu) = integral mu lap(phi)`` vanish, and ``lap(phi) = -kappa phi``. The
first is constant, so that the first row of the weak form is the integral balance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl
from scipy.interpolate import make_interp_spline
from scipy.ndimage import map_coordinates
from scipy.sparse.linalg import eigsh

from mollifier.chromatin.rasters import laplacian
from mollifier.mollify.arrays import Array, Index, Mask, filled


@dataclass(frozen=True, eq=False)
class FieldSeries:
    """The fields of a nucleus over its pixels and frames."""

    #: phi_d, the variance of its errors, and 1 - phi_n, each of shape (pixels, frames).
    phi_d: Array
    variance: Array
    chromatin: Array
    times: Array  #: Of the frames, shape (frames,).
    depth: Array  #: Distance from the nuclear edge, shape (pixels,).
    shared: float = 1.0  #: Number of pixels over which errors are correlated; 1 for independent errors.
    #: Fields as they are when something common to all pixels is one standard deviation off, in all frames
    #: together, as the fading of a dye, or in one alone, as the place of a nucleus: their differences
    #: from these fields count as noise.
    others: tuple[FieldSeries, ...] = ()
    shaken: tuple[FieldSeries, ...] = ()

    @property
    def phi_h(self) -> Array:
        """Heterochromatin."""
        return (self.chromatin + self.phi_d) / 2

    @property
    def phi_e(self) -> Array:
        """Euchromatin."""
        return (self.chromatin - self.phi_d) / 2


_POINTS = 40  # Points of the quadrature of a function of time between two frames.


@dataclass(frozen=True, eq=False)
class TimeRows:
    """Rows in time of a series of frames."""

    #: The change of a field and its integral as sums over the frames, each (rows, frames).
    change: Array
    hold: Array
    functions: Array  #: The functions of time at the frames, (frames, m).
    weights: Array  #: The integral of a field times each function, (rows, frames, m).


def time_rows(times: Array, most: int, functions: Array | Callable[[Array], Array] | None = None) -> TimeRows:
    """Rows of a series at times (frames,); one frame alone is a steady state.

    Integrals are those of the spline through the frames. Beyond ``most`` rows, low-frequency cosines replace
    those of single intervals. The functions are smooth ones by their values at the frames, (frames, m); or
    one function of time, which may be steeper than the frames resolve; by default the constant.

    >>> rows = time_rows(np.arange(5.0), 9, lambda t: np.where(t < 2.5, 0.0, 1.0))
    >>> round(float(rows.weights[0].sum()), 2), round(float(rows.hold[0].sum()), 2)
    (1.5, 4.0)
    """
    count = len(times)
    if functions is None:
        functions = np.ones((count, 1))
    if count == 1:
        at = functions(times)[:, None] if callable(functions) else functions
        return TimeRows(np.zeros((1, 1)), np.ones((1, 1)), at, at[None])
    spline = make_interp_spline(times, np.eye(count), k=3 if count > 3 else 1)
    hold = np.diff(spline.antiderivative()(times), axis=0)
    change = np.diff(np.eye(count), axis=0)
    kept = min(most, count - 1)
    slow = np.cos(np.pi * np.outer(np.arange(kept), np.arange(count - 1) + 0.5) / (count - 1))
    if callable(functions):
        share = (np.arange(_POINTS) + 0.5) / _POINTS
        fine = times[:-1, None] + np.diff(times)[:, None] * share
        step = np.diff(times)[:, None] / _POINTS * functions(fine)
        weights = (slow @ np.einsum("is,isk->ik", step, spline(fine)))[..., None]
        functions = functions(times)[:, None]
    else:
        weights = (slow @ hold)[..., None] * functions
    return TimeRows(slow @ change, slow @ hold, functions, weights)


_PIXELS, _MOST = 6.0, 160  # Fewest pixels in the shortest wavelength, and the largest number of modes.
# Pixels in the shortest wavelength that are enough, and pixels of a nucleus above which blocks of pixels
# serve where there are twice as many: the time grows with the square of their number.
_ENOUGH, _MANY = 13.0, 12_000


@dataclass(frozen=True, eq=False)
class Modes:
    """Eigenfunctions on the pixels of a mask."""

    inside: Mask  #: The mask, (x, y).
    spacing: float  #: Side of a pixel, in any unit of length.
    values: Array  #: Eigenvalues kappa in 1/length^2, increasing from 0, shape (k,).
    functions: Array  #: Orthonormal, ``integral phi_i phi_j = delta_ij``, shape (pixels, k).
    #: The block of each pixel and the functions on blocks, (blocks, k), where they were computed on blocks.
    blocks: tuple[Index, Array] | None = None

    @property
    def shortest(self) -> float:
        """Wavelength of the last mode."""
        return 2 * math.pi / math.sqrt(float(self.values[-1]))

    def project(self, values: Array) -> Array:
        """Integrals of values (pixels, ...) times each mode, shape (k, ...)."""
        return self.spacing**2 * (self.functions.T @ values)

    def gram(self, weight: Array) -> Array:
        """``sum phi_i phi_j weight`` over the pixels times their area squared, shape (k, k).

        On blocks the weight is summed over each: the functions hardly vary within one.
        """
        functions = self.functions
        if self.blocks is not None:
            index, functions = self.blocks
            weight = np.bincount(index, weight, len(functions)).astype(np.float64)
        return self.spacing**4 * ((functions * weight[:, None]).T @ functions)


def modes(inside: Mask, spacing: float, shortest: float, most: int = _MOST) -> Modes:
    """The eigenfunctions down to a wavelength; fewer on coarse pixels or above ``most``.

    The five-point Laplacian is a finite-volume scheme. Its leading error, ``spacing^2/12 (d^4/dx^4 +
    d^4/dy^4)``, is subtracted from the eigenvalues, averaged over all directions. The number of modes follows
    from Weyl's law for Neumann conditions, ``area kappa/(4 pi) + perimeter sqrt(kappa)/(4 pi)``. Where pixels
    are much finer than the shortest wavelength, as in a large nucleus, the functions are computed on blocks
    of pixels and interpolated.

    >>> found = modes(np.ones((40, 30), dtype=bool), 1.0, 10.0)
    >>> np.round(np.sqrt(found.values[:3]) / np.pi, 4)  # 0, 1/40, 1/30
    array([0.    , 0.025 , 0.0333])
    >>> bool(np.allclose(found.project(found.functions), np.eye(len(found.values))))
    True
    """
    area = float(inside.sum()) * spacing**2
    root = 2 * math.pi / max(shortest, _PIXELS * spacing)
    perimeter = 2 * math.sqrt(math.pi * area)
    count = round(area * root**2 / (4 * math.pi) + perimeter * root / (4 * math.pi))
    count = min(max(count, 2), most, int(inside.sum()) - 2)
    coarser = int(math.sqrt(math.pi * area / count) / spacing / _ENOUGH)
    if coarser > 1 and inside.sum() > _MANY:
        return _interpolated(
            inside, spacing, modes(_blocks(inside, coarser), coarser * spacing, shortest, count)
        )
    matrix = -laplacian(inside, 1.0).tocsc()
    # The shift lies below zero, where the matrix is regular; a fixed start makes runs reproducible.
    begin = np.random.default_rng(0).standard_normal(matrix.shape[0])
    values, functions = eigsh(matrix, count, sigma=-1e-3 / inside.sum(), which="LM", v0=begin)
    order = np.argsort(values)
    exact = np.maximum(values[order], 0.0)
    exact[0] = 0.0
    exact += exact**2 / 16
    return Modes(inside, spacing, exact / spacing**2, functions[:, order] / spacing)


def _blocks(inside: Mask, size: int) -> Mask:
    """Blocks of pixels of which half or more are inside."""
    wide = np.pad(inside, [(0, -n % size) for n in inside.shape])
    return wide.reshape(wide.shape[0] // size, size, wide.shape[1] // size, size).mean((1, 3)) >= 0.5


def _interpolated(inside: Mask, spacing: float, found: Modes) -> Modes:
    """The functions on finer pixels, interpolated linearly and made orthonormal there."""
    size = round(found.spacing / spacing)
    place = (np.stack(np.nonzero(inside)) + 0.5) / size - 0.5
    functions = np.empty((place.shape[1], len(found.values)))
    # Pixels beyond the blocks have the values of the nearest block.
    near = np.full(found.inside.shape, np.nan)
    near[found.inside] = np.arange(len(found.functions))
    number = filled(near).astype(np.intp)
    for k, values in enumerate(found.functions.T):
        functions[:, k] = map_coordinates(values[number], place, order=1, mode="nearest")
    root = sl.cholesky(spacing**2 * functions.T @ functions, lower=True)
    functions = sl.solve_triangular(root, functions.T, lower=True).T
    i, j = (axis // size for axis in np.nonzero(inside))
    return Modes(inside, spacing, found.values, functions, (number[i, j], found.functions))
